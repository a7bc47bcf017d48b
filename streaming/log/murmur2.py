"""The hash by which Kafka chooses the partition of a key, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.jit import jit

__all__ = ["partition_each"]


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
def partition_each(data: Any, ends: Any, partitions: Any) -> Any:
    """Partition of each key: murmur2 without its sign bit, modulo; key i ends at ``ends[i]``."""
    out = np.empty(len(ends), np.int64)
    start = 0
    for i, end in enumerate(ends):
        out[i] = (_murmur2(data, start, end) & 0x7FFFFFFF) % partitions
        start = end
    return out
