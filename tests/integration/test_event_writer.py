"""Events through the writer: durable when answered, once by id, refused when the log is away."""

import asyncio
import threading
import time
from functools import partial

import pytest
from stream_runs import stream_log
from topic_records import records_of
from waiting import in_threads, until

from clicktide.serving_worker import open_writer
from features.events import Click, Heartbeat, Impression, decode_event
from serving.event_writer import Accepted, EventWriter, LogAwayError, QueueFullError
from streaming.joiner import JoinerSettings
from streaming.log import LogUnavailableError, open_log
from streaming.settings import StreamSettings

STREAM = StreamSettings(partitions=3, join=JoinerSettings(join_window_s=2, out_of_order_s=1))
OLD = 1_736_121_600_000
"""Of such events no heartbeat comes behind."""


def now_ms():
    return time.time_ns() // 1_000_000


def shown(name, at=None):
    return Impression(v=1, impression_id=name, timestamp=at or now_ms(), fields={"ad": "a"})


def clicked(name, kind="click"):
    return Click(v=1, impression_id=name, timestamp=now_ms(), kind=kind)


def written(url, topic):
    """Events of a topic, heartbeats left out: (id, partition, kind), in order."""
    out = []
    with open_log(url) as log:
        for record in records_of(log, topic):
            event = decode_event(record.value)
            if not isinstance(event, Heartbeat):
                assert record.key == event.impression_id.encode()
                kind = getattr(event, "kind", "shown")
                out.append((event.impression_id, record.partition, kind))
    return out


def test_many_threads_each_event_once_and_both_topics_alike(url):
    writer = open_writer(url, STREAM)
    names = [f"i{n}" for n in range(120)]
    answers = []

    def send(part):
        for name in part:
            for event in (shown(name), clicked(name), clicked(name), clicked(name, "dismiss")):
                answers.append(writer.submit([event]).result(30))

    in_threads(*(partial(send, names[i::6]) for i in range(6)))
    writer.close()
    assert answers.count(Accepted(1, 0)) == 360 and answers.count(Accepted(0, 1)) == 120
    impressions, clicks = written(url, "impressions"), written(url, "clicks")
    assert sorted(name for name, _, _ in impressions) == sorted(names)
    assert len(clicks) == 240
    # an impression's click is in the partition of its impression
    partition = {name: at for name, at, _ in impressions}
    assert all(partition[name] == at for name, at, _ in clicks)
    assert {at for _, at, _ in impressions} == {0, 1, 2}


def test_a_request_is_written_as_a_whole_and_its_own_copies_count_once(url):
    writer = open_writer(url, STREAM)
    batch = [shown("a"), shown("b"), shown("a"), clicked("a")]
    assert writer.submit(batch).result(60) == Accepted(3, 1)
    assert writer.submit(batch).result(30) == Accepted(0, 4)
    writer.close()
    assert len(written(url, "impressions")) == 2


def test_what_waits_when_it_closes_is_written(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    writer = open_writer(url, STREAM)
    done = [writer.submit([shown(f"i{n}")]) for n in range(300)]
    writer.close()
    writer.close()
    assert all(future.result(0).written == 1 for future in done)
    assert len(written(url, "impressions")) == 300
    with pytest.raises(LogAwayError, match="shutting down"):
        writer.submit([shown("later")])


class Flaky:
    """Opens a log, or does not, as told; opened, it fails as told."""

    def __init__(self, url):
        self.url, self.away, self.opened = url, False, 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self):
        if self.away:
            raise LogUnavailableError("no broker answers")
        self.opened += 1
        log = open_log(self.url)
        log.producer = self.wrapped(log.producer)
        return log

    def wrapped(self, producer):
        def made(name):
            made_one = producer(name)
            transaction = made_one.transaction

            def guarded():
                self.hold.wait(30)
                if self.away:
                    raise LogUnavailableError("no broker answers")
                return transaction()

            made_one.transaction = guarded
            return made_one

        return made


def test_a_log_that_goes_away_refuses_at_once_and_comes_back(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    flaky = Flaky(url)
    writer = EventWriter(flaky, STREAM, "api")
    assert writer.submit([shown("a")]).result(30).written == 1
    flaky.away = True
    with pytest.raises(LogAwayError, match="no broker answers") as refusal:
        writer.submit([shown("b")]).result(30)
    assert refusal.value.retry_after_s >= 1
    with pytest.raises(LogAwayError):
        writer.submit([shown("c")])  # before acceptance
    assert "unavailable" in writer.problem
    flaky.away = False
    until(lambda: writer.problem is None)
    assert writer.submit([shown("b")]).result(30) == Accepted(1, 0)
    assert writer.submit([shown("a")]).result(30) == Accepted(0, 1)
    writer.close()
    assert [name for name, _, _ in sorted(written(url, "impressions"))] == ["a", "b"]


def test_a_log_that_hangs_is_given_up_and_the_queue_is_bounded(tmp_path):
    flaky = Flaky(f"sqlite:///{tmp_path / 'log.db'}")
    writer = EventWriter(flaky, STREAM, "api", most_waiting=10, patience_s=100)
    assert writer.submit([shown("first", OLD)]).result(30).written == 1
    flaky.hold.clear()
    stuck = writer.submit([shown("stuck", OLD)])
    until(lambda: not writer.waiting)
    waiting = writer.submit([shown(f"w{n}", OLD) for n in range(10)])
    with pytest.raises(QueueFullError, match="10 events wait"):
        writer.submit([shown("one more")])
    with pytest.raises(LogAwayError, match="in time"):
        asyncio.run(late(writer))
    writer._patience_s = 0.0
    with pytest.raises(LogAwayError, match="does not answer"):
        writer.submit([shown("refused")])
    writer._patience_s = 100.0
    flaky.hold.set()
    assert stuck.result(30).written == 1 and waiting.result(30).written == 10
    writer.close()


async def late(writer):
    writer._most_waiting += 1
    await writer.write([shown("late")], 0.05)


def test_a_log_whose_file_is_removed_is_not_written_to_in_vain(tmp_path):
    path = tmp_path / "log.db"
    url = f"sqlite:///{path}"
    writer = open_writer(url, STREAM)
    assert writer.submit([shown("a")]).result(30).written == 1
    away = tmp_path / "away.db"
    path.rename(away)  # whoever reads it still reads it there
    with pytest.raises(LogAwayError, match="removed or replaced"):
        writer.submit([shown("b")]).result(30)
    time.sleep(0.6)
    with pytest.raises(LogAwayError, match="was removed"):
        writer.submit([shown("c")]).result(30)
    assert not path.exists()  # no second log, which nobody would read
    away.rename(path)
    until(lambda: writer.problem is None)
    assert writer.submit([shown("d")]).result(30).written == 1
    writer.close()
    found = {name for name, _, _ in written(url, "impressions")}
    assert found >= {"a", "d"} and "c" not in found  # b may be there: it was not known to be lost


def test_the_partitions_of_a_log_that_is_there_are_used(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    stream_log(url, StreamSettings(partitions=5)).close()
    writer = open_writer(url, StreamSettings())
    writer.submit([shown(f"i{n}") for n in range(50)]).result(30)
    writer.close()
    assert {at for _, at, _ in written(url, "impressions")} == set(range(5))
