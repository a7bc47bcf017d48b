"""Weight tables without their zeros: the buckets that hold something, and what they hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack", "unpack"]

F64 = NDArray[np.float64]
_AT_ONCE = 1 << 18


def pack(table: F64) -> tuple[NDArray[np.uint32], F64]:
    """Numbers (uint32) and contents of the buckets that are not all zero.

    Parameters
    ----------
    table
        float64, buckets first.
    """
    used = [
        np.flatnonzero(part.reshape(len(part), -1).any(axis=1)) + start
        for start in range(0, len(table), _AT_ONCE)
        for part in [table[start : start + _AT_ONCE]]
    ]
    slots = np.concatenate([*used, np.empty(0, np.int64)]).astype(np.uint32)
    return slots, table[slots]


def unpack(packed: tuple[NDArray[np.uint32], F64], table: F64) -> None:
    """Put packed buckets into a table of zeros."""
    slots, values = packed
    table[slots] = values
