"""Which partition a key goes to, and which member reads a partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from features.jit import jit
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
    ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
    data = np.frombuffer(b"".join(keys), np.uint8)
    out: list[int] = _murmur2_each(data, ends, np.int64(partitions)).tolist()
    return out


@jit
def _times_m(x: Any) -> Any:
    return (x * 0x5BD1E995) & 0xFFFFFFFF


@jit
def _murmur2(data: Any, start: Any, end: Any) -> Any:
    h = 0x9747B28C ^ (end - start)
    whole = start + (end - start) // 4 * 4
    for i in range(start, whole, 4):
        word = np.int64(0)
        for j in range(4):
            word |= np.int64(data[i + j]) << (8 * j)
        word = _times_m(word)
        h = _times_m(h) ^ _times_m(word ^ (word >> 24))
    for i in range(whole, end):
        h ^= np.int64(data[i]) << (8 * (i - whole))
    if whole < end:
        h = _times_m(h)
    h = _times_m(h ^ (h >> 13))
    return h ^ (h >> 15)


@jit  # not for stated types: that would compile, or load, when the module is imported
def _murmur2_each(data: Any, ends: Any, partitions: Any) -> Any:
    out = np.empty(len(ends), np.int64)
    start = 0
    for i, end in enumerate(ends):
        out[i] = (_murmur2(data, start, end) & 0x7FFFFFFF) % partitions
        start = end
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
