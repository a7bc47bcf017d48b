"""What both logs check and decide alike: the partition of each record, and what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from streaming.log.base import NewRecord, TopicPartition, TopicSettings
from streaming.log.errors import TopicError
from streaming.log.partition import key_partitions

__all__ = ["check_differs", "no_partition", "no_topic", "routed"]


def routed(
    topic: str, records: Iterable[NewRecord], partitions: int
) -> tuple[list[NewRecord], list[int]]:
    """The records and the partition of each: the stated one, or else the key's.

    Raises
    ------
    TopicError
        A stated partition does not exist, or there is neither partition nor key.
    """
    batch = list(records)
    keyed = iter(key_partitions([_key(topic, r) for r in batch if r[2] is None], partitions))
    chosen = [next(keyed) if r[2] is None else r[2] for r in batch]
    if chosen and not 0 <= min(chosen) <= max(chosen) < partitions:
        wrong = next(p for p in chosen if not 0 <= p < partitions)
        raise no_partition(TopicPartition(topic, wrong), partitions)
    return batch, chosen


def _key(topic: str, record: NewRecord) -> bytes:
    if record.key is None:
        raise TopicError(f"{topic}: a record without key. Fix: give it a key or a partition")
    return record.key


def no_topic(topic: str, existing: Collection[str]) -> TopicError:
    """The error that a topic does not exist."""
    names = ", ".join(sorted(existing)) or "none"
    return TopicError(f"no topic {topic!r} (there are: {names}). Fix: create it first")


def no_partition(at: TopicPartition, partitions: int) -> TopicError:
    """The error that a topic has fewer partitions."""
    return TopicError(f"{at.topic} has no partition {at.partition}. Fix: use 0 to {partitions - 1}")


def check_differs(topic: TopicSettings, found: int) -> None:
    """Refuse to use a topic whose number of partitions is another.

    Raises
    ------
    TopicError
        It is.
    """
    if found != topic.partitions:
        raise TopicError(
            f"topic {topic.name!r} has {found} partitions, the settings say {topic.partitions}."
            " Fix: keep the number, or use another topic (keys would move)"
        )
