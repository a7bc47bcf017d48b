"""The one interface of the event log: what a joiner, a counter process or a trainer needs.

Read, make a step, and in one transaction append what came of it and commit how far was read::

    with producer.transaction() as tx:
        tx.append("examples", [NewRecord(key=b"id", value=b"...")])
        tx.commit(consumer, {TopicPartition("clicks", 0): Position(8, "watermark=...")})

Either all of it is visible afterwards or nothing is. Each error says whether to stop, retry or go
on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, Self

from features.errors import ClicktideError
from streaming.log.records import (
    NewRecord,
    Position,
    Record,
    RecordMark,
    TopicPartition,
    ValueRun,
    Values,
    mark_of,
)

__all__ = [
    "AbortedError",
    "Closing",
    "Consumer",
    "EventLog",
    "FencedError",
    "Listener",
    "LogError",
    "LogSettingsError",
    "LogUnavailableError",
    "OffsetError",
    "Producer",
    "RebalancedError",
    "TopicError",
    "TopicSettings",
    "Transaction",
]

Listener = Callable[["frozenset[TopicPartition]"], None]


class LogError(ClicktideError):
    """Base of the errors of an event log."""


class LogSettingsError(LogError):
    """The URL or the settings of a log cannot be used."""


class LogUnavailableError(LogError):
    """The log did not answer within the bound, retries included.

    The outcome of a transaction that was being committed is unknown: start again from the
    committed positions, which tell.
    """


class TopicError(LogError):
    """A topic or partition does not exist, or exists with another number of partitions."""


class OffsetError(LogError):
    """An offset is not in the log: retention removed it, or it lies past the end."""


class FencedError(LogError):
    """Another process has taken over this transactional id: stop, nothing was written."""


class RebalancedError(LogError):
    """The group has moved on: nothing was written; poll again and go on from what is assigned."""


class AbortedError(LogError):
    """The transaction was given up and left nothing: go on from the committed positions."""


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic to create.

    Parameters
    ----------
    name
        Letters, digits, dot, underscore and hyphen.
    partitions
        At least 1. More allow more processes in a group; fixed from then on, for the keys'
        partitions would move.
    retention_ms
        How long a record is kept at least, by the time the log took it. None: for ever.
    retention_records
        How many records of a partition are kept at least. Embedded log only (Kafka counts
        bytes, not records, and keeps all that age allows). None: no bound.
    """

    name: str
    partitions: int = 1
    retention_ms: int | None = None
    retention_records: int | None = None


class Closing(ABC):
    """``with`` closes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Consumer(Closing):
    """A member of a group, reading the partitions that fell to it, each from its position.

    A partition starts at the group's committed position, or at its first record when there is
    none. Range assignment: partition i of every topic goes to the same member, if the topics
    have equally many partitions.
    """

    group: str

    @abstractmethod
    def poll(self, max_records: int = 1000, wait_s: float = 0.0) -> list[Record]:
        """The next records of the assigned partitions, in order within each partition.

        Rebalances happen inside this call: ``on_revoked`` with the partitions given up, then
        ``on_assigned`` with all partitions now held.

        Parameters
        ----------
        max_records
            At most so many.
        wait_s
            How long to wait when there is none; then an empty list.

        Raises
        ------
        OffsetError
            Retention has removed what was to be read next.
        LogUnavailableError
            The log cannot be reached.
        """

    def poll_runs(self, max_records: int = 1000, wait_s: float = 0.0) -> list[ValueRun]:
        """What ``poll`` gives, without keys, times and headers: faster for many."""
        records = self.poll(max_records, wait_s)
        return [_run(list(of)) for _, of in groupby(records, lambda record: record[:2])]

    @abstractmethod
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions held now."""

    @abstractmethod
    def position(self, at: TopicPartition) -> int:
        """The next offset that ``poll`` gives of an assigned partition."""

    @abstractmethod
    def seek(self, at: TopicPartition, offset: int) -> None:
        """Go on reading an assigned partition from an offset (allowed in ``on_assigned``)."""

    @abstractmethod
    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Give nothing of these assigned partitions until resumed; membership is kept."""

    @abstractmethod
    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Undo ``pause``."""


def _run(records: list[Record]) -> ValueRun:
    topic, partition, *_ = records[0]
    return ValueRun(topic, partition, [r.offset for r in records], [r.value for r in records])


class Transaction(Protocol):
    """What is written together."""

    def append(self, topic: str, records: Iterable[NewRecord]) -> None:
        """Append records, in order, to their partitions.

        Raises
        ------
        TopicError
            No such topic or partition, or a record with neither key nor partition.
        """

    def commit(
        self, consumer: Consumer | str, positions: Mapping[TopicPartition, Position]
    ) -> None:
        """Commit a group's positions when (and only when) the transaction does.

        Parameters
        ----------
        consumer
            The member that has read; a stale member is refused. The group's name alone skips
            that check (for readers that assign partitions themselves).
        positions
            Position by partition.
        """


class Producer(Closing):
    """The one writer under a transactional id; a newer one of the same id fences this one."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """All that is written in the ``with`` block, or, if it raises, nothing.

        Raises
        ------
        FencedError
            A newer producer of this transactional id exists.
        RebalancedError
            The committing consumer is no longer a current member of its group.
        AbortedError
            The log refused it for another reason.
        LogUnavailableError
            No answer in time; the outcome is unknown.
        """


class EventLog(Closing):
    """Topics of partitions of records, with transactions. A handle belongs to one thread."""

    @abstractmethod
    def create_topics(self, topics: Sequence[TopicSettings]) -> None:
        """Create the topics that do not exist yet.

        Raises
        ------
        TopicError
            A topic exists with another number of partitions.
        """

    @abstractmethod
    def topics(self) -> dict[str, int]:
        """Number of partitions by topic."""

    @abstractmethod
    def start_offsets(self, topic: str) -> list[int]:
        """Offset of the oldest record kept, by partition."""

    @abstractmethod
    def end_offsets(self, topic: str) -> list[int]:
        """Offset that comes after the last visible record, by partition (lag = end - position)."""

    @abstractmethod
    def committed(self, group: str, at: TopicPartition) -> Position | None:
        """The group's committed position of a partition, None if it has none."""

    @abstractmethod
    def read(self, at: TopicPartition, offset: int, max_records: int = 1000) -> list[Record]:
        """Committed records of one partition from an offset on; empty at the end.

        Raises
        ------
        OffsetError
            The offset is before the first record kept or past the end.
        """

    @abstractmethod
    def read_values(self, at: TopicPartition, offset: int, max_records: int = 1000) -> Values:
        """What ``read`` reads, as columns and without keys and headers: faster for many."""

    def holds(self, topic: str, marks: Sequence[RecordMark | None]) -> bool:
        """Whether the marked record of each partition stands where it stood, if that can be told.

        Else it is another log. ``None``: no record of that partition was read.
        """
        starts = self.start_offsets(topic)
        for partition, mark in enumerate(marks):
            if mark is None or mark[0] < starts[partition]:
                continue
            try:
                records = self.read(TopicPartition(topic, partition), mark[0], 1)
            except OffsetError:
                return False
            if not records or mark_of(records[0].offset, records[0].value) != tuple(mark):
                return False
        return True

    @abstractmethod
    def producer(self, transactional_id: str) -> Producer:
        """A writer; every earlier one of this id is fenced from now on."""

    @abstractmethod
    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str | None = None,
        on_assigned: Listener = lambda _: None,
        on_revoked: Listener = lambda _: None,
    ) -> Consumer:
        """Join a group that shares the partitions of some topics.

        Parameters
        ----------
        group
            Name of the group; every member reads the same topics.
        topics
            What to read.
        instance
            A name that this member keeps over restarts: the restarted process takes its own
            place at once, and what is left of the former one is refused. None: an unnamed
            member, whose partitions pass on when its session lapses.
        on_assigned
            Called in ``poll`` with all partitions held after a rebalance; may ``seek``.
        on_revoked
            Called in ``poll`` before partitions are given up: drop what is pending of them.
        """
