"""What a topic holds."""

from streaming.log import TopicPartition


def records_of(log, topic):
    """Every record that readers see now, partition after partition."""
    found = []
    for partition, offset in enumerate(log.start_offsets(topic)):
        at = TopicPartition(topic, partition)
        while records := log.read(at, offset, 5_000):
            found += records
            offset = records[-1].offset + 1
    return found


def values_of(log, topic):
    return [record.value for record in records_of(log, topic)]
