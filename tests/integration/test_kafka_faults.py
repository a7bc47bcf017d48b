"""What happens to the brokers and to the group, and that no record is lost or doubled by it.

``Copier`` does what every process of a stream does: read, append
what came of it and commit how far was read, in one transaction; and after an error go on as
docs/log.md says. What it has written in the end must be what was there to read, each once.
"""

import contextlib
import gc
import threading
from random import Random

import pytest
from broker import start_broker
from broker_jars import BrokerError
from faulty_stream import (
    SETTINGS,
    SIZE,
    append,
    assert_accounted_for,
    dead_letters,
    end_stream,
    faulty,
)
from msgspec.structs import replace
from topic_records import values_of
from waiting import until

from streaming.join_process import JoinProcess
from streaming.log import (
    LogError,
    NewRecord,
    Position,
    RebalancedError,
    TopicPartition,
    TopicSettings,
    open_log,
)
from streaming.log.kafka_client import KafkaAdminClient

# kafka-python does not close a socket whose connection was refused; collected where it is known.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

IN, OUT = "in", "out"
QUICK = "timeout_s=10&session_timeout_s=6&transaction_timeout_s=20"


@pytest.fixture(autouse=True)
def sockets_collected():
    yield
    gc.collect()


@pytest.fixture
def brokers(kafka_address, tmp_path):  # asked for first, for it skips when no broker can be had
    """Start brokers of this test's own, which it may kill."""
    with contextlib.ExitStack() as stack:

        def start(count):
            try:
                return stack.enter_context(start_broker(count, under=tmp_path))
            except BrokerError as error:
                pytest.fail(str(error))

        yield start


class Worker(threading.Thread):
    """A process of a stream, as a thread: ``session`` again and again until it is told to stop."""

    def __init__(self, url, name):
        super().__init__(daemon=True, name=name)
        self.url, self.stopped, self.errors, self.done = url, threading.Event(), [], 0

    def run(self):
        while not self.stopped.is_set():
            try:
                self.session()
            except LogError as error:
                self.errors.append(error)

    def end(self):
        self.stopped.set()
        self.join(60)
        assert not self.is_alive(), f"{self.name} hangs"


class Writer(Worker):
    """Appends the numbers from 0, ten to a transaction that also commits how far it is."""

    def session(self):
        at = TopicPartition(IN, 0)
        with open_log(self.url) as log, log.producer(self.name) as producer:
            number = (log.committed(self.name, at) or Position(0)).offset
            while not self.stopped.is_set():
                with producer.transaction() as tx:
                    records = [NewRecord(b"%d" % i, b"%d" % i) for i in range(number, number + 10)]
                    tx.append(IN, records)
                    tx.commit(self.name, {at: Position(number + 10)})
                self.done = number = number + 10


class Copier(Worker):
    """Copies what it reads, and commits how far it has read, in one transaction."""

    def session(self):
        with (
            open_log(self.url) as log,
            log.producer(self.name) as producer,
            log.consumer("copiers", [IN]) as consumer,
        ):
            while not self.stopped.is_set():
                try:
                    self.step(producer, consumer)
                except RebalancedError as error:
                    self.errors.append(error)

    def step(self, producer, consumer):
        records = consumer.poll(50, 0.2)
        if records:
            ends = {TopicPartition(r.topic, r.partition): Position(r.offset + 1) for r in records}
            with producer.transaction() as tx:
                tx.append(OUT, [NewRecord(r.key, r.value) for r in records])
                tx.commit(consumer, ends)
            self.done += len(records)


@contextlib.contextmanager
def running(*workers):
    """Workers that end with the block."""
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stopped.set()
        for worker in workers:
            worker.end()


def create(url, partitions):
    with open_log(url) as log:
        log.create_topics([TopicSettings(name, partitions) for name in (IN, OUT)])


def fill(url, count):
    with open_log(url) as log, log.producer("fill") as producer, producer.transaction() as tx:
        tx.append(IN, [NewRecord(b"%d" % i, b"%d" % i) for i in range(count)])


def copied(url, topic, count):
    """All values of a topic, sorted, once there are so many: readers see a commit a little late."""
    until(lambda: len(values(url, topic)) >= count)
    return sorted(values(url, topic))


def values(url, topic):
    """All values of a topic that readers see now."""
    with open_log(url) as log:
        return [int(value) for value in values_of(log, topic)]


def leader(url, topic):
    """Index of the broker that leads partition 0."""
    servers = url.removeprefix("kafka://").partition("?")[0].split(",")
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        (described,) = admin.describe_topics([topic])
        return described["partitions"][0]["leader_id"] - 1
    finally:
        admin.close()


def all_joined(joiner, sent):
    """Let it work; whether it has all that was sent, and nothing waits for its window."""
    joiner.step()
    read = {topic: joiner.counts()[topic] for topic in sent}
    return read == {topic: len(rows) for topic, rows in sent.items()} and not joiner.pending()


def test_a_broker_killed_and_restarted_in_mid_stream_loses_and_doubles_nothing(brokers):
    """Of the copier and of the joiner; and a producer in mid-transaction can be closed meanwhile,
    as a process does that goes on after an outage.
    """
    cluster, said = brokers(1), []
    sent, broken = faulty(Random(6))
    copied_url, joined_url, closed_url = (
        f"kafka://{cluster.bootstrap}?prefix={name}.&{timeouts}"
        for name, timeouts in (("copied", QUICK), ("joined", QUICK), ("closed", "timeout_s=5"))
    )
    create(copied_url, 2)
    fill(copied_url, 3000)
    create(closed_url, 1)
    copier = Copier(copied_url, "copier-0")
    with open_log(joined_url) as log, open_log(joined_url) as other, open_log(closed_url) as closed:
        log.create_topics(SETTINGS.topics())
        append(log, sent)
        end_stream(log)
        joiner = JoinProcess(log, replace(SETTINGS, batch=50), "join-0", said.append)
        while joiner.read < SIZE // 2:
            joiner.step()
        producer = closed.producer("writer-0")
        with running(copier):
            with pytest.raises(LogError), producer.transaction() as tx:
                until(lambda: copier.done >= 500)
                cluster.kill(0)
                tx.append(IN, [NewRecord(b"1", b"1")])
            producer.close()
            while not said:  # what was fetched before is joined first, some batches to a commit
                joiner.step()
            assert 500 <= copier.done < 3000
            cluster.start(0)
            until(lambda: all_joined(joiner, sent), lambda: said, joiner.counts)
            joiner.run(until_idle_s=0)
            joiner.close()
            copied(copied_url, OUT, 3000)
        assert_accounted_for(other, joiner.counts(), sent, broken)
        letters = [(d.topic, d.partition, d.offset) for d in dead_letters(other, 0)]
        assert len(set(letters)) == len(letters)
    assert copied(copied_url, OUT, 3000) == list(range(3000))


@pytest.mark.kafka3
def test_the_leader_of_three_brokers_killed_under_load_loses_no_acknowledged_write(brokers):
    cluster = brokers(3)
    url = f"kafka://{cluster.bootstrap}?replication=3&{QUICK}"
    create(url, 1)
    writer = Writer(url, "writer-0")
    with running(writer):
        until(lambda: writer.done >= 200)
        cluster.kill(leader(url, IN))
        so_far = writer.done
        until(lambda: writer.done >= so_far + 200)
    found = copied(url, IN, writer.done)
    assert found == list(range(len(found)))
    assert len(found) in (writer.done, writer.done + 10)  # one whose outcome was unknown


def test_members_that_join_and_leave_in_mid_stream_lose_and_double_nothing(kafka_url):
    url = f"{kafka_url}&{QUICK}"
    create(url, 4)
    writer, first, second = (
        Writer(url, "writer-0"),
        Copier(url, "copier-0"),
        Copier(url, "copier-1"),
    )
    with running(first):
        with running(writer):
            until(lambda: first.done >= 300)
            with running(second):
                until(lambda: second.done >= 300)
            so_far = first.done
            until(lambda: first.done >= so_far + 300)
        written = copied(url, IN, writer.done)
        copied(url, OUT, len(written))
    assert written == list(range(len(written)))
    assert copied(url, OUT, len(written)) == written
