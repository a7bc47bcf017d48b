"""Reading from Kafka as a member of a group.

kafka-python sends the heartbeats from its own I/O thread, so a caller that learns for a while
between two polls keeps its place for ``max_poll_interval_s``; no polling thread is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from streaming.log.base import Consumer, Listener, LogUnavailableError, RebalancedError
from streaming.log.kafka_client import (
    ConsumerGroupMetadata,
    ConsumerRebalanceListener,
    KafkaConsumer,
    KafkaError,
    KafkaPartition,
    Names,
    RangePartitionAssignor,
    bounded,
    errors,
    translated,
)
from streaming.log.kafka_faults import keep_join
from streaming.log.log_url import KafkaSettings
from streaming.log.records import Record, TopicPartition

__all__ = ["KafkaLogConsumer", "reader_options"]

T = TypeVar("T")
_ALL = 1_000_000


def reader_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every reading client is given: committed records only, and no silent jumps."""
    return settings.connection() | {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "fetch_max_wait_ms": 50,
        "metrics_enabled": False,
        "max_partition_fetch_bytes": 4 << 20,
        "fetch_max_bytes": 8 << 20,  # a whole answer waits here while its records are given out
    }


class KafkaLogConsumer(Consumer):
    """See ``Consumer``."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topics: Sequence[str],
        instance: str | None,
        on_assigned: Listener,
        on_revoked: Listener,
    ) -> None:
        self.group, self._names = group, Names(settings.prefix)
        session_ms = int(settings.session_timeout_s * 1000)
        self._timeout_ms = int(settings.timeout_s * 1000)
        self._kafka = KafkaConsumer(
            **reader_options(settings),
            group_id=self._names.full(group),
            group_instance_id=instance,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 5,
            max_poll_interval_ms=int(settings.max_poll_interval_s * 1000),
            partition_assignment_strategy=[RangePartitionAssignor],
        )
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        # All of an answer is taken at once: kafka-python 3.0.12 never gives out what is left of a
        # partition's answer if that is paused and resumed meanwhile.
        self._fetched: dict[KafkaPartition, list[Record]] = {}
        self._held: frozenset[TopicPartition] = frozenset()
        self._membership: ConsumerGroupMetadata | None = None
        self._group = _Rebalanced(self._kafka)
        wanted = [self._names.full(topic) for topic in topics]
        self._kafka.subscribe(wanted, listener=self._group)
        # kafka-python 3.0.12 may join before it knows the topics, and then keep an empty share.
        try:
            for topic in wanted:
                self._ask(partial(self._kafka.partitions_for_topic, topic))
        except (KafkaError, TimeoutError) as error:
            self.close()
            raise translated(f"group {group!r}", error) from error

    def _ask(self, call: Callable[[], T]) -> T:
        """Wait for an answer of the brokers, with an end.

        kafka-python 3.0.12 hands the question to its I/O thread and waits for that without one,
        so a broker that dies in mid-question would hold us for ever.
        """
        return bounded(call, self._timeout_ms / 1000 + 1.0)

    def close(self) -> None:
        """See ``Consumer``."""
        patience_ms = min(self._timeout_ms, 5_000)
        with suppress(TimeoutError):  # its thread ends with the process
            self._ask(partial(self._kafka.close, autocommit=False, timeout_ms=patience_ms))

    def group_metadata(self) -> ConsumerGroupMetadata:
        """The membership under which positions are committed: that of the partitions held.

        kafka-python's own may be of a later generation already, in which they are another's.

        Raises
        ------
        RebalancedError
            There is none (Kafka would take a commit without one, if the group is empty).
        """
        if self._membership is None or self._kafka.group_metadata().generation_id < 0:
            fix = "poll, and go on from what is assigned then"
            raise RebalancedError(f"group {self.group!r}: not a member any more. Fix: {fix}")
        return self._membership

    def assignment(self) -> frozenset[TopicPartition]:
        """See ``Consumer``."""
        return self._held

    def position(self, at: TopicPartition) -> int:
        """See ``Consumer``."""
        there = self._names.there(at)
        if fetched := self._fetched.get(there):
            return fetched[0].offset
        try:
            found = self._ask(lambda: self._kafka.position(there, timeout_ms=self._timeout_ms))
        except (KafkaError, TimeoutError) as error:
            raise translated(f"group {self.group!r}: position of {at}", error) from error
        if found is None:
            fix = "check that the brokers run"
            raise LogUnavailableError(f"group {self.group!r}: no position of {at}. Fix: {fix}")
        return int(found)

    def seek(self, at: TopicPartition, offset: int) -> None:
        """See ``Consumer``."""
        if at not in self._held:
            raise KeyError(at)
        self._fetched.pop(self._names.there(at), None)
        self._kafka.seek(self._names.there(at), offset)

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See ``Consumer``."""
        self._kafka.pause(*map(self._names.there, self._held & set(partitions)))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See ``Consumer``."""
        self._kafka.resume(*map(self._names.there, self._held & set(partitions)))

    def poll(self, max_records: int = 1000, wait_s: float = 0.0) -> list[Record]:
        """See ``Consumer``."""
        end = time.monotonic() + wait_s
        try:
            while True:
                records = self._poll_once(max_records, max(0.0, end - time.monotonic()))
                if records or time.monotonic() >= end:
                    return records
        except (KafkaError, TimeoutError) as error:
            raise translated(f"group {self.group!r}", error) from error

    def _poll_once(self, max_records: int, wait_s: float) -> list[Record]:
        try:
            if not self._fetched.keys() - self._kafka.paused():
                for at, answer in self._kafka.poll(int(wait_s * 1000), _ALL).items():
                    self._fetched.setdefault(at, []).extend(map(self._names.record, answer))
        except errors.NoOffsetForPartitionError:
            self._place()
            return []
        finally:
            keep_join(self._kafka)
        if self._group.changed.is_set():
            self._rebalanced()
            return []
        return self._next_records(max_records)

    def _next_records(self, most: int) -> list[Record]:
        """So many of the fetched records of partitions that are not paused; each has its turn."""
        taken: list[Record] = []
        for at in [at for at in self._fetched if at not in self._kafka.paused()]:
            if not (room := most - len(taken)):
                break
            records = self._fetched.pop(at)
            taken += records[:room]
            if rest := records[room:]:
                self._fetched[at] = rest
        return taken

    def _rebalanced(self) -> None:
        former = self._held
        self._fetched.clear()
        if former:
            self._on_revoked(former)
        self._held = frozenset(map(self._names.here, self._kafka.assignment()))
        self._membership = self._group.membership
        self._place(all_anew=True)
        if former or self._held:  # a first join, before the topics are known, gives nothing
            self._on_assigned(self._held)
        self._kafka.resume(*self._kafka.assignment())
        self._group.changed.clear()  # last: what fails until here is done again at the next poll

    def _place(self, *, all_anew: bool = False) -> None:
        """Begin at their start the partitions of which the group has no position.

        And, if asked, the others where it is: kafka-python goes on with one that stays ours where
        it stands itself, which is after what was fetched, and thrown away.
        """
        for at in self._kafka.assignment():
            ask = partial(self._kafka.committed, at, timeout_ms=self._timeout_ms)
            committed = self._ask(ask)
            if committed is None:
                start = self._ask(partial(self._kafka.beginning_offsets, [at]))[at]
                self._kafka.seek(at, start)
            elif all_anew:
                self._kafka.seek(at, committed)


class _Rebalanced(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes a rebalance, from kafka-python's I/O thread, and stops reading until it is handled.

    The caller's callbacks run later, in its own ``poll``. That is early enough: it has no
    transaction open then, and a former member's commit is refused by its generation.
    """

    def __init__(self, kafka: KafkaConsumer) -> None:
        self._kafka = kafka
        self.changed = threading.Event()
        self.membership: ConsumerGroupMetadata | None = None

    def on_partitions_revoked(self, revoked: set[KafkaPartition]) -> None:
        """Wait for what is assigned instead: until then nothing is read."""

    def on_partitions_lost(self, lost: set[KafkaPartition]) -> None:
        """Tell the caller now: the group has gone on without us, and may be long in answering."""
        self.membership = None
        self.changed.set()

    def on_partitions_assigned(self, assigned: set[KafkaPartition]) -> None:
        """Hold back what falls to us until the caller knows."""
        self.membership = self._kafka.group_metadata()
        self._kafka.pause(*self._kafka.assignment())
        self.changed.set()
