"""Which buckets of the weight tables some events touch, and which ones hold anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from features.jit import jit
from learning.buckets import capacity, expand_event
from learning.weights import Weights

__all__ = ["Touched", "used_buckets"]

Marks = NDArray[np.bool_]


@jit
def _mark(
    tokens: NDArray[np.uint64], starts: NDArray[np.int64], rows: int, fields: int,
    crosses: NDArray[np.int32], shifts: NDArray[np.uint64], sizes: NDArray[np.int64],
    room: tuple[int, int], field_marks: Marks, cross_marks: Marks,
) -> None:  # fmt: skip
    field_slots, cross_slots = np.empty(room[0], np.int64), np.empty(room[1], np.int64)
    for row in range(rows):
        n_fields, n_crosses = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes, field_slots, 0, cross_slots, 0
        )
        for i in range(n_fields):
            field_marks[field_slots[i]] = True
        for i in range(n_crosses):
            cross_marks[cross_slots[i]] = True


@jit
def _used(table: NDArray[np.float64], out: Marks) -> None:
    for bucket in range(len(table)):
        for i in range(table.shape[1]):
            if table[bucket, i] != 0.0:
                out[bucket] = True
                break


def used_buckets(table: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the buckets that are not all zero; without the GIL.

    Examples
    --------
    >>> table = np.zeros((4, 2, 1))
    >>> table[2, 1, 0] = 3.0
    >>> used_buckets(table).tolist()
    [2]
    """
    out = np.zeros(len(table), np.bool_)
    if table.size:
        _used(table.reshape(len(table), -1), out)
    return np.flatnonzero(out)


class Touched:
    """Collects the buckets that learning some events changes.

    Parameters
    ----------
    weights
        That learn them.

    Attributes
    ----------
    fields, crosses
        bool by bucket.
    """

    def __init__(self, weights: Weights) -> None:
        self._shifts, self._index = weights.shifts, weights.index
        self._sizes = np.array([1, 1 if weights.kc else 0], np.int64)
        self.fields = np.zeros(len(weights.fields), np.bool_)
        self.crosses = np.zeros(len(weights.crosses), np.bool_)

    def add(self, hashed: Hashed) -> None:
        """Note the buckets of some events."""
        if hashed.rows:
            room = capacity(hashed.starts, hashed.rows, hashed.fields, self._index)
            _mark(
                hashed.tokens, hashed.starts, hashed.rows, hashed.fields, self._index,
                self._shifts, self._sizes, room, self.fields, self.crosses,
            )  # fmt: skip

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the numbers of the field and the cross buckets, and begin anew."""
        found = np.flatnonzero(self.fields), np.flatnonzero(self.crosses)
        self.fields[found[0]] = False
        self.crosses[found[1]] = False
        return found
