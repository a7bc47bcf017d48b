"""One impression and one click through the API, and then nothing: counted at once, and joined."""

import threading
import time
from contextlib import contextmanager

from small_spec import spec_of
from stream_runs import join_all, stream_log
from topic_records import values_of
from valkey_server import start_valkey
from waiting import until

from clicktide.serving_worker import open_writer
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.events import Click, Example, Heartbeat, Impression, decode_event, encode_event
from features.spec import CounterSpec
from streaming.count_process import CountProcess
from streaming.join_process import JoinProcess
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, open_log
from streaming.settings import StreamSettings

# a join window of 2 s, so that a label is due soon; a click counts however slow the machine is;
# trusted ahead by 1 s only: the next is doubted again
TIGHT = JoinerSettings(join_window_s=2, out_of_order_s=1, late_window_s=3600, max_ahead_s=1)
STREAM = StreamSettings(partitions=2, join=TIGHT)
COUNTERS = StoredCounters(
    spec_of(
        "ad", label="y", counters=(CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1),)
    )
)


def now_ms():
    return time.time_ns() // 1_000_000


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
            for n in range(1, 4):
                assert writer.submit([shown(f"i{n}", now_ms())]).result(30).written == 1
                until(lambda n=n: counted() == (n, n - 1))
                time.sleep(1.2)  # longer than an event alone would be believed
                click = Click(v=1, impression_id=f"i{n}", timestamp=now_ms())
                assert writer.submit([click]).result(30).written == 1
                until(lambda n=n: counted() == (n, n))
    finally:
        writer.close()
        server.stop()


def store_of(server):
    return open_counters(server.url, COUNTERS.plan, COUNTERS.name)


def examples(url):
    with open_log(url) as log:
        return [decode_event(value) for value in values_of(log, "examples")]


def test_a_lone_impression_gets_its_label(url):
    writer = open_writer(url, STREAM)
    # what is asked of the writer every so often, in ms: the heartbeats of a short window
    writer._heartbeats._beat_ms = 300
    try:
        writer.submit([shown("lone", now_ms())]).result(60)
        with running(url, lambda log: JoinProcess(log, STREAM, "join-0", print)):
            until(lambda: examples(url))
    finally:
        writer.close()
    [example] = examples(url)
    assert isinstance(example, Example) and example.label == 0


def test_what_is_sent_again_after_a_crash_is_one_example(tmp_path):
    url, at = f"sqlite:///{tmp_path / 'log.db'}", now_ms()
    events = [shown("i", at), Click(v=1, impression_id="i", timestamp=at + 1)]
    for _ in range(2):  # the second knows nothing of the first, whose answer was lost
        writer = open_writer(url, STREAM)
        assert writer.submit(events).result(30).written == 2
        writer.close()
    end_of_time = at + 60_000
    with open_log(url) as log, log.producer("end").transaction() as tx:
        for topic in ("impressions", "clicks"):
            beats = [Heartbeat(v=1, timestamp=end_of_time + i) for i in range(2)]
            records = [NewRecord(None, encode_event(beat), p) for p in (0, 1) for beat in beats]
            tx.append(topic, records)
    with open_log(url) as log:
        join_all(log, STREAM)
    [example] = examples(url)
    assert example.label == 1


def test_a_log_that_lives_in_another_time_is_not_pushed_ahead(tmp_path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with stream_log(url, STREAM) as log:
        old = b'{"v":1,"type":"impression","impression_id":"o","timestamp":1736121600000}'
        with log.producer("replay").transaction() as tx:
            tx.append("impressions", [NewRecord(b"", old, p) for p in (0, 1)])
    writer = open_writer(url, STREAM)
    writer.submit([shown(f"i{n}", now_ms()) for n in range(20)]).result(30)
    writer.close()
    with open_log(url) as log:
        values = values_of(log, "impressions")
    assert len(values) == 22 and not any(b"heartbeat" in value for value in values)
