"""Behind a backlog the joiner puts several batches into one transaction; else each at once."""

from streaming.join_process import JoinProcess
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.settings import StreamSettings

SETTINGS = StreamSettings(
    batch=10, join=JoinerSettings(join_window_s=1, late_window_s=1, out_of_order_s=0)
)
START = 1_736_121_600_000
SHOWN = b'{"v":1,"type":"impression","impression_id":"i%d","timestamp":%d}'
BEAT = b'{"v":1,"type":"heartbeat","timestamp":%d}'


def stream(count):
    """A log of impressions, one a second, whose clicks topic is far ahead."""
    log = open_log(":memory:")
    log.create_topics(SETTINGS.topics())
    with log.producer("publisher").transaction() as tx:
        tx.append("clicks", [NewRecord(None, BEAT % (START + 10**9), 0)] * 2)
        shown = [SHOWN % (n, START + 1000 * n) for n in range(count)]
        tx.append("impressions", [NewRecord(None, BEAT % START, 0)] * 2)  # which begin time
        tx.append("impressions", [NewRecord(b"i", value) for value in shown])
    return log


def test_full_batches_are_committed_four_at_a_time_and_a_small_one_at_once():
    log = stream(69)
    process = JoinProcess(log, SETTINGS, "join-0", print)
    ends = []
    while process.read < 73:
        process.step()
        ends.append((process.read, log.end_offsets("examples")[0] > sum(n for _, n in ends)))
    process.close()
    committed = [read for read, is_new in ends if is_new]
    assert committed == [40, 73], ends


def test_what_a_crash_leaves_uncommitted_comes_again():
    log = stream(73)
    crashed = JoinProcess(log, SETTINGS, "join-0", print)
    while crashed.read < 60:
        crashed.step()
    crashed.close()  # what the last two batches gave is lost with it
    process = JoinProcess(log, SETTINGS, "join-0", print)
    process.run(until_idle_s=0)
    process.close()
    at = TopicPartition("examples", 0)
    ids = [line.count(b"impression_id") for line in values(log, at)]
    assert sum(ids) == process.counts()["examples"] == 73


def values(log, at):
    return [record.value for record in log.read(at, 0)]
