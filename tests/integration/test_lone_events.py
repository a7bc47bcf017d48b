"""One impression and one click through the API, and then nothing: counted at once, and joined."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from clicktide.valkey import start_valkey
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.events import Click, Example, Impression, decode_event
from features.spec import CounterSpec, FieldSpec, SourceSpec, Spec
from serving.open_writer import open_writer
from streaming.count_process import CountProcess
from streaming.join_process import JoinProcess
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.settings import StreamSettings

pytestmark = pytest.mark.timeout(120)

# windows of 2 s, so that a label is due soon; trusted ahead by 1 s only: the next is doubted again
TIGHT = JoinerSettings(join_window_s=2, out_of_order_s=1, late_window_s=2, max_ahead_s=1)
STREAM = StreamSettings(partitions=2, join=TIGHT)
COUNTERS = StoredCounters(
    Spec(
        name="x",
        source=SourceSpec(label="y"),
        fields=(FieldSpec(names=("ad",)),),
        counters=(CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1),),
    )
)


def now_ms():
    return time.time_ns() // 1_000_000


def until(true, seconds=20.0):
    begun = time.monotonic()
    while not true():
        assert time.monotonic() < begun + seconds, "waited in vain"
        time.sleep(0.002)
    return time.monotonic() - begun


@contextmanager
def running(url, process_of):
    """A process of the stream, in a thread with a log of its own."""
    stop = threading.Event()

    def work():
        with open_log(url) as log:
            process = process_of(log)
            try:
                process.run(stop.is_set)
            finally:
                process.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture(params=["sqlite", "kafka"])
def url(request, tmp_path):
    if request.param == "kafka":
        return request.getfixturevalue("kafka_url")
    return f"sqlite:///{tmp_path / 'log.db'}"


def shown(name, at):
    return Impression(v=1, impression_id=name, timestamp=at, fields={"ad": "a"})


def test_a_lone_view_and_a_lone_click_are_counted_at_once(url, tmp_path):
    server = start_valkey(tmp_path)
    store = open_counters(server.url, COUNTERS.plan, COUNTERS.name)
    writer = open_writer(url, STREAM)
    keys = COUNTERS.keys([{"ad": "a"}])[0]

    def counted():
        views, clicks = store.values(keys, 0, now_ms())
        return round(float(views[0, 0])), round(float(clicks[0, 0]))

    try:
        writer.submit([]).result(60)  # it is open
        count = running(
            url, lambda log: CountProcess(log, STREAM, store_of(server), COUNTERS, "c", print)
        )
        with count:
            waits = []
            for n in range(1, 4):
                assert writer.submit([shown(f"i{n}", now_ms())]).result(30).written == 1
                until(lambda n=n: counted() == (n, n - 1))
                time.sleep(1.2)  # longer than an event alone would be believed
                click = Click(v=1, impression_id=f"i{n}", timestamp=now_ms())
                assert writer.submit([click]).result(30).written == 1
                waits.append(until(lambda n=n: counted() == (n, n)))
        print("click accepted -> counted:", np.round(waits, 4))
    finally:
        writer.close()
        server.stop()


def store_of(server):
    return open_counters(server.url, COUNTERS.plan, COUNTERS.name)


def examples(url):
    with open_log(url) as log:
        return [
            decode_event(record.value)
            for partition in range(2)
            for record in log.read(TopicPartition("examples", partition), 0, 1000)
        ]


def test_a_lone_impression_gets_its_label(url):
    writer = open_writer(url, STREAM)
    # what is asked of the writer every so often, in ms: the heartbeats of a short window
    writer._vouching._beat_ms = 300
    try:
        writer.submit([shown("lone", now_ms())]).result(60)
        with running(url, lambda log: JoinProcess(log, STREAM, "join-0", print)):
            until(lambda: examples(url), 40)
    finally:
        writer.close()
    [example] = examples(url)
    assert isinstance(example, Example) and example.label == 0


def test_a_log_that_lives_in_another_time_is_not_pushed_ahead(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with open_log(url) as log:
        log.create_topics(STREAM.topics())
        old = b'{"v":1,"type":"impression","impression_id":"o","timestamp":1736121600000}'
        with log.producer("replay").transaction() as tx:
            tx.append("impressions", [NewRecord(b"", old, p) for p in (0, 1)])
    writer = open_writer(url, STREAM)
    writer.submit([shown(f"i{n}", now_ms()) for n in range(20)]).result(30)
    writer.close()
    with open_log(url) as log:
        values = [
            record.value
            for partition in (0, 1)
            for record in log.read(TopicPartition("impressions", partition), 0, 1000)
        ]
    assert len(values) == 22 and not any(b"heartbeat" in value for value in values)
