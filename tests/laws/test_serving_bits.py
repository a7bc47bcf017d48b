"""Serving gives the very bits of River's API and of the trainer: for one event as for many.

``CLICKTIDE_FULL=1`` tries three times as many requests.
"""

import asyncio
import os
import zlib

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from served_app import HeldWeights
from small_spec import spec_of

from features.counters.names import COLUMN_PREFIX
from features.spec import CounterSpec, FieldSpec
from learning import ClickLearner
from learning.click_learner import probabilities
from learning.uncertainty import uncertainty
from serving.event_batch import EventBatch, ScoredEvents, shared_fields
from serving.hasher import EventHasher
from serving.problem import Problem
from serving.request_features import Fetched
from serving.scorer import Scorer

NOW = 1_736_121_600_000
REQUESTS = 60 if os.environ.get("CLICKTIDE_FULL") else 20
SPEC = spec_of(
    "ad",
    "site",
    "user",
    FieldSpec(names=("tags",), transform="categories", separator="|"),
    FieldSpec(names=("price",), transform="log_squared", text="category"),
    FieldSpec(names=("hour",), transform="hour_of_day", column="timestamp"),
    FieldSpec(names=("more",), transform="categories", separator=","),
    name="law",
    time="timestamp",
    pairs=True,
    bits=10,
    counters=(CounterSpec(keys=("ad", ("user", "ad")), half_lives_h=(1, 24)),),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["a", "b", "1", "1.0", "a\x1fb", ""]),
)
lists = st.one_of(st.none(), st.text("ab|,", max_size=6), st.lists(scalars, max_size=4))
fields = st.fixed_dictionaries(
    {},
    optional={
        "ad": scalars, "site": scalars, "user": scalars, "tags": lists, "price": scalars,
        "more": lists, "timestamp": st.integers(NOW, NOW + 10**8),
    },
)  # fmt: skip


class Served:
    """Gives each event counter values of its own."""

    def __init__(self, values):
        self.values = values

    def fetch_all(self, requests):
        out, at = [], 0
        for events, _ in requests:
            out.append(Fetched(self.values[at : at + len(events)], 0.0, [()] * len(events)))
            at += len(events)
        return out


def learned():
    rng = np.random.default_rng(0)
    learner = ClickLearner(SPEC)
    names = learner.vectoriser.counters.value_names
    for i in range(300):
        event = {"ad": "ab"[i % 2], "site": str(i % 3), "tags": ["x"] * (i % 3), "timestamp": NOW}
        served = zip(names, rng.exponential(9, len(names)).tolist(), strict=True)
        learner.learn_one(event | {COLUMN_PREFIX + n: v for n, v in served}, i % 3 == 0)
    return learner


LEARNER = learned()
NAMES = LEARNER.vectoriser.counters.value_names


@settings(max_examples=REQUESTS * 5 // 2)
@given(st.lists(fields, min_size=1, max_size=40), st.integers(0, 2**32 - 1), st.booleans())
def test_the_same_bits_for_one_and_for_many_and_as_river_gives(events, seed, gaps):
    rng = np.random.default_rng(seed)
    values = rng.exponential(10, (len(events), len(NAMES)))
    if gaps:
        values[rng.random(values.shape) < 0.3] = np.nan
    scorer = Scorer(HeldWeights(LEARNER), Served(values), SPEC, lambda: NOW)
    many = scorer.score(EventBatch(events, [NOW] * len(events)))
    for i, event in enumerate(events):
        alone = Scorer(HeldWeights(LEARNER), Served(values[i : i + 1]), SPEC, lambda: NOW)
        [one] = alone.score(EventBatch([event], [NOW])).probability.tolist()
        served = {COLUMN_PREFIX + n: v for n, v in zip(NAMES, values[i].tolist(), strict=True)}
        river = LEARNER.predict_proba_one({"timestamp": NOW} | event | served)[True]
        assert one == river
        assert many.probability[i] == river


@settings(max_examples=REQUESTS)
@given(st.lists(fields, min_size=1, max_size=60))
def test_the_trainers_batches_have_the_same_tokens(events):
    """Text columns, as a log has them: what the trainer hashes is what was served."""
    rows = [{k: v for k, v in event.items() if isinstance(v, str)} for event in events]
    times = [NOW + i for i in range(len(rows))]
    columns = {name: [row.get(name) for row in rows] for name in ("ad", "site", "user", "price")}
    batch = pa.RecordBatch.from_pydict(
        {name: pa.array(column, pa.string()) for name, column in columns.items()}
        | {"timestamp": pa.array(times)}
    )
    hashed, faults = LEARNER.vectoriser.hash_batch(batch)
    assert not faults
    timed = [
        {k: v for k, v in row.items() if k in columns} | {"timestamp": time}
        for row, time in zip(rows, times, strict=True)
    ]
    mine = EventHasher(SPEC).hash(LEARNER.vectoriser, timed, None)
    assert (mine.tokens == hashed.tokens).all()
    assert (probabilities(LEARNER.predict_hashed(mine)) > 0).all()


class Stored:
    """Counter values that follow from the event."""

    def fetch_all(self, requests):
        return [self.fetched(events) for events, _ in requests]

    def fetched(self, events):
        seeds = [zlib.crc32(repr(sorted(event.items())).encode()) for event in events]
        rows = [np.random.default_rng(seed).exponential(9, len(NAMES)) for seed in seeds]
        return Fetched(np.array(rows), 0.0, [()] * len(events))


@settings(max_examples=REQUESTS)
@given(st.lists(st.lists(fields, min_size=1, max_size=4), min_size=2, max_size=6))
def test_requests_scored_together_get_what_each_gets_alone(requests):
    scorer = Scorer(HeldWeights(LEARNER), Stored(), SPEC, lambda: NOW)
    asked = [EventBatch(events, [NOW + i for i in range(len(events))]) for events in requests]
    bad = EventBatch([{"ad": "a", "timestamp": "no time"}], [NOW])
    worse = EventBatch([None], [NOW])  # a bug

    async def at_once(some):
        return await asyncio.gather(*map(scorer.score_soon, some), return_exceptions=True)

    for some in (asked, [*asked, bad], [*asked, worse]):
        found = asyncio.run(at_once(some))
        assert isinstance(found[-1], ScoredEvents) == (some is asked)
        assert isinstance(found[-1], Problem) == (some[-1] is bad)
        for events, mine in zip(asked, found, strict=False):
            alone = scorer.score(events)
            assert mine.probability.tolist() == alone.probability.tolist()
            assert mine.uncertainty.tolist() == alone.uncertainty.tolist()
            assert mine.counters.tolist() == alone.counters.tolist()


@settings(max_examples=REQUESTS)
@given(fields, st.lists(fields, min_size=24, max_size=40))
def test_what_candidates_share_gives_the_bits_that_it_gives_in_each_of_them(shared, own):
    scorer = Scorer(HeldWeights(LEARNER), Stored(), SPEC, lambda: NOW)
    whole = [{**shared, **one} for one in own]
    times = [NOW] * len(own)
    found = scorer.score(EventBatch(shared_fields(shared, own), times))
    for i, event in enumerate(whole):
        alone = scorer.score(EventBatch([event], times[:1]))
        assert found.logit[i] == alone.logit[0]
        assert found.uncertainty[i] == alone.uncertainty[0]


@settings(max_examples=40)
@given(st.lists(fields, min_size=1, max_size=8))
def test_one_walk_gives_the_bits_of_prediction_and_uncertainty_apart(events):
    rows = [{"timestamp": NOW} | event for event in events]
    hashed = EventHasher(SPEC).hash(LEARNER.vectoriser, rows, None)
    logits, deviations = LEARNER.weights.predict_with_deviation(hashed)
    assert logits.tolist() == LEARNER.predict_hashed(hashed).tolist()
    assert deviations.tolist() == uncertainty(LEARNER, hashed).tolist()


def test_values_that_an_event_brings_are_used_in_place_of_the_stores():
    stored = np.full((1, len(NAMES)), 7.0)
    scorer = Scorer(HeldWeights(LEARNER), Served(stored), SPEC, lambda: NOW)
    brought = dict.fromkeys(NAMES, 3.0)
    by_name = scorer.score(EventBatch([{"ad": "a"}] * 2, [NOW] * 2, [brought, None]))
    assert by_name.counters[0].tolist() == [3.0] * len(NAMES)
    assert by_name.counters[1].tolist() == [7.0] * len(NAMES)
    in_fields = {"ad": "a"} | {COLUMN_PREFIX + name: 3.0 for name in NAMES}
    [same] = scorer.score(EventBatch([in_fields], [NOW])).probability.tolist()
    assert same == by_name.probability[0] != by_name.probability[1]


def test_without_counters_in_the_spec_no_store_is_asked():
    plain = msgspec.structs.replace(SPEC, counters=())
    scorer = Scorer(HeldWeights(ClickLearner(plain)), None, plain, lambda: NOW)
    scored = scorer.score(EventBatch([{"ad": "a"}], [NOW]))
    assert scored.counters is None
    assert scored.fallbacks == [()]
