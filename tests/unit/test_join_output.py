"""What the joiner writes: examples, many to a record, and how many batches to a transaction."""

import msgspec
from stream_runs import join_all

from features.events import DeadLetter as DeadLetterEvent
from features.events import decode_event
from streaming import join_output
from streaming.join_output import JoinOutput, pack_examples
from streaming.join_process import JoinProcess
from streaming.joiner import DeadLetter, EmitExample, JoinerSettings, Pause
from streaming.log import NewRecord, TopicPartition, TopicSettings, open_log
from streaming.settings import StreamSettings


def examples(count, partition=0):
    return [
        EmitExample(partition, f"i{n}", 0, False, b'{"label":0,"n":%d}' % n) for n in range(count)
    ]


def test_each_record_is_filled_before_the_next():
    records = list(pack_examples(examples(7), 3))
    assert [record.headers for record in records] == [(("n", b"3"),), (("n", b"3"),), ()]
    assert [record.key for record in records] == [b"i0", b"i3", b"i6"]
    assert [line for r in records for line in r.value.split(b"\n")] == [
        example.value for example in examples(7)
    ]


def test_one_to_a_record_is_the_plain_example():
    records = list(pack_examples(examples(2), 1))
    assert [(r.key, r.value, r.headers) for r in records] == [
        (e.impression_id.encode(), e.value, ()) for e in examples(2)
    ]


def test_partitions_do_not_mix_and_keep_their_order():
    mixed = [e for pair in zip(examples(4, 0), examples(4, 1), strict=True) for e in pair]
    for partition in (0, 1):
        found = [
            line
            for r in pack_examples(mixed, 3)
            if r.partition == partition
            for line in r.value.split(b"\n")
        ]
        assert found == [e.value for e in examples(4)]


def test_line_feeds_between_tokens_do_not_cut_an_example():
    pretty = EmitExample(0, "i", 0, False, b'{\n "text": "a\\nb"\n}')
    [record] = pack_examples([pretty, *examples(1)], 5)
    first, _ = record.value.split(b"\n")
    assert msgspec.json.decode(first) == {"text": "a\nb"}


def test_a_record_is_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr(join_output, "MAX_BYTES", 50)
    records = list(pack_examples(examples(9), 100))
    assert len(records) > 3 and all(len(r.value) <= 50 for r in records)


def test_a_huge_rejected_record_makes_a_dead_letter_that_can_be_read():
    log = open_log(":memory:")
    log.create_topics([TopicSettings("dead_letters"), TopicSettings("clicks")])
    output = JoinOutput(1)
    raw = b"x" * (2 * join_output.MAX_RAW)
    pause = Pause("clicks", 0)
    left = output.take([DeadLetter("broken_json", "no JSON", "clicks", 0, 7, raw), pause])
    assert left == [pause]
    with log.consumer("join", ["clicks"]) as consumer:
        consumer.poll()
        output.commit(log.producer("me"), consumer, [])
    [record] = log.read(TopicPartition("dead_letters", 0), 0)
    letter = decode_event(record.value)
    assert isinstance(letter, DeadLetterEvent)
    assert letter.raw == raw[: join_output.MAX_RAW] and str(len(raw)) in letter.detail
    assert not output


SETTINGS = StreamSettings(
    batch=10, join=JoinerSettings(join_window_s=1, late_window_s=1, out_of_order_s=0)
)
START = 1_736_121_600_000
SHOWN = b'{"v":1,"type":"impression","impression_id":"i%d","timestamp":%d}'
BEAT = b'{"v":1,"type":"heartbeat","timestamp":%d}'


def backlog(count):
    """A log of impressions, one a second, whose clicks topic is far ahead."""
    log = open_log(":memory:")
    log.create_topics(SETTINGS.topics())
    with log.producer("publisher").transaction() as tx:
        tx.append("clicks", [NewRecord(None, BEAT % (START + 10**9), 0)] * 2)
        shown = [SHOWN % (n, START + 1000 * n) for n in range(count)]
        tx.append("impressions", [NewRecord(None, BEAT % START, 0)] * 2)  # which begin time
        tx.append("impressions", [NewRecord(b"i", value) for value in shown])
    return log


def test_behind_a_backlog_full_batches_are_committed_four_at_a_time_and_a_small_one_at_once():
    log = backlog(69)
    process = JoinProcess(log, SETTINGS, "join-0", print)
    ends = []
    while process.read < 73:
        process.step()
        ends.append((process.read, log.end_offsets("examples")[0] > sum(n for _, n in ends)))
    process.close()
    committed = [read for read, is_new in ends if is_new]
    assert committed == [40, 73], ends


def test_what_a_crash_leaves_uncommitted_comes_again():
    log = backlog(73)
    crashed = JoinProcess(log, SETTINGS, "join-0", print)
    while crashed.read < 60:
        crashed.step()
    crashed.close()  # what the last two batches gave is lost with it
    process = join_all(log, SETTINGS)
    at = TopicPartition("examples", 0)
    ids = [record.value.count(b"impression_id") for record in log.read(at, 0)]
    assert sum(ids) == process.counts()["examples"] == 73
