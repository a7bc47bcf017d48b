"""Weight tables without their zeros: the buckets that hold something, and what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack", "unpack"]

_AT_ONCE = 1 << 18


def pack(table: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[Any]]:
    """Numbers (uint32) and contents of the buckets that are not all zero.

    Parameters
    ----------
    table
        Numbers, buckets first.
    """
    used = [
        np.flatnonzero(part.reshape(len(part), -1).any(axis=1)) + start
        for start in range(0, len(table), _AT_ONCE)
        for part in [table[start : start + _AT_ONCE]]
    ]
    slots = np.concatenate([*used, np.empty(0, np.int64)]).astype(np.uint32)
    return slots, table[slots]


def unpack(packed: tuple[NDArray[np.uint32], NDArray[Any]], table: NDArray[Any]) -> None:
    """Put packed buckets into a table of zeros."""
    slots, values = packed
    table[slots] = values
