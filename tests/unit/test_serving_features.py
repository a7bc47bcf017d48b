"""Features of a request: their keys and values, and what stands in for those not known."""

import numpy as np
import pytest
from counter_panes import stored_values
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spec import spec_of

from features.counters.redis_format import ENTRY, Plan, Updates, pack_rows
from features.counters.stored import StoredCounters
from features.errors import ClicktideError
from features.spec import CounterSpec, FieldSpec, SourceSpec, Spec
from serving.event_batch import SharedFields
from serving.feature_kernels import event_keys, find_distinct, find_ends, read_values
from serving.feature_layout import EventKeys
from serving.request_features import FeatureSource
from serving.store_reader import Breaker

NOW = 1_736_121_600_000
HOUR = 3_600_000
KEYS = ("ad", "campaign", "advertiser", "user", ("user", "ad"))


def spec(**more):
    table = CounterSpec(keys=KEYS, half_lives_h=(24.0, 1.0), **more)
    return spec_of(
        FieldSpec(names=("ad",), column="ad_id"),
        "user",
        name="market",
        time="time",
        counters=(table, CounterSpec(keys=("user",), half_lives_h=(2.0,), prior_rate=0.1)),
    )


class Memory:
    """A store in memory, with faults."""

    def __init__(self, spec):
        self.counters, self.states, self.reads, self.fault = StoredCounters(spec), {}, 0, None

    def see(self, event, views, clicks, at_ms=NOW - HOUR):
        row, rows = self.counters.keys([event])[0].tolist(), []
        for number, key in zip(self.counters.numbers.tolist(), row, strict=True):
            if key:
                rows += [(key, number, at_ms, i, -1) for i in range(views)]
                rows += [(key, number, at_ms, i, i) for i in range(clicks)]
        for packed in pack_rows(Updates.of(rows), Plan(self.counters.plan)):
            entry = np.zeros(1, ENTRY)
            for name in ENTRY.names:
                entry[name] = packed[name]
            key = int(packed["key"])
            self.states[key] = self.states.get(key, b"") + entry.tobytes()

    def read(self, keys):
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        return [self.states.get(key) for key in keys.tolist()]

    def close(self):
        pass


KNOWN = {"ad_id": "shoes", "campaign": "spring", "advertiser": "acme", "user": "u1"}
texts = st.one_of(
    st.none(), st.text(max_size=4), st.integers(-3, 10**20), st.floats(), st.booleans(),
    st.lists(st.integers(), max_size=2), st.just("a\x1fb"),
)  # fmt: skip
events = st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN, texts))


@settings(max_examples=60)
@given(st.lists(events, min_size=1, max_size=12))
def test_keys_are_those_of_the_counting(some):
    known = spec()
    assert np.array_equal(EventKeys(known)(some), StoredCounters(known).keys(some))


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 200 * HOUR))
def test_values_are_those_of_the_counting_to_the_bit(views, clicks, later):
    known = spec()
    store = Memory(known)
    store.see(KNOWN, views, clicks)
    store.see(KNOWN | {"user": "u2"}, 3, 0, NOW - 30 * HOUR)
    source = FeatureSource(known, None, connect=lambda: store)
    some = [KNOWN, KNOWN | {"user": "u2"}, KNOWN | {"user": None}]
    found = source.fetch(some, NOW + later)
    keys = store.counters.keys(some)
    wanted = stored_values(store.counters, store.read(keys.ravel()), keys, NOW + later)
    own = [row for row, told in zip(found.values, found.fallbacks, strict=True) if not told]
    expected = [r for r, told in zip(wanted, found.fallbacks, strict=True) if not told]
    assert np.array_equal(own, expected, equal_nan=True)
    assert found.age_ms == 0.0


def named(source, row):
    return {n.removeprefix("counter:"): v for n, v in zip(source.names, row, strict=True)}


def test_a_new_ad_takes_its_campaigns_click_rate_for_no_more_views_than_the_prior_has():
    known = spec(prior_views=20.0)
    store = Memory(known)
    store.see(KNOWN, 400, 100, NOW)
    source = FeatureSource(known, None, connect=lambda: store)
    found = source.fetch([KNOWN | {"ad_id": "new"}], NOW)
    values = named(source, found.values[0])
    assert found.fallbacks == [("ad>campaign", "user+ad>prior")]
    assert values["ad_views_24h"] == 20.0
    assert values["ad_clicks_24h"] == pytest.approx(5.0)
    assert values["campaign_views_24h"] == 400.0


def test_a_parent_with_few_views_counts_for_no_more_than_it_has():
    store = Memory(spec())
    store.see(KNOWN, 3, 9, NOW)  # clicks outlive their views
    source = FeatureSource(spec(), None, connect=lambda: store)
    values = named(source, source.fetch([KNOWN | {"ad_id": "new"}], NOW).values[0])
    assert (values["ad_views_24h"], values["ad_clicks_24h"]) == (3.0, 3.0)


def test_fallbacks_go_on_to_the_next_parent_that_is_known_and_end_at_the_prior():
    store = Memory(spec())
    store.see(KNOWN, 40, 10)
    source = FeatureSource(spec(), None, connect=lambda: store)
    new = {"ad_id": "x", "campaign": "x", "advertiser": "acme", "user": "x"}
    found = source.fetch([new, new | {"advertiser": "x"}, new | {"campaign": None}], NOW)
    rest = ("user>prior", "user+ad>prior", "user>prior")
    assert found.fallbacks[0] == ("ad>advertiser", "campaign>advertiser", *rest)
    assert found.fallbacks[1] == ("ad>prior", "campaign>prior", "advertiser>prior", *rest)
    assert found.fallbacks[2] == ("ad>advertiser", *rest)
    assert named(source, found.values[1])["ad_views_24h"] == 0.0
    assert np.isnan(named(source, found.values[2])["campaign_views_24h"])


def test_a_counter_that_has_faded_away_is_not_known():
    store = Memory(spec())
    store.see(KNOWN, 40, 10, NOW - 9 * 24 * HOUR)
    source = FeatureSource(spec(), None, connect=lambda: store)
    assert "ad>prior" in source.fetch([KNOWN], NOW).fallbacks[0]


def test_chains_are_a_setting_and_a_wrong_one_is_an_error():
    store = Memory(spec())
    store.see(KNOWN, 40, 10)
    source = FeatureSource(spec(), None, connect=lambda: store, parents=["user+ad > ad > nobody"])
    told = source.fetch([KNOWN | {"user": "new"}], NOW).fallbacks[0]
    assert "user+ad>ad" in told
    with pytest.raises(ClicktideError, match="parents 'ad>'"):
        FeatureSource(spec(), None, parents=["ad>"])


def test_a_dead_store_costs_no_call_and_what_was_read_last_stands_in():
    clock, store = [100.0], Memory(spec())
    store.see(KNOWN, 40, 10)
    source = FeatureSource(spec(), None, connect=lambda: store, clock=lambda: clock[0])
    before = source.fetch([KNOWN], NOW)
    store.fault = ConnectionResetError("gone")
    source.fetch([KNOWN], NOW)
    clock[0] += 3
    for _ in range(5):
        found = source.fetch([KNOWN, KNOWN | {"ad_id": "other"}], NOW)
    assert source.problem is not None
    assert np.array_equal(found.values[0], before.values[0])
    assert found.fallbacks[0] == ("store:down",)
    assert found.fallbacks[1] == ("store:down", "ad>campaign", "user+ad>prior")
    assert found.age_ms == 3000.0
    source.close()


def test_requests_of_one_moment_share_a_round_trip_and_get_their_own_rows():
    store = Memory(spec())
    store.see(KNOWN, 40, 10)
    store.see(KNOWN | {"user": "u2"}, 5, 1)
    source = FeatureSource(spec(), None, connect=lambda: store)
    some = [KNOWN, KNOWN | {"user": "u2"}, KNOWN | {"user": "new"}]
    requests = [([e] * (i + 1), NOW + i * HOUR) for i, e in enumerate(some)]
    alone = [source.fetch(*request) for request in requests]

    before = store.reads
    found = source.fetch_all(requests)
    assert store.reads - before == 1
    for one, other in zip(alone, found, strict=True):
        assert np.array_equal(one.values, other.values, equal_nan=True)
        assert one.fallbacks == other.fallbacks


def test_a_spec_without_counters_has_no_values_and_an_empty_request_no_rows():
    plain = Spec(name="x", source=SourceSpec(label="y"), fields=(FieldSpec(names=("ad",)),))
    assert FeatureSource(plain, None).fetch([{"ad": 1}], NOW).values is None
    assert FeatureSource(spec(), None).fetch([], NOW).values.shape == (0, 26)


def test_kernels_are_compiled_once_for_one_request_and_for_many():
    store = Memory(spec())
    store.see(KNOWN, 40, 10)
    source = FeatureSource(spec(), None, connect=lambda: store)
    some = [KNOWN | {"user": f"u{i}"} for i in range(30)]
    for requests in (
        [(some[:1], NOW)],
        [(some, NOW)],
        [([e], NOW + i) for i, e in enumerate(some)],
    ):
        source.fetch_all(requests)
    store.fault = ConnectionResetError("gone")
    source.fetch(some, NOW)
    for kernel in (event_keys, find_ends, read_values):
        assert len(kernel.signatures) == 1
    source.close()


@settings(max_examples=60)
@given(events, st.lists(events, min_size=1, max_size=30))
def test_keys_of_events_that_share_fields_are_those_of_whole_events(shared, own):
    keys, rows = EventKeys(spec()), SharedFields(shared, own)
    assert np.array_equal(keys(rows), keys([{**shared, **one} for one in own]))


def test_each_key_is_asked_for_once():
    keys = np.array([7, 0, 7, 2**64 - 1, 5, 0, 2**63], np.uint64)
    out, place = np.empty(7, np.uint64), np.empty(7, np.int64)
    count = find_distinct(keys, out, place)
    assert out[:count].tolist() == [7, 0, 2**64 - 1, 5, 2**63]
    assert (out[place] == keys).all()


# --- The circuit breaker: how long a failing store is left alone.


def test_a_single_failure_allows_a_new_try_at_once():
    breaker = Breaker(first_ms=50, most_ms=400)
    assert breaker.closed
    breaker.failed(1000)
    assert not breaker.closed
    assert breaker.may_probe(1000)


def test_each_further_failure_doubles_the_wait_up_to_the_most():
    breaker, waits, now = Breaker(first_ms=50, most_ms=400), [], 0.0
    for _ in range(7):
        breaker.failed(now)
        start = now
        while not breaker.may_probe(now):
            now += 1.0
        waits.append(now - start)
    assert waits == [0, 50, 100, 200, 400, 400, 400]


def test_a_probe_that_passes_closes_it_and_keeps_the_count_until_a_request_does():
    breaker = Breaker(first_ms=50, most_ms=400)
    breaker.failed(0)
    breaker.failed(0)
    breaker.mended()
    assert breaker.closed
    breaker.failed(100)  # a request after the probe: the store is sick, not back
    assert not breaker.may_probe(199)
    assert breaker.may_probe(200)
    breaker.mended()
    breaker.passed()
    breaker.failed(1000)
    assert breaker.may_probe(1000)


def test_a_closed_one_has_nothing_to_probe():
    assert not Breaker().may_probe(1e9)


def test_failures_without_end_do_not_overflow():
    breaker = Breaker()
    for _ in range(5000):
        breaker.failed(0)
    assert breaker.may_probe(1000)


def test_a_store_that_is_only_late_is_tried_again_sooner():
    breaker = Breaker(first_ms=50, most_ms=1000, late_ms=100)
    for now in range(0, 8000, 1000):
        breaker.failed(now, late=True)
    assert not breaker.may_probe(7099)
    assert breaker.may_probe(7100)
    breaker.failed(8000)
    assert not breaker.may_probe(8999)
