"""One partition of Kafka, read from any offset, with the next answer on its way meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from streaming.log.base import EventLog, Listener, LogUnavailableError, OffsetError, TopicSettings
from streaming.log.kafka_client import (
    IsolationLevel,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaError,
    KafkaPartition,
    Names,
    OffsetSpec,
    bounded,
    errors,
    translated,
)
from streaming.log.kafka_consumer import KafkaLogConsumer, reader_options
from streaming.log.kafka_producer import MAX_MESSAGE_BYTES, KafkaLogProducer
from streaming.log.log_url import KafkaSettings
from streaming.log.partition import check_differs, no_partition, no_topic
from streaming.log.records import Position, Record, TopicPartition, Values

__all__ = ["KafkaLog", "PartitionReader"]

_ALL = 1_000_000
_POLL_MS = 100
_PAUSE_S = 0.2


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


T = TypeVar("T")


class KafkaLog(EventLog):
    """An event log on a Kafka cluster.

    Parameters
    ----------
    settings
        Where it is and how to talk to it.

    Raises
    ------
    LogUnavailableError
        No broker answers within ``timeout_s``.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings, self.names = settings, Names(settings.prefix)
        self._counts: dict[str, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._readers: dict[str, KafkaConsumer] = {}
        self._partition_readers: dict[TopicPartition, PartitionReader] = {}
        self._admin = self._retried("connect", lambda: KafkaAdminClient(**settings.connection()))

    def _retried(self, what: str, call: Callable[[], T]) -> T:
        """Call; again while the error is one that passes by itself, until the time is over."""
        end = time.monotonic() + self.settings.timeout_s
        while True:
            try:
                return bounded(call, self.settings.timeout_s)
            except (KafkaError, TimeoutError) as error:
                if not getattr(error, "retriable", False) or time.monotonic() >= end:
                    raise translated(f"{self.settings!r}: {what}", error) from error
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """See ``EventLog``."""
        for reader in self._readers.values():
            reader.close(autocommit=False, timeout_ms=5_000)
        self._readers.clear()
        self._admin.close()

    def create_topics(self, topics: Sequence[TopicSettings]) -> None:
        """See ``EventLog``."""
        existing = self.topics()
        for topic in topics:
            if topic.name in existing:
                check_differs(topic, existing[topic.name])
            else:
                self._retried(f"create {topic.name!r}", lambda topic=topic: self._create(topic))  # type: ignore[misc]

    def _create(self, topic: TopicSettings) -> None:
        retention_ms = -1 if topic.retention_ms is None else topic.retention_ms
        configs = {
            "retention.ms": str(retention_ms),
            "retention.bytes": "-1",
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
        }
        if self.settings.replication >= 3:
            configs["min.insync.replicas"] = "2"
        wanted = {
            "num_partitions": topic.partitions,
            "replication_factor": self.settings.replication,
            "configs": configs,
        }
        try:
            self._admin.create_topics({self.names.full(topic.name): wanted}, wait_for_metadata=True)
        except errors.TopicAlreadyExistsError:  # by another process, or a lost answer
            check_differs(topic, self.partitions(topic.name))

    def topics(self) -> dict[str, int]:
        """See ``EventLog``."""
        described = self._retried("list topics", lambda: self._admin.describe_topics())
        mine = [t for t in described if not t["is_internal"] and self.names.mine(t["name"])]
        return {self.names.bare(t["name"]): len(t["partitions"]) for t in mine}

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic; constant, so kept."""
        if topic not in self._counts:
            self._counts |= self.topics()
        if topic not in self._counts:
            raise no_topic(topic, self._counts)
        return self._counts[topic]

    def start_offsets(self, topic: str) -> list[int]:
        """See ``EventLog``."""
        return self._offsets(topic, OffsetSpec.EARLIEST)

    def end_offsets(self, topic: str) -> list[int]:
        """See ``EventLog``."""
        return self._offsets(topic, OffsetSpec.LATEST)

    def _offsets(self, topic: str, spec: OffsetSpec) -> list[int]:
        every = (TopicPartition(topic, p) for p in range(self.partitions(topic)))
        wanted = {self.names.there(at): spec for at in every}
        found = self._retried(
            f"offsets of {topic!r}",
            lambda: self._admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED),
        )
        return [found[at].offset for at in wanted]

    def committed(self, group: str, at: TopicPartition) -> Position | None:
        """See ``EventLog``."""
        reader = self._reader(f"group {group}", self.names.full(group))
        found = self._retried(
            f"position of group {group!r}",
            lambda: reader.committed(self.names.there(at), metadata=True),
        )
        return None if found is None else Position(found.offset, found.metadata or "")

    def _reader(self, name: str, group: str | None) -> KafkaConsumer:
        """A client that reads or looks up, kept for the next time; it joins no group."""
        if name not in self._readers:
            options = reader_options(self.settings)
            self._readers[name] = self._retried(
                "connect", lambda: KafkaConsumer(**options, group_id=group)
            )
        return self._readers[name]

    def read(self, at: TopicPartition, offset: int, max_records: int = 1000) -> list[Record]:
        """See ``EventLog``."""
        return [self.names.record(given) for given in self._read(at, offset, max_records)]

    def read_values(self, at: TopicPartition, offset: int, max_records: int = 1000) -> Values:
        """See ``EventLog``."""
        found = self._read(at, offset, max_records)
        return Values.of(*at, [r.offset for r in found], [r.value or b"" for r in found])

    def _read(self, at: TopicPartition, offset: int, max_records: int) -> list[Any]:
        reader = self._partition_reader(at)
        try:
            end = self._ends.get(at, -1)
            if reader.reached(offset) >= end:  # else the brokers need not be asked
                end = self._ends[at] = self.end_offsets(at.topic)[at.partition]
            if offset > end:
                fix = "read from there"
                raise OffsetError(f"{at}: offset {offset} is past the end {end}. Fix: {fix}")
            return reader.take(offset, max_records, end, self.settings.timeout_s)
        except KafkaError as error:
            raise translated(f"read {at.topic}-{at.partition}", error) from error

    def _partition_reader(self, at: TopicPartition) -> PartitionReader:
        if at not in self._partition_readers:
            if not 0 <= at.partition < self.partitions(at.topic):
                raise no_partition(at, self.partitions(at.topic))
            reader = PartitionReader(self._reader(f"partition {at}", None), self.names.there(at))
            self._partition_readers[at] = reader
        return self._partition_readers[at]

    def producer(self, transactional_id: str) -> KafkaLogProducer:
        """See ``EventLog``."""
        return KafkaLogProducer(self, transactional_id)

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str | None = None,
        on_assigned: Listener = lambda _: None,
        on_revoked: Listener = lambda _: None,
    ) -> KafkaLogConsumer:
        """See ``EventLog``."""
        for topic in topics:
            self.partitions(topic)
        return KafkaLogConsumer(self.settings, group, topics, instance, on_assigned, on_revoked)
