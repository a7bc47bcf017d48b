"""Law 9: the estimators learn rightly, or refuse the row and stay as they were; never NaN."""

import copy
import datetime as dt
import math
import os
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_spec import spec_of

from features.errors import RowError
from features.hashed import Hashed
from features.spec import FieldSpec, HashSpec, LearnerSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from learning import ClickLearner, FTRLClassifier, HashedCrosses
from learning.stack import LATE
from learning.weights import weights_for

CALLS = 10_000 if os.environ.get("CLICKTIDE_FULL") else 150
SPEC = spec_of(
    "ad",
    "site",
    FieldSpec(names=("n",), transform="log2", text="missing"),
    FieldSpec(names=("age",), transform="quantile", buckets=3, learn_from=4),
    FieldSpec(names=("tags",), transform="categories"),
    name="doors",
    pairs=True,
    bits=8,
)
MODELS = {
    "open": ClickLearner,
    "spec": lambda: ClickLearner(SPEC),
    "ftrl": FTRLClassifier,
    "ftrl with l1": lambda: FTRLClassifier(l1=0.1),
}
of_each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def state(model):
    """All that a model has learned."""
    if isinstance(model, FTRLClassifier):
        return model._z.tobytes(), model._n.tobytes(), tuple(model._index)
    if model.weights is None:
        return ()
    arrays = (array.reshape(-1).copy() for array in model.weights.arrays.values())
    learned = model.vectoriser.quantiles.state() if model.vectoriser else {}
    return *(array.tobytes() for array in arrays), repr(learned)


def learned_a_little(make):
    model = make()
    numeric = isinstance(model, FTRLClassifier)
    for i in range(20):
        model.learn_one({"ad": i % 3 if numeric else f"a{i % 3}"}, i % 4 == 0)
    return model


def refused(model, call, match=None):
    before = state(model)
    with pytest.raises(RowError, match=match):
        call()
    assert state(model) == before


@of_each_model
@pytest.mark.parametrize(
    "label", [None, math.nan, pd.NA, pd.NaT, 2, -1, 0.5, "x", "", [1], {"y": 1}, np.array([1, 0])]
)
def test_what_is_no_label_is_refused(make, label):
    model = learned_a_little(make)
    refused(model, lambda: model.learn_one({"ad": 1}, label), "label")
    X = pd.DataFrame({"ad": [1, 2, 0]})
    refused(model, lambda: model.learn_many(X, [1, 0, label]), "row 2: label")


@of_each_model
@pytest.mark.parametrize("label", [True, np.True_, 1, 1.0, np.int8(1), np.float32(1), "1", "true"])
def test_a_click_is_a_click_in_any_type(make, label):
    one, other = learned_a_little(make), learned_a_little(make)
    one.learn_one({"ad": 1}, True)
    other.learn_one({"ad": 1}, label)
    assert state(one) == state(other)
    other.learn_many(pd.DataFrame({"ad": [2, 2]}), pd.Series([label, False], dtype=object))
    one.learn_one({"ad": 2}, True)
    one.learn_one({"ad": 2}, False)
    assert state(one) == state(other)


@of_each_model
@pytest.mark.parametrize(
    "y", [[1, 0], [1, 0, 1, 0], [], 1, np.ones((3, 1)), pd.DataFrame({"y": [1, 0, 1]}), "101"]
)
def test_there_is_one_label_a_row(make, y):
    model = learned_a_little(make)
    refused(model, lambda: model.learn_many(pd.DataFrame({"ad": [1, 2, 0]}), y))


@of_each_model
@pytest.mark.parametrize("weight", [math.nan, math.inf, -5.0, 1e7, None, pd.NA, "heavy"])
def test_what_is_no_importance_weight_is_refused(make, weight):
    model = learned_a_little(make)
    refused(model, lambda: model.learn_one({"ad": 1}, True, w=weight), "weight")
    X, y = pd.DataFrame({"ad": [1, 2, 0]}), [1, 0, 1]
    many = pd.Series([1.0, weight, 1.0], dtype=object)
    refused(model, lambda: model.learn_many(X, y, w=many), "row 1: importance weight")
    refused(model, lambda: model.learn_many(X, y, w=[1.0]), "1 weights for 3 rows")


@pytest.mark.parametrize("bad", [math.inf, -math.inf, 1e308, "five", [1], Decimal("1e99")])
def test_a_feature_that_is_no_number_is_refused(bad):
    model = learned_a_little(FTRLClassifier)
    refused(model, lambda: model.learn_one({"new": 1.0, "ad": bad}, True), "'ad'")
    X = pd.DataFrame({"new": [1.0, 2.0], "ad": pd.Series([1.0, bad], dtype=object)})
    refused(model, lambda: model.learn_many(X, [1, 0]), "row 1: feature 'ad'")


def test_an_absent_cell_is_an_absent_feature():
    rows = [{"a": 1.0}, {"b": 1.0}, {"a": 1.0, "b": 1.0}, {"a": None, "b": math.nan}]
    labels = [True, False, True, True]
    many, one = FTRLClassifier(), FTRLClassifier()
    many.learn_many(pd.DataFrame(rows), pd.Series(labels))
    for x, y in zip(rows, labels, strict=True):
        one.learn_one({k: v for k, v in x.items() if v is not None and v == v}, y)
    assert state(many)[:2] == state(one)[:2]


def test_labels_of_libsvm_are_refused_with_the_fix():
    from river import evaluate, metrics  # takes seconds, of each worker that collects this file

    stream = [({"1": 1.0, "3": 1.0}, 1), ({"2": 1.0}, -1)]
    with pytest.raises(RowError, match=r"label -1 is neither.*Fix: .*y == 1"):
        evaluate.progressive_val_score(stream, ClickLearner(), metrics.LogLoss())


@pytest.mark.parametrize("first", [{}, {"site": "x"}, {"other": 1}])
def test_fields_are_known_when_they_are_first_seen(first):
    model = ClickLearner()
    model.learn_one(first, False)
    for i in range(500):
        model.learn_one({"site": "x", "ad": str(i % 2)}, i % 2 == 0)
    assert model.predict_proba_one({"site": "x", "ad": "0"})[True] > 0.9
    assert model.predict_proba_one({"ad": "1"})[True] < 0.3


events = st.dictionaries(
    st.sampled_from("abcd"), st.none() | st.sampled_from(["u", "v", 1, 2.5, True]), max_size=4
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(events, st.booleans()), min_size=1, max_size=12), st.data())
def test_fields_that_come_and_go_are_the_same_bits_one_by_one_and_as_frames(rows, data):
    one = ClickLearner()
    for x, y in rows:
        one.learn_one(x, y)
    cut = data.draw(st.integers(0, len(rows)))
    many = ClickLearner()
    for part in (rows[:cut], rows[cut:]):
        if part:
            frame = pd.DataFrame([x for x, _ in part], dtype=object, index=range(len(part)))
            many.learn_many(frame, [y for _, y in part])
    assert state(one) == state(many) == state(copy.deepcopy(one))
    asked = pd.DataFrame([x for x, _ in rows], dtype=object, index=range(len(rows)))
    alone = [one.predict_proba_one(x)[True] for x, _ in rows]
    assert many.predict_proba_many(asked)[True].tolist() == alone


def test_an_event_of_very_many_fields_is_learned_without_crosses():
    wide = {f"f{i}": i % 7 for i in range(1000)}
    one, many = ClickLearner(), ClickLearner()
    one.learn_one(wide, True)
    many.learn_many(pd.DataFrame([wide]), [True])
    assert state(one) == state(many)
    assert one.predict_proba_one(wide)[True] > 0.5


@of_each_model
def test_no_weight_and_no_repetition_overflows(make):
    model = make()
    x = {"ad": 1e50, "site": -1e50} if isinstance(model, FTRLClassifier) else {"ad": "a"}
    for i in range(400):
        model.learn_one(x, i % 2 == 0, w=1e6)
    for i in range(400):
        model.learn_one(x, True, w=1e6 * (i % 2))
    assert 0.0 <= model.predict_proba_one(x)[True] <= 1.0
    assert 0.0 <= model.predict_proba_one({"ad": 1})[True] <= 1.0


def one_token(rng, n):
    return np.full(n, 77 << 50, np.uint64)


def some_tokens(rng, n):
    return rng.integers(0, 50, n).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


HARD = {
    "equal events, none clicked": (one_token, lambda rng, n: np.zeros(n), 1.0),
    "equal events, all clicked": (one_token, lambda rng, n: np.ones(n), 1.0),
    "alternating labels": (one_token, lambda rng, n: np.arange(n) % 2 * 1.0, 1.0),
    "alternating, of great weight": (one_token, lambda rng, n: np.arange(n) % 2 * 1.0, 1e6),
    "sorted by label, of great weight": (
        some_tokens, lambda rng, n: (np.arange(n) > n / 2) * 1.0, 1e6
    ),
    "all clicked, of great weight": (some_tokens, lambda rng, n: np.ones(n), 1e6),
    "weights of any size": (some_tokens, lambda rng, n: (rng.random(n) < 0.2) * 1.0, None),
    "weights near none": (some_tokens, lambda rng, n: (rng.random(n) < 0.2) * 1.0, 1e-300),
    "late clicks alone": (some_tokens, lambda rng, n: np.full(n, LATE), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["stack", "single"])
@pytest.mark.parametrize("case", HARD)
def test_nothing_that_the_doors_let_through_makes_a_number_that_is_none(case, kind):
    tokens, labels, weight = HARD[case]
    rng, n, fields = np.random.default_rng(0), 20_000, 4
    pairs = [(a, b, -1) for a in range(fields) for b in range(a + 1, fields)]
    sizes = HashSpec(bits=12, cross_bits=14)
    weights = weights_for(sizes, LearnerSpec(kind=kind), np.array(pairs, np.int32), fields)
    hashed = Hashed(tokens(rng, n * fields), np.empty(0, np.int64), n, fields)
    given = 10.0 ** rng.integers(-6, 7, n) if weight is None else np.full(n, weight)
    for _ in range(3):
        logits = weights.learn(hashed, labels(rng, n), given)
        assert np.isfinite(logits).all()
    assert all(np.isfinite(array).all() for array in weights.arrays.values())


def test_names_that_are_equal_as_text_are_refused():
    model = learned_a_little(ClickLearner)
    refused(model, lambda: model.learn_one({1: "a", "1": "b"}, True), "same name")
    X = pd.DataFrame([["a", "b"]], columns=["ad", "ad"])
    refused(model, lambda: model.learn_many(X, [1]), "two columns")
    with pytest.raises(RowError, match="is not a single value"):
        HashedCrosses().transform_one({"a": [1]})


def test_its_repr_is_short():
    assert repr(ClickLearner(SPEC)) == "ClickLearner(spec='doors')"
    assert repr(ClickLearner()) == "ClickLearner()"


# --- one function from a scalar to its token ---------------------------------------------------

ZONE = dt.timezone(dt.timedelta(hours=2))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(),
    st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1)), st.times(), st.uuids(),
    st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999)), st.decimals(allow_infinity=False),
    st.sampled_from([
        np.float16(0.1), np.float32(0.1), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True),
        np.datetime64("2024-01-01"), np.datetime64("NaT"), np.timedelta64(5, "s"), 2**70, -0.0,
        pd.NA, pd.NaT, pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp(1, unit="ns"),
        pd.Period("2024-01"), pd.Timedelta(3, "s"), dt.datetime(2024, 1, 1, tzinfo=ZONE),
    ]),
)  # fmt: skip
ONE = Spec(name="x", source=SourceSpec(label="y"), fields=(FieldSpec(names=("v", "w")),))


def token(value):
    return Vectoriser(ONE).hash_event({"v": value, "w": 0}).tokens[0]


def arrow_token(array):
    batch = pa.RecordBatch.from_arrays([array, pa.nulls(len(array))], names=["v", "w"])
    return Vectoriser(ONE).hash_batch(batch)[0].tokens[::2].tolist()


@settings(deadline=None, max_examples=CALLS // 2)
@given(st.lists(SCALARS, min_size=1, max_size=4))
def test_a_value_has_one_token_on_every_path(values):
    expected = [token(value) for value in values]
    frame = pd.DataFrame({"v": pd.Series(values, dtype=object), "w": 0})
    assert Vectoriser(ONE).hash_frame(frame).tokens[::2].tolist() == expected
    for value in values:
        for typed in (lambda v: pa.array([v], from_pandas=True), lambda v: pd.Series([v])):
            try:
                column = typed(value)
            except (pa.ArrowException, OverflowError, ValueError, TypeError):
                continue
            if isinstance(column, pa.Array):  # what it holds: pyarrow may have rounded it
                assert arrow_token(column) == [token(column[0].as_py())], (value, column.type)
                continue
            frame = pd.DataFrame({"v": column, "w": 0})
            assert Vectoriser(ONE).hash_frame(frame).tokens[0] == token(column[0]), value


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([dt.date(2024, 1, 1)]), "2024-01-01"),
        (pa.array([dt.date(2024, 1, 1)], pa.date64()), "2024-01-01"),
        (pa.array([Decimal("1.10")], pa.decimal128(9, 2)), 1.1),
        (pa.array([Decimal("12")], pa.decimal256(40, 0)), 12),
        (pa.array([b"\xff"]), b"\xff"),
        (pa.array([b"ab"], pa.binary(2)), "ab"),
        (pa.array(["a"], pa.large_string()), "a"),
        (pa.array(["a"], pa.string_view()), "a"),
        (pa.array([0.1], pa.float32()), np.float32(0.1)),
        (pa.array([5], pa.duration("s")), dt.timedelta(seconds=5)),
        (pa.array([5], pa.duration("ns")), np.timedelta64(0, "s")),
        (pa.array([3_600_000], pa.time32("ms")), "01:00:00"),
        (pa.array([0], pa.timestamp("ns", "UTC")), "1970-01-01 00:00:00+00:00"),
        (pa.array(["a"]).dictionary_encode(), "a"),
    ],
)
def test_an_arrow_type_has_the_token_of_its_value(array, value):
    assert arrow_token(array) == [token(value)]


# --- random calls ------------------------------------------------------------------------------

CELLS = SCALARS | st.sampled_from(["a", "b", "c"]) | st.lists(st.integers(), max_size=2)
LABELS = st.sampled_from([True, False, 0, 1, 1.0, np.int64(0), "1", None, math.nan, 2, -1, pd.NA])
WEIGHTS = st.sampled_from([1.0, 0.0, 3, 1e6, np.float32(2)]) | st.floats() | st.none()
NAMES = st.sampled_from(["ad", "site", "n", "age", "tags", "other", 7])


def as_nullable(frame):
    return frame.convert_dtypes()


def as_arrow_backed(frame):
    return frame.convert_dtypes(dtype_backend="pyarrow")


def as_table(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 5))
    kinds = st.sampled_from([
        CELLS, st.floats(), st.integers(-9, 9), st.sampled_from("abc"), st.booleans(),
        st.none() | st.integers(-9, 9), st.none() | st.sampled_from("abc"),
    ])  # fmt: skip
    names = draw(st.lists(NAMES, max_size=4))
    columns = [draw(st.lists(draw(kinds), min_size=rows, max_size=rows)) for _ in names]
    series = [pd.Series(c, dtype=draw(st.sampled_from([None, object]))) for c in columns]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=range(rows))
    frame.columns = names
    if draw(st.booleans()) and rows:
        frame.index = draw(st.permutations(range(rows)))
    foreign = draw(st.sampled_from([None, as_nullable, as_arrow_backed, as_table]))
    if foreign is not None:
        try:
            return foreign(frame)
        except Exception:  # the other library refuses it
            return frame
    return frame


@st.composite
def calls(draw):
    if draw(st.booleans()):
        x = draw(st.dictionaries(NAMES, CELLS, max_size=4))
        return "learn_one", x, (draw(LABELS), draw(WEIGHTS))
    X = draw(frames())
    rows = draw(st.sampled_from([len(X), len(X), len(X), len(X) + 1]))
    y = draw(st.lists(draw(st.sampled_from([LABELS, st.booleans()])), min_size=rows, max_size=rows))
    w = draw(st.none() | st.lists(WEIGHTS, min_size=len(X), max_size=len(X)))
    return "learn_many", X, (draw(st.sampled_from([list, pd.Series, np.array]))(y), w)


@pytest.mark.parametrize("kind", MODELS)
@settings(deadline=None, max_examples=CALLS // 4, suppress_health_check=list(HealthCheck))
@given(st.lists(calls(), min_size=1, max_size=3))
def test_random_calls_are_learned_or_refused(kind, made):
    model = MODELS[kind]()
    for name, X, arguments in made:
        before = state(model)
        try:
            getattr(model, name)(X, *arguments)
        except RowError:
            assert state(model) == before
        try:
            p = model.predict_proba_one(X) if name == "learn_one" else model.predict_proba_many(X)
        except RowError:
            continue
        for value in [p[True]] if isinstance(p, dict) else p[True]:
            assert 0.0 <= value <= 1.0
    x = {"ad": 1} if "ftrl" in kind else {"ad": "a"}
    assert 0.0 <= model.predict_proba_one(x)[True] <= 1.0
