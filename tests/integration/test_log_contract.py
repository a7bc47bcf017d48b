"""What an event log promises, shown on both: the SQLite file and a real Kafka broker."""

import contextlib
import subprocess
import sys
import time
import uuid
from functools import partial
from types import SimpleNamespace

import pytest
from waiting import in_threads, until

from streaming.log import (
    FencedError,
    LogUnavailableError,
    NewRecord,
    OffsetError,
    Position,
    RebalancedError,
    TopicError,
    TopicPartition,
    TopicSettings,
    open_log,
    sqlite_consumer,
)


@pytest.fixture
def opened(url):
    """Open the log once more, as another process would."""
    logs = []

    def again(url=url):
        logs.append(open_log(url))
        return logs[-1]

    yield again
    for log in logs:
        log.close()


@pytest.fixture
def log(opened):
    return opened()


@pytest.fixture
def name():
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic(log, name):
    """A topic of two partitions."""
    log.create_topics([TopicSettings(name, partitions=2)])
    return name


@pytest.fixture
def producer(log, name):
    with log.producer(name) as producer:
        yield producer


def values(log, topic, partition=0, offset=0):
    """All values of a partition from an offset on, once no more come.

    A commit to Kafka returns when it is decided; readers see it some milliseconds later.
    """
    at, found = TopicPartition(topic, partition), []
    quiet_s = 0.0 if type(log).__name__ == "SqliteLog" else 0.3
    last = time.monotonic()
    while (records := log.read(at, offset)) or time.monotonic() < last + quiet_s:
        found += [record.value for record in records]
        if records:
            offset, last = records[-1].offset + 1, time.monotonic()
    return found


def numbered(count, partition=0, start=0):
    return [NewRecord(None, b"%d" % i, partition) for i in range(start, start + count)]


def append(producer, topic, records):
    with producer.transaction() as tx:
        tx.append(topic, records)


def drain(consumer, count):
    """Poll until so many records have come."""
    got = []
    until(lambda: got.extend(consumer.poll(100, 0.1)) or len(got) >= count, lambda: got)
    return got


def settle(consumers, count):
    """Poll all in turn until they hold so many partitions, none of them twice."""

    def held():
        for consumer in consumers:
            consumer.poll(1, 0.1)
        parts = [consumer.assignment() for consumer in consumers]
        settled = sum(map(len, parts)) == count == len(frozenset().union(*parts)) and all(parts)
        return parts if settled else None

    return until(held, lambda: [consumer.assignment() for consumer in consumers])


def start(code, *args):
    """Run Python code in another process; gives it once it has said ready."""
    imports = "import sys, time\nfrom streaming.log import *\n"
    child = subprocess.Popen(
        [sys.executable, "-c", imports + code, *args], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


def kill(child):
    child.kill()
    child.wait()
    child.stdout.close()


# -- topics and records ------------------------------------------------------------------


def test_topics_are_created_once_with_the_stated_partitions(log, topic):
    log.create_topics([TopicSettings(topic, partitions=2)])
    assert log.topics()[topic] == 2


def test_a_topic_of_another_number_of_partitions_is_refused(log, topic):
    with pytest.raises(TopicError, match="has 2 partitions"):
        log.create_topics([TopicSettings(topic, partitions=3)])


def test_an_absent_topic_or_partition_is_named(log, topic, producer):
    with pytest.raises(TopicError, match="no topic 'absent'"):
        log.end_offsets("absent")
    with pytest.raises(TopicError, match="no partition 2"):
        log.read(TopicPartition(topic, 2), 0)
    with pytest.raises(TopicError, match="without key"), producer.transaction() as tx:
        tx.append(topic, [NewRecord(None, b"v")])


def test_order_is_kept_within_a_partition(log, topic, producer):
    append(producer, topic, numbered(1500))
    append(producer, topic, numbered(1500, start=1500))
    assert values(log, topic) == [b"%d" % i for i in range(3000)]


def test_a_key_always_goes_to_the_partition_that_its_hash_says(log, topic, producer):
    from streaming.log.partition import key_partitions

    keys = [b"key-%d" % i for i in range(50)]
    append(producer, topic, [NewRecord(key, key) for key in keys])
    append(producer, topic, [NewRecord(key, key) for key in keys])
    expected = key_partitions(keys, 2)
    assert set(expected) == {0, 1}
    for partition in (0, 1):
        mine = [key for key, p in zip(keys, expected, strict=True) if p == partition]
        assert values(log, topic, partition) == mine * 2


def test_everything_of_a_record_comes_back(log, topic, producer):
    before = time.time_ns() // 1_000_000
    headers = (("schema", b"\x00\xff"), ("schema", b"2"))
    append(producer, topic, [NewRecord("Schlüssel-键".encode(), b"", 1, headers)])
    assert values(log, topic, 1) == [b""]
    (record,) = log.read(TopicPartition(topic, 1), 0)
    assert record[:3] == (topic, 1, 0)
    assert record[4:] == ("Schlüssel-键".encode(), b"", headers)
    assert abs(record.timestamp_ms - before) < 60_000


def test_values_read_as_columns_are_those_of_the_records(log, topic, producer):
    sent = [b"a", b"", b"two\nlines", b"", b"last"]
    for value in sent:  # markers of transactions lie between
        append(producer, topic, [NewRecord(b"k", value, 1)])
    assert values(log, topic, 1) == sent
    at = TopicPartition(topic, 1)
    found = log.read_values(at, 0, 3)
    assert found[:2] == at
    assert (found.data, found.ends.tolist()) == (b"a\n\ntwo\nlines", [1, 2, 12])
    assert found.last == sent[2]
    rest = log.read_values(at, found.next_offset)
    assert rest.data == b"\nlast" or rest.data == b""
    offsets = [record.offset for record in log.read(at, 0)]
    assert found.offsets.tolist() == offsets[:3]
    assert len(log.read_values(at, log.end_offsets(topic)[1]).offsets) == 0


def test_who_waits_at_the_end_gets_what_comes(log, topic, producer):
    at, offset = TopicPartition(topic, 0), 0
    for i in range(4):
        assert log.read_values(at, offset).data == b""  # past the last transaction's marker
        append(producer, topic, numbered(1, start=i))
        found = until(lambda: len((it := log.read_values(at, offset)).offsets) and it)  # noqa: B023
        assert found.data == b"%d" % i
        offset = found.next_offset


def test_a_value_of_a_megabyte_passes(log, topic, producer):
    value = bytes(range(256)) * 4096
    append(producer, topic, [NewRecord(b"k", value, 0), NewRecord(b"k", value, 0)])
    assert values(log, topic) == [value, value]


def test_reading_at_the_end_is_empty_and_past_it_an_error(log, topic, producer):
    at = TopicPartition(topic, 0)
    assert log.read(at, 0) == []
    append(producer, topic, numbered(3))
    assert len(values(log, topic)) == 3
    (end, _) = log.end_offsets(topic)
    assert log.read(at, end) == []
    with pytest.raises(OffsetError, match=r"past the end|not within"):
        log.read(at, end + 1)


def test_at_most_the_asked_number_of_records_is_read(log, topic, producer):
    append(producer, topic, numbered(10))
    assert len(values(log, topic)) == 10
    assert [r.value for r in log.read(TopicPartition(topic, 0), 4, 3)] == [b"4", b"5", b"6"]


# -- transactions ------------------------------------------------------------------------


def test_records_and_positions_become_visible_together(log, opened, topic, producer, name):
    other, at = opened(), TopicPartition(topic, 1)
    with producer.transaction() as tx:
        tx.append(topic, numbered(5))
        tx.commit(name, {at: Position(7, "watermark=1,736,121,600,000 ✓")})
        assert values(other, topic) == []
        assert other.committed(name, at) is None
    assert len(values(other, topic)) == 5
    assert other.committed(name, at) == Position(7, "watermark=1,736,121,600,000 ✓")


def test_a_transaction_that_fails_leaves_nothing(log, topic, producer, name):
    at = TopicPartition(topic, 0)
    append(producer, topic, numbered(1))
    with pytest.raises(ZeroDivisionError), producer.transaction() as tx:
        tx.append(topic, numbered(2000, start=100))
        tx.commit(name, {at: Position(1)})
        raise ZeroDivisionError
    append(producer, topic, numbered(1, start=1))
    assert values(log, topic) == [b"0", b"1"]
    assert log.committed(name, at) is None


def test_positions_survive_reopening(log, opened, topic, producer, name):
    at = TopicPartition(topic, 0)
    for offset in (1, 2):
        with producer.transaction() as tx:
            tx.commit(name, {at: Position(offset, f"m{offset}")})
    log.close()
    assert opened().committed(name, at) == Position(2, "m2")


def test_a_newer_producer_of_the_same_id_fences_the_older(log, opened, topic, name):
    old = log.producer(name)
    append(old, topic, numbered(1))
    with pytest.raises(FencedError), old.transaction() as tx:
        tx.append(topic, numbered(1, start=1))
        tx.commit(name, {TopicPartition(topic, 0): Position(1)})
        new = opened().producer(name)
        append(new, topic, numbered(1, start=2))
    assert values(log, topic) == [b"0", b"2"]
    assert log.committed(name, TopicPartition(topic, 0)) is None
    with pytest.raises(FencedError):
        append(old, topic, numbered(1))
    append(new, topic, numbered(1, start=3))
    assert values(log, topic) == [b"0", b"2", b"3"]
    old.close()
    new.close()


HANG = """
log = open_log(sys.argv[1])
producer = log.producer(sys.argv[2])
with producer.transaction() as tx:
    tx.append(sys.argv[2], [NewRecord(b"k", b"x" * 1000, 0)] * 2000)
    tx.commit(sys.argv[2], {TopicPartition(sys.argv[2], 0): Position(9)})
    time.sleep(0.3)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_kill_9_in_mid_transaction_leaves_nothing(log, url, topic):
    kill(start(HANG, url, topic))
    with log.producer(topic) as after:
        append(after, topic, numbered(1))
    assert values(log, topic) == [b"0"]
    assert log.committed(topic, TopicPartition(topic, 0)) is None


COMMIT_ON = """
log = open_log(sys.argv[1])
producer, at, start = log.producer(sys.argv[2]), TopicPartition(sys.argv[2], 0), int(sys.argv[3])
print("ready", flush=True)
for i in range(start, 1_000_000):
    with producer.transaction() as tx:
        tx.append(sys.argv[2], [NewRecord(b"k", b"%d" % i, 0)] * 10)
        tx.commit(sys.argv[2], {at: Position(i + 1)})
"""


def test_kill_9_at_any_moment_keeps_records_and_position_in_step(log, url, topic):
    at, done = TopicPartition(topic, 0), 0
    for pause_s in (0.0, 0.05, 0.21):
        child = start(COMMIT_ON, url, topic, str(done))
        until(lambda n=done: (log.committed(topic, at) or Position(0)).offset > n)
        time.sleep(pause_s)
        kill(child)
        log.producer(topic).close()
        done = (log.committed(topic, at) or Position(0)).offset
        assert values(log, topic) == [b"%d" % i for i in range(done) for _ in range(10)]
    assert done > 0


def test_reading_goes_on_while_another_process_writes(log, url, topic):
    child = start(COMMIT_ON, url, topic, "0")
    try:
        found, offset = [], 0
        while len(found) < 500:
            records = log.read(TopicPartition(topic, 0), offset)
            found += [int(record.value) for record in records]
            offset = records[-1].offset + 1 if records else offset
    finally:
        kill(child)
    assert found == sorted(found)
    assert len(found) >= 500


# -- groups ------------------------------------------------------------------------------


def test_read_process_write_goes_on_where_it_was_committed(log, opened, topic, producer, name):
    append(producer, topic, numbered(10) + numbered(10, partition=1))
    with log.consumer(name, [topic]) as consumer:
        records = drain(consumer, 20)
        with producer.transaction() as tx:
            tx.commit(consumer, {TopicPartition(topic, 0): Position(records[0].offset + 4)})
    with opened().consumer(name, [topic]) as consumer:
        again = drain(consumer, 16)
    by_partition = [[r.value for r in again if r.partition == p] for p in (0, 1)]
    assert by_partition[0] == [b"%d" % i for i in range(4, 10)]
    assert by_partition[1] == [b"%d" % i for i in range(10)]


def test_lag_is_the_end_less_the_position(log, topic, producer, name):
    append(producer, topic, numbered(10))
    at = TopicPartition(topic, 0)
    with log.consumer(name, [topic]) as consumer:
        drain(consumer, 10)
        consumer.poll(1, 0.3)  # Kafka: past the marker of the transaction
        assert log.end_offsets(topic)[0] - consumer.position(at) == 0
        append(producer, topic, numbered(5))
        assert len(values(log, topic)) == 15
        assert log.end_offsets(topic)[0] - consumer.position(at) >= 5
    assert log.start_offsets(topic) == [0, 0]


def test_seek_and_pause_are_per_partition(log, topic, producer, name):
    append(producer, topic, numbered(5) + numbered(5, partition=1))
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    with log.consumer(name, [topic]) as consumer:
        drain(consumer, 10)
        consumer.pause([second])
        consumer.seek(first, 3)
        consumer.seek(second, 3)
        taken = [record for _ in range(10) for record in consumer.poll(100, 0.1)]
        assert [r[1:3] for r in taken] == [(0, 3), (0, 4)]
        consumer.resume([second])
        assert [r[1:3] for r in drain(consumer, 2)] == [(1, 3), (1, 4)]


def test_seek_and_pause_hold_for_what_is_already_fetched(log, topic, producer, name):
    append(producer, topic, numbered(50) + numbered(50, partition=1))
    with log.consumer(name, [topic]) as consumer:
        taken = until(lambda: consumer.poll(10, 0.1))
        first = TopicPartition(topic, taken[0].partition)
        other = TopicPartition(topic, 1 - first.partition)
        assert len(taken) <= 10 and consumer.position(first) == taken[-1].offset + 1
        consumer.pause([first])
        assert {r[1] for r in drain(consumer, 50)} == {other.partition}
        assert consumer.position(first) == taken[-1].offset + 1
        consumer.resume([first])
        assert [r.offset for r in drain(consumer, 5)][:5] == [*range(10, 15)]
        consumer.seek(first, 3)
        assert consumer.position(first) == 3
        assert [r.offset for r in drain(consumer, 47)] == [*range(3, 50)]


def test_runs_are_the_values_of_the_records(log, topic, producer, name):
    sent = [b"a", b"", b"two\nlines", b"last"]
    for partition in (0, 1):
        for value in sent:  # markers of transactions lie between
            append(producer, topic, [NewRecord(b"k", value, partition)])
    found = {0: [], 1: []}
    with log.consumer(name, [topic]) as consumer:
        while sum(map(len, found.values())) < 8:
            for run in consumer.poll_runs(3, 0.1):
                assert run.topic == topic and 0 < len(run.offsets) <= 3
                found[run.partition] += zip(run.offsets, run.values, strict=True)
    for partition, rows in found.items():
        records = log.read(TopicPartition(topic, partition), 0)
        assert rows == [(record.offset, record.value) for record in records]
        assert [value for _, value in rows] == sent


def test_a_group_shares_partitions_and_rebalances_when_one_leaves(log, opened, name):
    names = [f"{name}-a", f"{name}-b"]
    log.create_topics([TopicSettings(n, partitions=4) for n in names])
    told = []
    first = log.consumer(
        name,
        names,
        on_assigned=lambda held: told.append(("assigned", len(held))),
        on_revoked=lambda held: told.append(("revoked", len(held))),
    )
    settle([first], 8)
    second = opened().consumer(name, names)
    held = settle([first, second], 8)
    for share in held:
        by_topic = [{p for topic, p in share if topic == n} for n in names]
        assert by_topic[0] == by_topic[1]
        assert len(by_topic[0]) == 2
    second.close()
    settle([first], 8)
    assert told == [
        ("assigned", 8),
        ("revoked", 8),
        ("assigned", 4),
        ("revoked", 4),
        ("assigned", 8),
    ]
    first.close()


def test_a_restarted_instance_takes_its_place_at_once_and_the_former_is_refused(
    log, opened, topic, producer, name
):
    append(producer, topic, numbered(1))
    former = log.consumer(name, [topic], instance="joiner-0")
    drain(former, 1)
    restarted = opened().consumer(name, [topic], instance="joiner-0")
    assert len(drain(restarted, 1)) == 1
    at = TopicPartition(topic, 0)
    with pytest.raises(FencedError), producer.transaction() as tx:
        tx.append(topic, numbered(1, start=1))
        tx.commit(former, {at: Position(1, "former")})
    with producer.transaction() as tx:
        tx.append(topic, numbered(1, start=2))
        tx.commit(restarted, {at: Position(1, "restarted")})
    assert values(log, topic) == [b"0", b"2"]
    assert log.committed(name, at) == Position(1, "restarted")
    restarted.close()
    former.close()


# -- the embedded log alone --------------------------------------------------------------


@pytest.fixture
def clock():
    class Clock:
        now_ms = 1_736_121_600_000

        def __call__(self):
            return self.now_ms

    return Clock()


def embedded(tmp_path, clock):
    return open_log(f"sqlite:///{tmp_path / 'log.db'}?lease_s=30", clock_ms=clock)


@pytest.mark.parametrize("bound", [{"retention_records": 1000}, {"retention_ms": 60_000}])
def test_retention_by_count_or_age_removes_the_oldest(tmp_path, clock, bound):
    with embedded(tmp_path, clock) as log:
        log.create_topics([TopicSettings("t", **bound)])
        producer = log.producer("p")
        append(producer, "t", numbered(4000))
        clock.now_ms += 61_000
        append(producer, "t", numbered(1000, start=4000))
        assert log.start_offsets("t") == [4000]
        assert values(log, "t", offset=4000)[0] == b"4000"
        with pytest.raises(OffsetError, match="not within 4000 to 5000"):
            log.read(TopicPartition("t", 0), 3999)


def test_a_silent_members_partitions_pass_on_when_its_lease_is_over(tmp_path, clock):
    with embedded(tmp_path, clock) as log, embedded(tmp_path, clock) as other:
        log.create_topics([TopicSettings("t", partitions=2)])
        silent, living = log.consumer("g", ["t"]), other.consumer("g", ["t"])
        settle([silent, living], 2)
        clock.now_ms += 31_000
        settle([living], 2)
        with pytest.raises(RebalancedError), log.producer("p").transaction() as tx:
            tx.commit(silent, {TopicPartition("t", 0): Position(1)})
        assert log.committed("g", TopicPartition("t", 0)) is None
        settle([silent, living], 2)


def test_an_idle_reader_looks_seldom_whatever_positions_others_commit(tmp_path, monkeypatch):
    now, sleeps = [0.0], []
    with open_log(str(tmp_path / "log.db")) as log, open_log(str(tmp_path / "log.db")) as other:
        log.create_topics([TopicSettings("t")])

        def sleep(seconds):
            now[0] += seconds
            sleeps.append(seconds)
            with other.producer("p").transaction() as tx:
                tx.commit("others", {TopicPartition("t", 0): Position(len(sleeps))})

        clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
        monkeypatch.setattr(sqlite_consumer, "time", clock)
        with log.consumer("g", ["t"]) as consumer:
            assert consumer.poll(1, 2.0) == []
    assert sleeps[-1] > 2 * sleeps[0]


def test_several_writers_wait_for_each_other(tmp_path):
    url = str(tmp_path / "log.db")
    open_log(url).create_topics([TopicSettings("t")])

    def write(number):
        with open_log(url) as log:
            for _ in range(20):
                append(log.producer(f"p{number}"), "t", numbered(10))

    in_threads(*(partial(write, i) for i in range(4)))
    with open_log(url) as log:
        assert log.end_offsets("t") == [800]


# -- Kafka alone -------------------------------------------------------------------------


@pytest.mark.parametrize("poll_interval_s, loses", [(300, False), (2, True)])
def test_work_longer_than_the_session_keeps_the_place_and_longer_than_the_poll_interval_loses_it(
    kafka, name, poll_interval_s, loses
):
    url = f"kafka://{kafka}?session_timeout_s=1.5&max_poll_interval_s={poll_interval_s}"
    at = TopicPartition(name, 0)
    with open_log(url) as log, log.producer(name) as producer:
        log.create_topics([TopicSettings(name)])
        append(producer, name, numbered(2))
        with log.consumer(name, [name]) as consumer:
            drain(consumer, 2)
            time.sleep(2.2)  # the work
            lost = pytest.raises(RebalancedError) if loses else contextlib.nullcontext()
            with lost, producer.transaction() as tx:
                tx.append(name, numbered(1, start=2))
                tx.commit(consumer, {at: Position(1)})
            assert drain(consumer, 1)[0].value == (b"0" if loses else b"2")
        assert log.committed(name, at) == (None if loses else Position(1))


def test_streams_of_different_prefixes_share_brokers_and_never_meet(kafka, name):
    def opened(prefix):
        return open_log(f"kafka://{kafka}?prefix={prefix}")

    at = TopicPartition("clicks", 0)
    with opened(f"{name}.a.") as a, opened(f"{name}.b.") as b, opened("") as plain:
        logs, producers = (a, b), []
        for number, log in enumerate(logs):
            log.create_topics([TopicSettings("clicks", partitions=1 + number)])
            producers.append(log.producer("joiner"))  # the same id, and neither fences the other
        for number, (log, producer) in enumerate(zip(logs, producers, strict=True)):
            append(producer, "clicks", [NewRecord(None, b"%d" % number, 0)])
            with log.consumer("join", ["clicks"]) as consumer:
                (record,) = drain(consumer, 1)
                assert (record.topic, record.value) == ("clicks", b"%d" % number)
                assert {held.topic for held in consumer.assignment()} == {"clicks"}
                with producer.transaction() as tx:
                    tx.commit(consumer, {at: Position(1, f"{number}")})
            assert log.topics() == {"clicks": 1 + number}
            assert log.read(at, 0)[0].topic == "clicks"
        assert [log.committed("join", at) for log in logs] == [Position(1, "0"), Position(1, "1")]
        assert {f"{name}.a.clicks", f"{name}.b.clicks"} <= set(plain.topics())
        assert plain.committed("join", TopicPartition(f"{name}.a.clicks", 0)) is None
        for producer in producers:
            producer.close()


def test_no_broker_is_said_within_the_bound():
    code = "from streaming.log import open_log\nopen_log('kafka://127.0.0.1:1?timeout_s=1')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "LogUnavailableError: KafkaSettings(127.0.0.1:1" in done.stderr


def test_a_short_bound_still_writes(kafka, name):
    with open_log(f"kafka://{kafka}?timeout_s=5") as log, log.producer(name) as producer:
        log.create_topics([TopicSettings(name)])
        append(producer, name, numbered(1))
        assert values(log, name) == [b"0"]


def test_a_file_that_cannot_be_read_is_an_unavailable_log(tmp_path):
    """So that a process waits and goes on, instead of ending with SQLite's own words."""
    with open_log(str(tmp_path / "log.db")) as log:
        log.create_topics([TopicSettings("in")])
        consumer = log.consumer("readers", ["in"])
        consumer.poll()
        log.db.execute("ALTER TABLE records_1 RENAME TO elsewhere")
        with pytest.raises(LogUnavailableError, match="does not answer"):
            log.read(TopicPartition("in", 0), 0)
        with pytest.raises(LogUnavailableError, match="does not answer"):
            consumer.poll()
        log.db.execute("ALTER TABLE elsewhere RENAME TO records_1")
        assert consumer.poll() == []
        consumer.close()
