"""Which partition a key goes to, and which member reads a partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streaming.log.base import TopicPartition

__all__ = ["assign_ranges", "key_partitions"]


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
    from streaming.log.murmur2 import murmur2_each  # numba: half a second that few need

    out: list[int] = murmur2_each(keys, partitions).tolist()
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
