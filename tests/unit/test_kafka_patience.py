"""A Kafka consumer waits no longer than it may, and gives each partition its turn."""

import threading
from types import SimpleNamespace

import pytest

from streaming.log.base import LogUnavailableError
from streaming.log.kafka_consumer import KafkaLogConsumer
from streaming.log.records import TopicPartition


class Silent:
    """A client that is assigned a partition, and whose broker died in mid-question."""

    def __init__(self):
        self.over = threading.Event()

    def poll(self, *_):
        return {}

    def paused(self):
        return set()

    def assignment(self):
        return {TopicPartition("clicks", 0)}

    def committed(self, *_, **__):
        self.over.wait(20)


def test_a_broker_that_dies_while_it_is_asked_for_positions_is_told_as_unavailable(monkeypatch):
    monkeypatch.setattr("streaming.log.kafka_consumer.keep_join", lambda kafka: None)
    consumer = object.__new__(KafkaLogConsumer)
    changed = threading.Event()
    changed.set()
    consumer.group, consumer._timeout_ms, consumer._kafka = "join", 50, Silent()
    consumer._names = SimpleNamespace(here=lambda at: at.topic, there=lambda at: at)
    consumer._fetched = {}
    consumer._held, consumer._group = frozenset(), SimpleNamespace(changed=changed, membership=None)
    try:
        with pytest.raises(LogUnavailableError, match="join"):
            consumer.poll()
        assert changed.is_set()  # it is handled anew at the next poll
    finally:
        consumer._kafka.over.set()


def test_each_partition_has_its_turn_however_much_is_left_of_another():
    consumer = object.__new__(KafkaLogConsumer)
    consumer._kafka = SimpleNamespace(paused=lambda: {"idle"})
    consumer._fetched = {"long": list(range(9)), "idle": [-1], "short": ["a", "b"]}
    taken = [consumer._next_records(3) for _ in range(5)]
    assert taken == [[0, 1, 2], ["a", "b", 3], [4, 5, 6], [7, 8], []]
    assert consumer._fetched == {"idle": [-1]}
