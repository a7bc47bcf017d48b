"""A question to the brokers ends, also where kafka-python would wait for ever."""

import threading
from types import SimpleNamespace

import pytest

from streaming.log.base import TopicPartition
from streaming.log.errors import LogUnavailableError
from streaming.log.kafka_consumer import KafkaLogConsumer


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
