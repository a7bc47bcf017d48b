"""Counting from the log to the store: against brute force, restarts and a store that goes away."""

import random
from collections import defaultdict

import msgspec
import numpy as np
import pytest
from counter_panes import state_panes
from valkey_server import start_valkey

from features.counters import pane, weight
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.spec import CounterSpec, SourceSpec, Spec
from streaming.count_process import CountProcess
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.settings import StreamSettings

START, HOUR = 1_736_121_600_000, 3_600_000
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
    with open_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        log.create_topics(SETTINGS.topics())
        yield log


def count(log, store, said, stopped=lambda: False, sleep=None):
    more = {} if sleep is None else {"sleep": sleep}
    process = CountProcess(log, SETTINGS, store, COUNTERS, "count-0", said.append, **more)
    try:
        process.run(stopped, until_idle_s=0)
    finally:
        process.close()
    return process


def test_every_view_and_click_counts_once_over_restarts(log, tmp_path):
    server = start_valkey(tmp_path)
    try:
        expected, rng = publish(log, 1000), random.Random(2)
        for _ in range(6):  # stopped anywhere; then one that ends
            left = [rng.randrange(1, 8)]

            def stopped(left=left):
                left[0] -= 1
                return left[0] < 0

            count(log, open_counters(server.url, COUNTERS.plan, COUNTERS.name), [], stopped)
        store = open_counters(server.url, COUNTERS.plan, COUNTERS.name)
        count(log, store, [])
        assert_counted(store, expected)
        assert log.committed("count", TopicPartition("impressions", 0)).offset >= 500
    finally:
        server.stop()


def test_a_store_that_goes_away_is_waited_for(log, tmp_path):
    servers, said = [start_valkey(tmp_path)], []
    store = open_counters(servers[0].url, COUNTERS.plan, COUNTERS.name)
    steps = [0]

    def kill_now_and_then():
        steps[0] += 1
        if steps[0] in (4, 9):
            servers[-1].kill()
        return False

    try:
        expected = publish(log, 1000)
        count(log, store, said, kill_now_and_then, lambda _: servers.append(start_valkey(tmp_path)))
        assert len(servers) == 3
        assert all("cannot be reached" in line for line in said)
        assert_counted(store, expected)
    finally:
        servers[-1].stop()


OUTAGE_S = 60


def test_a_store_gone_for_a_minute_costs_no_count_and_nobody_hammers_it(log, tmp_path):
    server, said, waits, steps = start_valkey(tmp_path), [], [], [0]
    store = open_counters(server.url, COUNTERS.plan, COUNTERS.name)

    def kill_once():
        steps[0] += 1
        if steps[0] == 5:
            server.kill()
        return False

    def wait(seconds):  # takes no time: the minute is what the process would have waited
        nonlocal server
        waits.append(seconds)
        if sum(waits) >= OUTAGE_S:
            server = start_valkey(tmp_path)

    try:
        expected = publish(log, 1000)
        count(log, store, said, kill_once, wait)
        assert sum(waits) >= OUTAGE_S
        assert 2 <= len(said) == len(waits) <= 5 + OUTAGE_S / 4
        assert all("cannot be reached" in line for line in said)
        assert_counted(store, expected)
    finally:
        server.stop()


def test_a_store_that_was_emptied_is_filled_again_from_the_log(log, tmp_path):
    server, said = start_valkey(tmp_path), []
    store = open_counters(server.url, COUNTERS.plan, COUNTERS.name)
    steps = [0]

    def empty_once():
        steps[0] += 1
        if steps[0] == 8:
            store._client.flushall()
        return False

    try:
        expected = publish(log, 1000)
        count(log, store, said, empty_once)
        assert any("gone back" in line for line in said)
        assert_counted(store, expected)
    finally:
        server.stop()
