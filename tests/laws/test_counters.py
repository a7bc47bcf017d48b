"""Laws of counters: exact in any order, never a click before its time, whatever the batches."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from counter_panes import table_panes
from hypothesis import given
from hypothesis import strategies as st
from small_spec import spec_of

from features.batch import Batch, Position
from features.counters.panes import decayed, pane, weight
from features.counters.table import CounterTable
from features.spec import CounterSpec, SourceSpec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot, save_snapshot
from streaming.prepare import Preparer
from streaming.replay import Replay

HALVES = (1000, 2500)
EVENTS = st.lists(
    st.tuples(
        st.integers(-5_000, 60_000),  # time
        st.integers(1, 4),  # key
        st.booleans(),  # clicked
        st.integers(0, 9_000),  # delay
    ),
    max_size=60,
)


def _advance(table, events):
    columns = list(zip(*events, strict=True)) or [(), (), (), ()]
    times, keys, clicked, delays = columns
    return table.advance(
        np.array(keys, np.uint64).reshape(-1, 1),
        np.array(times, np.int64),
        np.array(clicked, np.bool_),
        np.array(delays, np.int64),
    )


@given(EVENTS)
def test_reads_are_brute_force_and_know_no_click_before_its_time(events):
    events = sorted(events)
    got = _advance(CounterTable(HALVES, 1), events)
    for i, (now, key, _, _) in enumerate(events):
        before = [e for e in events[:i] if e[1] == key]
        for h, half in enumerate(HALVES):
            views, clicks = defaultdict[int, int](int), defaultdict[int, int](int)
            for at, _, clicked, delay in before:
                views[pane(at, half)] += weight(at, half)
                if clicked and at + delay <= now:
                    clicks[pane(at + delay, half)] += weight(at + delay, half)
            wanted = [decayed(views, now, half), decayed(clicks, now, half)]
            assert got[i, 0, h].tolist() == wanted  # to the bit


@given(EVENTS)
def test_a_late_read_knows_nothing_after_its_own_time(events):
    got = _advance(CounterTable(HALVES, 1), events)
    for i, (now, key, _, _) in enumerate(events):
        earlier = [e for e in events[:i] if e[1] == key]
        for h, half in enumerate(HALVES):
            views = [at for at, _, _, _ in earlier if at <= now]
            clicks = [at + delay for at, _, clicked, delay in earlier if clicked]
            for column, ats in enumerate([views, [c for c in clicks if c <= now]]):
                sums = defaultdict[int, int](int)
                for at in ats:
                    sums[pane(at, half)] += weight(at, half)
                assert got[i, 0, h, column] <= decayed(sums, now, half)


@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_updates_does_not_matter(events, random):
    states = []
    for turn in range(2):
        if turn:
            random.shuffle(events)
        table = CounterTable(HALVES, 1)
        _advance(table, [*events, (100_000, 0, False, 0)])  # when all clicks have come
        last = dict(zip(*(table.dump()[name].tolist() for name in ("keys", "last")), strict=True))
        states.append((table_panes(table), last))
    assert states[0] == states[1]


@given(EVENTS, st.integers(0, 60))
def test_cuts_and_a_dump_between_them_change_nothing(events, cut):
    whole = _advance(CounterTable(HALVES, 1), events)
    first, second = CounterTable(HALVES, 1), CounterTable(HALVES, 1)
    head = _advance(first, events[:cut])
    second.restore(first.dump())
    tail = _advance(second, events[cut:])
    np.testing.assert_array_equal(np.concatenate([head, tail]), whole)


def test_cuts_change_nothing_while_a_table_grows():
    rng = np.random.default_rng(5)
    keys = rng.integers(1, 9_000, (20_000, 2)).astype(np.uint64)
    times = np.sort(rng.integers(0, 40_000, 20_000))
    clicked, delays = rng.random(20_000) < 0.3, rng.integers(0, 3_000, 20_000)
    whole = CounterTable([1000], 2).advance(keys, times, clicked, delays)
    table, parts = CounterTable([1000], 2), []
    for low in range(0, 20_000, 777):
        rows = slice(low, low + 777)
        parts.append(table.advance(keys[rows], times[rows], clicked[rows], delays[rows]))
        dump = table.dump()
        table = CounterTable([1000], 2)
        table.restore(dump)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


# --- through the learner -----------------------------------------------------------------------

SPEC = spec_of(
    "user",
    "ad",
    source=SourceSpec(label="click", timestamp="t", timestamp_format="ms", click_delay="delay"),
    bits=10,
    counters=(
        CounterSpec(keys=("ad", ("user", "ad")), half_lives_h=(0.5, 2)),
        CounterSpec(keys=("user",), half_lives_h=(1,), prior_rate=0.2),
    ),
)


def _log(rows):
    rng = np.random.default_rng(3)
    return pa.RecordBatch.from_pydict(
        {
            "user": [f"u{i}" for i in rng.integers(0, 20, rows)],
            "ad": [f"a{i}" if i else None for i in rng.integers(0, 9, rows)],
            "click": (rng.random(rows) < 0.3).astype(np.int64),
            "t": np.cumsum(rng.integers(0, 60_000, rows)),
            "delay": rng.integers(0, 600_000, rows),
        }
    )


def _batch(rows, low, high):
    part = rows.slice(low, high - low)
    return Batch(
        part, "log", lambda i: (i + 1, b""), lambda i: Position("log", i + 1),
        Position("log", high),
    )  # fmt: skip


def _preparer(replay):
    vectoriser = Vectoriser(SPEC)
    vectoriser.follow(replay.learner.vectoriser)
    return Preparer(vectoriser, SPEC.source)


def _arrays(folder):
    [file] = folder.glob("arrays-*.npz")
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("cuts", [[300], [1, 2, 150, 300], [100, 200, 300]])
def test_a_replay_killed_and_resumed_anywhere_ends_at_the_same_bits(cuts, tmp_path):
    log = _log(300)
    whole = Replay(ClickLearner(SPEC))
    whole.learn(_preparer(whole)(_batch(log, 0, 300)))
    save_snapshot(tmp_path / "whole", whole.snapshot("log"))
    replay, low = Replay(ClickLearner(SPEC)), 0
    for high in cuts:
        ahead = _preparer(replay)
        ready = ahead(_batch(log, low, high))
        ahead(_batch(log, high, 300))  # the preparer runs ahead of what is saved
        replay.learn(ready)
        save_snapshot(tmp_path / "cut", replay.snapshot("log"))
        replay, low = Replay.resumed(load_snapshot(tmp_path / "cut", SPEC)), high
    one, other = _arrays(tmp_path / "whole"), _arrays(tmp_path / "cut")
    learned = ("learned_fields", "learned_totals", "learned_factors")
    for name in (*learned, "counters_0_sums", "counters_1_click_times"):
        one_sorted, other_sorted = np.sort(one[name], axis=0), np.sort(other[name], axis=0)
        np.testing.assert_array_equal(one_sorted, other_sorted)
    assert whole.progress.overall.figures() == replay.progress.overall.figures()


def test_counters_served_are_used_as_they_were_served():
    log = _log(50)
    vectoriser = Vectoriser(SPEC)
    counted = Preparer(vectoriser, SPEC.source)(_batch(log, 0, 50))
    again = Vectoriser(SPEC).counters
    values = again.advance(counted.counted.seen)
    for name, column in zip(again.value_names, values.T, strict=True):
        if f"counter:{name}" not in log.schema.names:
            log = log.append_column(f"counter:{name}", pa.array(column, from_pandas=True))
    served = Preparer(Vectoriser(SPEC), SPEC.source)(_batch(log, 0, 50))
    assert served.counted is None
    assert served.hashed.tokens.tolist() == counted.hashed.tokens.tolist()
