"""Which partition a key goes to, and which member reads a partition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from streaming.log.base import TopicError, TopicSettings
from streaming.log.records import NewRecord, TopicPartition

__all__ = [
    "assign_ranges",
    "check_differs",
    "key_partitions",
    "no_partition",
    "no_topic",
    "routed",
]


def key_partitions(keys: Sequence[bytes], partitions: int) -> list[int]:
    """The partition of each key: Kafka's default, murmur2 without its sign bit, modulo.

    Parameters
    ----------
    keys
        The keys' bytes.
    partitions
        How many the topic has.

    Returns
    -------
    list of int
        One per key, in [0, partitions).

    Examples
    --------
    >>> key_partitions([b"21", b"foobar"], 1000)
    [340, 166]

    References
    ----------
    org.apache.kafka.common.utils.Utils.murmur2 and BuiltInPartitioner.partitionForKey
    """
    if partitions == 1:
        return [0] * len(keys)
    from streaming.log.murmur2 import partition_each  # numba: half a second that few need

    ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
    data = np.frombuffer(b"".join(keys), np.uint8)
    out: list[int] = partition_each(data, ends, np.int64(partitions)).tolist()
    return out


def assign_ranges(
    members: Iterable[str], topics: Mapping[str, int]
) -> dict[str, frozenset[TopicPartition]]:
    """Partitions of each member: of every topic a contiguous range, the first members one more.

    Examples
    --------
    >>> shares = assign_ranges(["b", "a"], {"clicks": 3})
    >>> sorted(shares["a"]), sorted(shares["b"])[0].partition
    ([TopicPartition(topic='clicks', partition=0), TopicPartition(topic='clicks', partition=1)], 2)
    """
    names = sorted(members)
    return {name: frozenset(_shares(i, len(names), topics)) for i, name in enumerate(names)}


def _shares(i: int, members: int, topics: Mapping[str, int]) -> Iterable[TopicPartition]:
    for topic, partitions in topics.items():
        each, extra = divmod(partitions, members)
        first = i * each + min(i, extra)
        for partition in range(first, first + each + (i < extra)):
            yield TopicPartition(topic, partition)


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
