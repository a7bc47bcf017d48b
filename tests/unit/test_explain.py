"""Explanations: they add up to the prediction, and name values as people gave them."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import RowError
from features.spec import CrossSpec, FieldSpec, HashSpec, LearnerSpec, Rates, SourceSpec, Spec
from learning.click_learner import ClickLearner
from learning.explain import Explanation, explain

FIELDS = (
    FieldSpec(names=("site", "ad")),
    FieldSpec(names=("views",), transform="log_squared"),
    FieldSpec(names=("price",), transform="log2", text="missing"),
    FieldSpec(names=("score",), transform="quantile", edges=(-1.0, 0.0, 2.5), text="category"),
    FieldSpec(names=("interests",), transform="categories"),
    FieldSpec(names=("hour",), transform="hour_of_day", column="at", timestamp_format="s"),
    FieldSpec(names=("day",), transform="day_of_week", column="at", timestamp_format="s"),
)
CROSSES = CrossSpec(all_pairs=True, named=(("site", "interests", "views"),))


def spec_of(fields=FIELDS, crosses=CROSSES, bits=10, learner=None):
    return Spec(
        name="x",
        source=SourceSpec(label="click"),
        fields=fields,
        crosses=crosses,
        hash=HashSpec(bits=bits, cross_bits=bits),
        learner=learner or LearnerSpec(),
    )


def some_event(rng):
    return {
        "site": f"s{rng.integers(4)}",
        "ad": int(rng.integers(5)),
        "views": int(rng.exponential(30)),
        "price": float(rng.exponential(30)),
        "score": float(rng.normal()),
        "interests": [f"i{n}" for n in range(rng.integers(4))],
        "at": int(rng.integers(10**9)),
    }


def learned(spec, events=300):
    rng, learner = np.random.default_rng(7), ClickLearner(spec)
    for _ in range(events):
        event = some_event(rng)
        learner.learn_one(event, bool(rng.random() < (0.6 if event["site"] == "s1" else 0.2)))
    return learner


STACK = learned(spec_of())
LEARNERS = {
    "stack": STACK,
    "single": learned(spec_of(learner=LearnerSpec(kind="single", fields=Rates(l1=0.5)))),
    "no crosses": learned(spec_of(crosses=CrossSpec())),
    "buckets shared by features of one event": learned(spec_of(bits=2)),
    "quantiles still being learned": learned(
        spec_of(
            (FieldSpec(names=("score",), transform="quantile", buckets=4, text="missing"),),
            CrossSpec(),
        )
    ),
}
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "site": st.sampled_from(["s0", "s1", "new", "", None]),
        "ad": st.integers(0, 9),
        "views": st.one_of(st.none(), st.floats(), st.integers(-5, 10**6)),
        "price": st.one_of(st.text(max_size=3), st.floats(0, 1e6)),
        "score": st.one_of(st.text(max_size=3), st.floats()),
        "interests": st.lists(st.sampled_from(["i0", "i1", "i9", ""]), max_size=4),
        "at": st.one_of(st.none(), st.integers(0, 2 * 10**9)),
    },
)


def sum_of(explanation):
    return explanation.bias + sum(c.logit for c in explanation.contributions)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
@settings(max_examples=40)
@given(event=EVENTS)
def test_bias_and_contributions_add_up_to_the_logit(learner, event):
    explanation = explain(learner, event)
    assert sum_of(explanation) == pytest.approx(explanation.logit, abs=1e-5)  # float32
    for c in explanation.contributions:
        assert c.logit == pytest.approx(c.regressions + c.statistics + c.net)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
@settings(max_examples=40)
@given(event=EVENTS)
def test_the_probability_is_the_predicted_one(learner, event):
    assert explain(learner, event).probability == learner.predict_proba_one(event)[True]


def test_explaining_teaches_the_learner_nothing():
    before = STACK.weights.fields.copy()
    explain(STACK, {"site": "s1"})
    np.testing.assert_array_equal(before, STACK.weights.fields)


def test_the_largest_contribution_comes_first_whatever_its_sign():
    sizes = [abs(c.logit) for c in explain(STACK, {"site": "s1", "ad": 3}).contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3


def by_names(event, learner=STACK):
    return {(c.names, c.values): c for c in explain(learner, event).contributions}


def test_each_member_of_a_list_contributes_on_its_own_and_in_each_cross():
    found = by_names({"site": "s1", "views": 2, "interests": ["i0", "i1"]})
    for member in ("i0", "i1"):
        assert (("interests",), (member,)) in found
        assert (("interests", "site"), (member, "s1")) in found
        assert (("interests", "site", "views"), (member, "s1", "2")) in found


def test_a_value_contributes_what_it_changes_in_the_logit():
    learner = learned(spec_of(crosses=CrossSpec(), learner=LearnerSpec(kind="single")))
    event = {"site": "s1", "ad": 2}
    with_site, without = explain(learner, event), explain(learner, {"ad": 2})
    change = with_site.logit - without.logit
    site = by_names(event, learner)[("site",), ("s1",)].logit
    missing = by_names({"ad": 2}, learner)[("site",), ("(missing)",)].logit
    assert site - missing == pytest.approx(change, abs=1e-12)
    assert abs(change) > 0.05


def test_features_that_share_a_bucket_contribute_the_same_each():
    learner = ClickLearner(
        spec_of(
            (FieldSpec(names=tuple("abcdefgh")),),
            CrossSpec(),
            bits=1,
            learner=LearnerSpec(kind="single"),
        )
    )
    event = dict.fromkeys("abcdefgh", "v")
    learner.learn_one(event, True)
    explanation = explain(learner, event)
    assert len({c.logit for c in explanation.contributions}) <= 2
    assert sum_of(explanation) == pytest.approx(explanation.logit, abs=1e-12)


def test_a_value_never_learned_is_told_and_adds_what_the_average_does():
    spec = spec_of(bits=20, learner=LearnerSpec(kind="single"))
    new = by_names({"site": "never met"}, learned(spec, 50))[("site",), ("never met",)]
    assert (new.seen, new.logit) == (False, 0.0)
    learner = learned(spec_of(bits=20), 50)
    new = by_names({"site": "never met"}, learner)[("site",), ("never met",)]
    mean = learner.weights.arrays["field_means"][0, :3] @ learner.weights.arrays["mixture"][:3]
    assert not new.seen
    assert new.regressions == pytest.approx(learner.weights.calibration[0] * mean)
    assert by_names({"site": "s1"})[("site",), ("s1",)].seen


def test_a_cross_that_is_not_admitted_is_not_seen():
    event = {"site": "news", "ad": "shoes"}
    for admission, seen in (0, True), (10, False):
        sizes = HashSpec(admit_after=admission)
        pairs = spec_of(crosses=CrossSpec(named=(("site", "ad"),)))
        learner = ClickLearner(msgspec.structs.replace(pairs, hash=sizes))
        for _ in range(5):
            learner.learn_one(event, True)
        (cross,) = [c for c in explain(learner, event).contributions if len(c.names) == 2]
        assert cross.seen is seen


SHOWN = [
    ("site", {"site": "news"}, "news"),
    ("site", {}, "(missing)"),
    ("site", {"site": float("nan")}, "(missing)"),
    ("ad", {"ad": 3.0}, "3"),
    ("views", {"views": 2}, "2"),
    ("views", {"views": 37}, "37 (37 to 42)"),
    ("views", {"views": "3"}, "3 (3 to 4)"),
    ("views", {"views": 2.5}, "2.5 (2 to below 3)"),
    ("views", {"views": 1e300}, "1e+300 (8.935e+15 or more)"),
    ("views", {"views": float("nan")}, "(missing)"),
    ("price", {"price": 1}, "1"),
    ("price", {"price": 5}, "5 (4 to 7)"),
    ("price", {"price": 5.5}, "5.5 (4 to below 8)"),
    ("price", {"price": 1e300}, "1e+300 (9.007e+15 or more)"),
    ("price", {"price": "n/a"}, "n/a (no number: as missing)"),
    ("price", {"price": "nan"}, "nan (as missing)"),
    ("score", {"score": -3}, "-3 (below -1)"),
    ("score", {"score": -1.0}, "-1 (-1 to below 0)"),
    ("score", {"score": 2.5}, "2.5 (2.5 or more)"),
    ("score", {"score": "n/a"}, "n/a"),
    ("interests", {"interests": []}, "(missing)"),
    ("interests", {"interests": "one"}, "one"),
    ("hour", {"at": 7 * 3600 + 59}, "07:00-07:59 UTC"),
    ("day", {"at": 0}, "Thursday"),
    ("day", {"at": ""}, "(missing)"),
]


@pytest.mark.parametrize(("field", "event", "text"), SHOWN)
def test_values_are_shown_as_given_with_the_bucket_of_a_number(field, event, text):
    values = [c.values for c in explain(STACK, event).contributions if c.names == (field,)]
    assert values == [(text,)]


@given(value=st.one_of(st.floats(0, 1e15), st.integers(0, 10**9)))
def test_the_bucket_shown_holds_the_value_and_what_shares_its_token(value):
    for field in ("views", "price", "score"):
        [(text,)] = [
            c.values for c in explain(STACK, {field: value}).contributions if c.names == (field,)
        ]
        if " to " in text and "below" not in text:
            first, last = text.partition(" (")[2].removesuffix(")").split(" to ")
            tokens = {
                tuple(STACK.vectoriser.hash_event({field: v}).tokens)
                for v in (value, int(first), int(last))
            }
            assert len(tokens) == 1
            assert int(first) <= value <= int(last)


def test_quantiles_not_learned_yet_are_told():
    learner = LEARNERS["quantiles still being learned"]
    assert (("score",), ("0.5 (buckets not learned yet)",)) in by_names({"score": 0.5}, learner)


def test_keys_that_no_field_reads_are_named():
    explanation = explain(STACK, {"site": "s1", "sit": "s1", "at": 0})
    assert explanation.unused == ("sit",)


def test_a_value_that_the_spec_does_not_allow_is_refused():
    with pytest.raises(RowError, match="'views'"):
        explain(STACK, {"views": "many"})


def test_a_learner_without_spec_is_explained_by_the_keys_it_learned():
    learner = ClickLearner()
    assert explain(learner, {1: "a"}) == Explanation(("1",), 0.5, 0.0, 0.0, ())
    learner.learn_one({1: "a", 2: "b"}, True)
    assert {c.names for c in explain(learner, {1: "a", 2: "b"}).contributions} == {
        ("1",),
        ("2",),
        ("1", "2"),
    }
