"""Counting from the log to the store: against brute force, restarts and a store that goes away."""

import random
from collections import defaultdict
from itertools import count as count_from

import msgspec
import numpy as np
import pytest
from counter_panes import state_panes
from stream_runs import stream_log
from valkey_server import start_valkey

from features.counters import pane, weight
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.spec import CounterSpec, SourceSpec, Spec
from streaming.count_process import CountProcess
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, TopicPartition
from streaming.settings import StreamSettings

START = 1_736_121_600_000
SETTINGS = StreamSettings(
    partitions=2, batch=50, join=JoinerSettings(join_window_s=20, late_window_s=30)
)
COUNTERS = StoredCounters(
    Spec(
        name="x",
        source=SourceSpec(label="y"),
        fields=(),
        counters=(
            CounterSpec(keys=("ad", ("ad", "site")), half_lives_h=(1, 24)),
            CounterSpec(keys=("ad",), half_lives_h=(6,)),
        ),
    )
)


def publish(log, count):
    """Events in both topics; what should be counted."""
    rng, expected = random.Random(1), []
    with log.producer("publisher").transaction() as tx:
        for i in range(count):
            at, partition = START + 500 * i, i % 2
            fields = {"ad": f"a{rng.randrange(5)}", "site": rng.choice(["s", None, 3])}
            event = {"v": 1, "type": "impression", "impression_id": f"i{i}", "timestamp": at}
            copies = 2 if rng.random() < 0.05 else 1
            record = NewRecord(b"", msgspec.json.encode({**event, "fields": fields}), partition)
            tx.append("impressions", [record] * copies)
            expected.append((fields, at, 0))
            if rng.random() < 0.4:
                click = {"v": 1, "type": "click", "impression_id": f"i{i}", "timestamp": at + 900}
                tx.append(
                    "clicks", [NewRecord(b"", msgspec.json.encode(click), partition)] * copies
                )
                expected.append((fields, at + 900, 1))
    return expected


def assert_counted(store, expected):
    sums = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: [0, 0])))
    for (_, at, which), keys in zip(
        expected, COUNTERS.keys([fields for fields, _, _ in expected]), strict=True
    ):
        for key, number in zip(keys.tolist(), COUNTERS.numbers.tolist(), strict=True):
            for half in COUNTERS.plan[number] if key else ():
                sums[key, number][half][pane(at, half)][which] += weight(at, half)
    names = list(sums)
    states = store.states(np.array([key for key, _ in names], np.uint64))
    got = [
        state_panes(s, COUNTERS.plan[number]) for s, (_, number) in zip(states, names, strict=True)
    ]
    wanted = [{h: {p: tuple(s) for p, s in ps.items()} for h, ps in sums[n].items()} for n in names]
    assert got == wanted


@pytest.fixture
def log(tmp_path):
    with stream_log(f"sqlite:///{tmp_path / 'log.db'}", SETTINGS) as log:
        yield log


def count(log, store, said, stopped=lambda: False, sleep=None):
    more = {} if sleep is None else {"sleep": sleep}
    process = CountProcess(log, SETTINGS, store, COUNTERS, "count-0", said.append, **more)
    try:
        process.run(stopped, until_idle_s=0)
    finally:
        process.close()
    return process


def store_of(server):
    return open_counters(server.url, COUNTERS.plan, COUNTERS.name)


def at_step(number, act):
    """Does something once, at a step of the process; never stops it."""
    steps = count_from(1)

    def stopped():
        if next(steps) == number:
            act()
        return False

    return stopped


def test_every_view_and_click_counts_once_over_restarts(log, tmp_path):
    server = start_valkey(tmp_path)
    try:
        expected, rng = publish(log, 1000), random.Random(2)
        for _ in range(6):  # stopped anywhere; then one that ends
            steps = iter([False] * rng.randrange(1, 8))
            count(log, store_of(server), [], lambda steps=steps: next(steps, True))
        store = store_of(server)
        count(log, store, [])
        assert_counted(store, expected)
        assert log.committed("count", TopicPartition("impressions", 0)).offset >= 500
    finally:
        server.stop()


OUTAGE_S = 60


def test_a_store_gone_for_a_minute_costs_no_count_and_nobody_hammers_it(log, tmp_path):
    server, said, waits = start_valkey(tmp_path), [], []
    store = store_of(server)

    def wait(seconds):  # takes no time: the minute is what the process would have waited
        nonlocal server
        waits.append(seconds)
        if sum(waits) >= OUTAGE_S:
            server = start_valkey(tmp_path)

    try:
        expected = publish(log, 1000)
        count(log, store, said, at_step(5, server.kill), wait)
        assert sum(waits) >= OUTAGE_S
        assert 2 <= len(said) == len(waits) <= 5 + OUTAGE_S / 4
        assert all("cannot be reached" in line for line in said)
        assert_counted(store, expected)
    finally:
        server.stop()


def test_a_store_that_was_emptied_is_filled_again_from_the_log(log, tmp_path):
    server, said = start_valkey(tmp_path), []
    store = store_of(server)
    try:
        expected = publish(log, 1000)
        count(log, store, said, at_step(8, store._client.flushall))
        assert any("gone back" in line for line in said)
        assert_counted(store, expected)
    finally:
        server.stop()
