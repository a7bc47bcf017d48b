"""Many events in the store and in process: the same numbers, to the bit.

``CLICKTIDE_FULL=1`` makes it a million events.
"""

import os
import random

import numpy as np
import pytest
from counter_panes import state_panes, table_panes
from valkey_server import start_valkey

from features.counters.redis_format import Updates
from features.counters.redis_store import open_counters
from features.counters.table import CounterTable

HALVES = (900_000, 86_400_000)
START, DAY = 1_736_121_600_000, 86_400_000
EVENTS = 1_000_000 if os.environ.get("CLICKTIDE_FULL") else 150_000
KEYS, PARTITIONS = EVENTS // 250, 3


@pytest.fixture
def store(tmp_path):
    running = start_valkey(tmp_path)
    yield open_counters(running.url, {0: HALVES}, "test")
    running.stop()


def partition(rng):
    """Views, a tenth of them clicked within an hour: key, time, impression and click offset."""
    views = EVENTS * 10 // 11 // PARTITIONS
    at = START + np.sort(rng.integers(0, 2 * DAY, views)) + rng.integers(-5_000, 5_000, views)
    key = rng.integers(1, KEYS + 1, views)
    clicked = np.flatnonzero(rng.random(views) < 0.1)
    later = at[clicked] + rng.integers(0, 3_600_000, len(clicked))
    return (
        np.concatenate([key, key[clicked]]).astype(np.uint64),
        np.concatenate([at, later]),
        np.concatenate([np.arange(views), clicked]),
        np.concatenate([np.full(views, -1), np.arange(len(clicked))]),
    )


def shown_rows(stream):
    """The views, each with its click and how late that came."""
    key, at, view, click = stream
    shown, of_click = click < 0, view[click >= 0]
    clicked, delays = np.zeros(int(shown.sum()), np.bool_), np.zeros(int(shown.sum()), np.int64)
    clicked[of_click] = True
    delays[of_click] = at[~shown] - at[shown][of_click]
    return key[shown], at[shown], clicked, delays


def steps(rng, views, clicks):
    """How far both topics are read, step by step, now and then one step back: a replay."""
    read, before = (0, 0), (0, 0)
    while read != (views, clicks):
        before, read = read, (
            min(views, read[0] + rng.randrange(EVENTS * 6 // 100)),
            min(clicks, read[1] + rng.randrange(EVENTS * 6 // 1_000)),
        )  # fmt: skip
        yield before, read
        if rng.random() < 0.3:
            yield before, read


def test_many_events_read_alike_whatever_the_cuts_replays_and_order_of_partitions(store):
    rng, dice = np.random.default_rng(7), random.Random(7)
    streams = [partition(rng) for _ in range(PARTITIONS)]
    walks = [steps(dice, int(s[2].max()) + 1, int(s[3].max()) + 1) for s in streams]
    left = list(range(PARTITIONS))
    while left:
        p = dice.choice(left)
        step = next(walks[p], None)
        if step is None:
            left.remove(p)
            continue
        (shown, clicked), read = step
        key, at, view, click = streams[p]
        known = (view < read[0]) & (click < read[1])
        new = known & ~((view < shown) & (click < clicked))
        store.apply(
            p,
            read,
            Updates(key[new], np.zeros(int(new.sum()), np.int64), at[new], view[new], click[new]),
        )
    key, at, clicked, delays = (
        np.concatenate(c) for c in zip(*map(shown_rows, streams), strict=True)
    )
    now = int((at + delays).max())
    table = CounterTable(HALVES, 1)
    mixed = rng.permutation(len(key))
    table.advance(key[mixed, None], at[mixed], clicked[mixed], delays[mixed])
    table.advance(np.zeros((1, 1), np.uint64), np.array([now]), np.array([False]))  # all clicks
    keys = np.arange(1, KEYS + 1, dtype=np.uint64)
    held = table_panes(table)
    assert [state_panes(s, HALVES) for s in store.states(keys)] == [
        {half: panes for half, panes in held.get(k, {}).items() if panes} for k in keys.tolist()
    ]
    for when in (now, now + 1, now + DAY + 7, now + 30 * DAY):
        views, clicks = store.values(keys, 0, when)
        wanted = table.read(keys[:, None], np.full(KEYS, when))[:, 0]
        assert np.stack([views, clicks], axis=-1).tobytes() == wanted.tobytes()
    assert len(key) + clicked.sum() > 0.95 * EVENTS
