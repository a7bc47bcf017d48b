"""``clicktide join`` gives what a brute-force join of the whole log gives, whatever befalls it.

``CLICKTIDE_FULL=1`` kills it six times on each log, not three times.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from stream_runs import stream_log
from topic_records import records_of
from waiting import until

from features.errors import ClicktideError
from features.events import decode_event
from streaming.join_process import JoinProcess
from streaming.joiner import JoinerSettings
from streaming.log import (
    AbortedError,
    FencedError,
    LogUnavailableError,
    NewRecord,
    RebalancedError,
    TopicSettings,
    open_log,
)
from streaming.settings import StreamSettings

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
JOIN, LATE, BOUND = 20_000, 30_000, 5_000
WINDOWS = {"join_window_s": 20, "late_window_s": 30, "out_of_order_s": 5, "max_ahead_s": 8}
SETTINGS = StreamSettings(
    partitions=2, batch=100, examples_per_record=7, join=JoinerSettings(**WINDOWS)
)
START = 1_736_121_600_000
KILLS = 6 if os.environ.get("CLICKTIDE_FULL") else 3


@pytest.fixture
def log(url):
    with stream_log(url, SETTINGS) as log:
        yield log


# -- a stream, and its join by brute force -------------------------------------------------


class Sent(NamedTuple):
    arrival: int
    key: bytes
    value: bytes


def event(name, ts, **more):
    return json.dumps({"v": 1, "type": name, "timestamp": ts, **more}).encode()


def make_stream(rng, size):
    """What is sent to each topic: reordered within the bound, with copies, orphans and garbage."""
    sent = {"impressions": [], "clicks": []}

    def send(topic, id, ts, value):
        for _ in range(1 + (rng.random() < 0.05)):
            sent[topic].append(Sent(ts + rng.randrange(BOUND), id.encode(), value))
        if rng.random() < 0.02:
            garbage = rng.choice([b"{", b"[]", b"\xff", value[:-1], event("impression", 5)])
            sent[topic].append(Sent(ts, id.encode(), garbage))

    for n in range(size):
        ts, id = START + n * 100, f"imp-{n}"
        shown = event("impression", ts, impression_id=id, probability=0.3, fields={"n": n})
        send("impressions", id, ts, shown.replace(b", ", b",\n", rng.random() < 0.1))
        for kind in ("click", "dismiss"):
            if rng.random() < 0.3:
                at = ts + rng.choice([0, -BOUND + 1, JOIN, rng.randrange(JOIN + LATE), JOIN + LATE])
                id = f"imp-{n}" if rng.random() < 0.9 else f"none-{n}"
                send("clicks", id, at, event("click", at, impression_id=id, kind=kind))
    return {topic: sorted(rows, key=lambda row: row.arrival) for topic, rows in sent.items()}


def brute_force(stream):
    """Every impression against all clicks of the stream."""
    first = {}
    for rows in stream.values():
        for *_, value in rows:
            try:
                e = json.loads(value)
                key = e["impression_id"], e.get("kind", "shown")
            except (ValueError, TypeError, KeyError):
                continue
            first.setdefault(key, e["timestamp"])
    order, examples = {key: i for i, key in enumerate(first)}, set()
    for (id, kind), ts in first.items():
        if kind != "shown":
            continue
        mine = [(id, k) for k in ("click", "dismiss") if (id, k) in first]
        on_time = {k[1]: first[k] for k in mine if first[k] <= ts + JOIN}
        by_time = sorted(mine, key=lambda kind: (first[kind], order[kind]))
        late = [k for k in by_time if ts + JOIN < first[k] <= ts + JOIN + LATE]
        for change in [None, *late]:
            if change:
                on_time[change[1]] = first[change]
            click, dismiss = on_time.get("click"), on_time.get("dismiss")
            examples.add((id, int(click is not None), click, dismiss, change is not None))
    return examples


def publish(log, stream):
    """All of it, partitions as the keys say; heartbeats end it."""
    end = event("heartbeat", START + 10**9)
    with log.producer("publisher") as producer:
        for topic, rows in stream.items():
            for i in range(0, len(rows), 2000):
                with producer.transaction() as tx:
                    tx.append(topic, [NewRecord(*row[1:]) for row in rows[i : i + 2000]])
            with producer.transaction() as tx:
                tx.append(topic, [NewRecord(None, end, p) for p in (0, 1) for _ in (0, 1)])


def outcome(log):
    """Examples and dead letters as they stand in the log, each checked."""
    examples = []
    for record in records_of(log, "examples"):
        lines = record.value.split(b"\n")
        assert int(dict(record.headers).get("n", b"1")) == len(lines) <= 7
        for line in lines:
            e = decode_event(line)
            times = e.click_timestamp, e.dismiss_timestamp
            examples.append((e.impression.impression_id, e.label, *times, e.correction))
    letters = [decode_event(record.value) for record in records_of(log, "dead_letters")]
    return examples, [(letter.topic, letter.partition, letter.offset) for letter in letters]


def check(log, stream, counts):
    """The examples are those of brute force, once each; no event is missing from the books."""
    out = counts["examples"] + counts["corrections"]
    refused = sum(n for name, n in counts.items() if "_rejected_" in name)
    examples, dead = [], []

    def seen():  # readers of Kafka see the last commit a little late
        nonlocal examples, dead
        examples, dead = outcome(log)
        return len(examples) >= out and len(dead) >= refused

    until(seen)
    assert set(examples) == brute_force(stream)
    assert len(set(examples)) == len(examples) == out
    rejected = {
        topic: sum(n for name, n in counts.items() if name.startswith(f"{topic}_rejected_"))
        for topic in stream
    }
    assert Counter(topic for topic, *_ in set(dead)) == rejected
    assert len(set(dead)) == len(dead)
    assert counts["impressions"] == len(stream["impressions"])
    assert counts["impressions"] == counts["examples"] + rejected["impressions"]
    joined = counts["clicks_on_time"] + counts["clicks_late"]
    assert counts["clicks"] == len(stream["clicks"]) == joined + rejected["clicks"]


@contextmanager
def joining(log, said=None, name="join-0"):
    process = JoinProcess(log, SETTINGS, name, (said if said is not None else []).append)
    try:
        yield process
    finally:
        process.close()


# -- what it gives ------------------------------------------------------------------------


def test_a_shuffled_stream_gives_the_examples_of_a_brute_force_join(log):
    stream = make_stream(Random(1), 1500)
    publish(log, stream)
    with joining(log) as process:
        process.run(until_idle_s=0.5)
        assert process.pending() == 0
        check(log, stream, process.counts())


def test_a_stream_that_is_still_coming_gives_the_same(tmp_path):
    """The clock makes every end of a topic an idle one; no event is late by more than O."""
    stream, sent_at = make_stream(Random(9), 1500), START
    rest = {topic: list(rows) for topic, rows in stream.items()}
    ticks = iter(range(10**9))
    with open_log(str(tmp_path / "log.db")) as log, log.producer("publisher") as producer:
        log.create_topics(SETTINGS.topics())
        process = JoinProcess(log, SETTINGS, "join-0", print, clock=lambda: next(ticks) * 0.3)
        while any(rest.values()):
            sent_at += 1_000
            with producer.transaction() as tx:
                for topic, rows in rest.items():
                    due = [row for row in rows if row.arrival <= sent_at]
                    del rows[: len(due)]
                    tx.append(topic, [NewRecord(row.key, row.value) for row in due])
            process.step()
        publish(log, {"impressions": [], "clicks": []})
        process.run(until_idle_s=3)
        check(log, stream, process.counts())
        process.close()


class Trouble:
    """A log whose transactions fail now and then, before or after they have happened."""

    def __init__(self, log, rng, errors):
        self._log, self._rng, self._errors = log, rng, errors

    def __getattr__(self, name):
        return getattr(self._log, name)

    def producer(self, transactional_id):
        producer = self._log.producer(transactional_id)
        real = producer.transaction

        @contextmanager
        def transaction():
            error = self._rng.choice([None, None, None, *self._errors])
            with real() as tx:
                yield tx
                if error is not None and self._rng.random() < 0.5:
                    raise error("before")
            if error is LogUnavailableError:  # the one whose outcome is unknown
                raise error("after")

        producer.transaction = transaction
        return producer


def test_refused_aborted_and_lost_transactions_change_nothing(log):
    stream, said = make_stream(Random(2), 800), []
    publish(log, stream)
    trouble = Trouble(log, Random(3), [RebalancedError, AbortedError, LogUnavailableError])
    ticks = iter(range(10**9))  # each look at the clock takes 0.3 s: no pause lasts
    process = JoinProcess(
        trouble,
        SETTINGS,
        "join-0",
        said.append,
        clock=lambda: next(ticks) * 0.3,
        sleep=lambda _: None,
    )
    process.run(until_idle_s=60)
    process.close()
    assert any("trouble" in line for line in said) and any("moved" in line for line in said)
    with joining(log) as process:
        process.run(until_idle_s=0.5)
        check(log, stream, process.counts())


def test_partitions_move_between_joiners_without_loss(url, log):
    stream, said = make_stream(Random(5), 1500), []
    publish(log, stream)

    def all_is_out(a, b):
        # A step that found nothing more has committed what came out of those before it.
        if any([a.step(), b.step()]):
            return False
        counts = a.counts() + b.counts()
        whole = all(counts[topic] == len(rows) for topic, rows in stream.items())
        return whole and a.pending() + b.pending() == 0

    with open_log(url) as other_log, joining(log, said, "a") as a:
        a.step()
        with joining(other_log, said, "b") as b:
            until(lambda: all_is_out(a, b) or b.read)
        a.step()
        with joining(other_log, said, "b") as b:
            until(lambda: all_is_out(a, b), lambda: said)
            check(log, stream, a.counts() + b.counts())


# -- whole processes ------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Whole processes keep their stream's folder here, wherever the log is."""
    monkeypatch.chdir(tmp_path)


def start(url, *more):
    sets = [f"join.{name}={value}" for name, value in WINDOWS.items()]
    sets += ["stream.partitions=2", "stream.batch=20", "stream.examples_per_record=7"]
    options = [part for change in sets for part in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, "-m", "clicktide", "join", "--log", url, "--json", *options, *more],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@contextmanager
def running(url, *more):
    child = start(url, *more)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_kill_9_at_any_moment_loses_and_repeats_nothing(url, log):
    rng, size = Random(), 4000
    stream = make_stream(rng, size)
    publish(log, stream)

    def progress():
        return sum(log.end_offsets("examples"))

    for kill in range(KILLS):
        with running(url) as child:
            goal = (kill + rng.random()) * size / 7 / (KILLS + 1)
            until(lambda c=child, g=goal: progress() > g or c.poll() is not None)
            assert child.poll() is None
            time.sleep(rng.random() * 0.02)
    with running(url, "--until-idle", "1") as child:
        printed, _ = child.communicate()
    assert child.returncode == 0
    check(log, stream, Counter(json.loads(printed)))


def test_sigterm_ends_it_cleanly_and_it_goes_on_later(url, log):
    stream = make_stream(Random(6), 1000)
    publish(log, stream)
    with running(url) as child:
        until(lambda: any(log.end_offsets("examples")))
        child.send_signal(signal.SIGTERM)
        printed, _ = child.communicate()
    assert child.returncode == 0 and json.loads(printed)["read"] > 0
    with running(url, "--until-idle", "1") as child:
        printed, _ = child.communicate()
    check(log, stream, Counter(json.loads(printed)))


# -- what it says -----------------------------------------------------------------------------


def test_a_memory_bound_below_the_windows_is_named(log):
    """The clicks are silent, so that only impressions could move time, and they are paused."""
    rows = make_stream(Random(7), 400)["impressions"]
    with log.producer("publisher") as producer, producer.transaction() as tx:
        tx.append("impressions", [NewRecord(*row[1:]) for row in rows])
    join = JoinerSettings(**WINDOWS, max_pending=10, click_delay_s=60)  # no stall comes before
    tight = StreamSettings(partitions=2, join=join)
    process = JoinProcess(log, tight, "join-0", print)
    with pytest.raises(ClicktideError, match="max_pending"):
        process.run(until_idle_s=20)
    process.close()


def test_a_second_joiner_of_the_same_name_stops_the_first(url, log):
    publish(log, make_stream(Random(8), 400))
    with open_log(url) as other_log, joining(log) as first, joining(other_log) as second:
        until(lambda: first.step() and first.read)
        until(lambda: second.step() and second.read)
        with pytest.raises(FencedError, match="instance 'join-0'"):
            first.run(until_idle_s=5)


def test_topics_of_unequal_partitions_are_refused(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        log.create_topics([TopicSettings("impressions", 2), TopicSettings("clicks", 1)])
        with pytest.raises(ClicktideError, match="same number of partitions"):
            JoinProcess(log, SETTINGS, "join-0", print)
