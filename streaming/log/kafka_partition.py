"""One partition of Kafka, read from any offset, with the next answer on its way meanwhile."""

from __future__ import annotations

import time
from typing import Any

from streaming.log.errors import LogUnavailableError
from streaming.log.kafka_client import KafkaConsumer, KafkaPartition

__all__ = ["PartitionReader"]

_ALL = 1_000_000
_POLL_MS = 100


class PartitionReader:
    """Takes all of an answer at once and gives it out as asked.

    kafka-python asks for more only when it has given out all that it has. So the brokers work on
    the next answer while the caller works on this one.

    Parameters
    ----------
    consumer
        For this alone.
    partition
        Which.
    """

    def __init__(self, consumer: KafkaConsumer, partition: KafkaPartition) -> None:
        self.consumer, self._partition = consumer, partition
        self._next = -1  # where the caller goes on, if it goes on
        self._ahead: list[Any] = []
        consumer.assign([partition])

    def reached(self, offset: int) -> int:
        """How far it is read, from an offset on: past the markers that follow it, maybe."""
        if offset != self._next or self._ahead:
            return offset
        return max(offset, self.consumer.position(self._partition, timeout_ms=1_000) or 0)

    def take(self, offset: int, most: int, end: int, timeout_s: float) -> list[Any]:
        """Some records from an offset on; none if only markers of transactions come before the end.

        Raises
        ------
        LogUnavailableError
            No answer in time.
        """
        if offset != self._next:
            self.consumer.seek(self._partition, offset)
            self._next, self._ahead = -1, []
        ahead = self._ahead or self._fetched(end, timeout_s)
        taken, self._ahead = ahead[:most], ahead[most:]
        self._next = taken[-1].offset + 1 if taken else offset
        return taken

    def _fetched(self, end: int, timeout_s: float) -> list[Any]:
        give_up = time.monotonic() + timeout_s
        self._next, consumer = -1, self.consumer  # after an error it begins anew
        while (consumer.position(self._partition, timeout_ms=1_000) or 0) < end:
            if pieces := consumer.poll(_POLL_MS, _ALL).get(self._partition):
                return list(pieces)
            if time.monotonic() >= give_up:
                fix = "check that the brokers run"
                raise LogUnavailableError(f"read {self._partition}: no answer. Fix: {fix}")
        return []
