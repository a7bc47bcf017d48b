"""Writing to Kafka: one idempotent, transactional producer for each transactional id."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streaming.log.base import Consumer, LogError, Producer
from streaming.log.kafka_client import (
    ConsumerGroupMetadata,
    KafkaError,
    KafkaPartition,
    KafkaProducer,
    OffsetAndMetadata,
    bounded,
    translated,
)
from streaming.log.kafka_consumer import KafkaLogConsumer
from streaming.log.kafka_faults import close_producer, first_error
from streaming.log.partition import key_partitions, routed
from streaming.log.records import NewRecord, Position, TopicPartition

if TYPE_CHECKING:
    from streaming.log.kafka_log import KafkaLog
from streaming.time_text import now_ms

__all__ = ["MAX_MESSAGE_BYTES", "KafkaLogProducer"]

# Kafka's default of 1 MiB is for a whole batch; ours leaves room for records that carry many.
MAX_MESSAGE_BYTES = 16 << 20
_BATCH_BYTES = 256 << 10
_LINGER_MS = 5


class KafkaLogProducer(Producer):
    """See ``Producer``; the broker fences by producer epoch (``init_transactions`` raises it)."""

    def __init__(self, log: KafkaLog, transactional_id: str) -> None:
        self._log, self._id = log, transactional_id
        self._timeout_s = log.settings.timeout_s
        key_partitions([b"key"], 1)  # its kernel is loaded now, not in the first transaction
        timeout_ms = int(self._timeout_s * 1000)
        compression = log.settings.compression
        try:
            self._kafka = KafkaProducer(
                **log.settings.connection(),
                transactional_id=log.names.full(transactional_id),
                transaction_timeout_ms=int(log.settings.transaction_timeout_s * 1000),
                max_block_ms=timeout_ms,
                delivery_timeout_ms=timeout_ms,
                request_timeout_ms=min(10_000, timeout_ms // 2),
                max_request_size=MAX_MESSAGE_BYTES,
                batch_size=_BATCH_BYTES,
                linger_ms=_LINGER_MS,
                metrics_enabled=False,
                compression_type=None if compression == "none" else compression,
                allow_auto_create_topics=False,
            )
            self._kafka.init_transactions()
        except KafkaError as error:
            raise translated(f"producer {transactional_id!r}", error) from error

    def close(self) -> None:
        """See ``Producer``."""
        close_producer(self._kafka)

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        """See ``Producer``."""
        self._guarded(self._kafka.begin_transaction)
        tx = _Transaction(self._log, self._kafka, self._guarded)
        try:
            yield tx
            tx.send_positions()
            self._guarded(self._kafka.commit_transaction)
        except BaseException:
            # Its failure would hide the first one; and the broker aborts in time by itself.
            with contextlib.suppress(LogError):
                self._guarded(self._kafka.abort_transaction)
            raise

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            bounded(call, self._timeout_s)
        except (KafkaError, TimeoutError) as error:
            raise translated(
                f"transaction of {self._id!r}", first_error(self._kafka, error)
            ) from error


class _Transaction:
    def __init__(
        self, log: KafkaLog, kafka: KafkaProducer, guarded: Callable[[Callable[[], None]], None]
    ) -> None:
        self._log, self._kafka, self._guarded = log, kafka, guarded
        self._positions: list[
            tuple[ConsumerGroupMetadata, dict[KafkaPartition, OffsetAndMetadata]]
        ] = []

    def append(self, topic: str, records: Iterable[NewRecord]) -> None:
        """See ``Producer``."""
        batch, chosen = routed(topic, records, self._log.partitions(topic))
        now, send = now_ms(), self._kafka.send
        there = self._log.names.full(topic)
        try:
            for (key, value, _, headers), partition in zip(batch, chosen, strict=True):
                send(there, value, key, list(headers), partition, now)
        except KafkaError as error:
            raise translated(f"append to {topic!r}", error) from error

    def commit(
        self, consumer: Consumer | str, positions: Mapping[TopicPartition, Position]
    ) -> None:
        """See ``Producer``."""
        if isinstance(consumer, KafkaLogConsumer):
            group = consumer.group_metadata()
        else:
            name = consumer if isinstance(consumer, str) else consumer.group
            group = ConsumerGroupMetadata(group_id=self._log.names.full(name))
        offsets = {
            self._log.names.there(at): OffsetAndMetadata(p.offset, p.metadata, -1)
            for at, p in positions.items()
        }
        self._positions.append((group, offsets))

    def send_positions(self) -> None:
        """Hand the positions to the group's coordinator, as part of the transaction (KIP-447)."""
        for group, offsets in self._positions:
            self._guarded(lambda o=offsets, g=group: self._kafka.send_offsets_to_transaction(o, g))  # type: ignore[misc]
