"""Which buckets of the weight tables some events touch, and which ones hold anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from features.jit import jit
from learning.buckets import Events, Slots, expand_event, slots_for

if TYPE_CHECKING:
    from learning.weights import Weights  # they have an eviction, which marks buckets

__all__ = ["Touched", "mark_buckets", "occupancy", "used_buckets"]

Marks = NDArray[np.bool_]
_IN_BUCKETS = np.ones(2, np.int64)  # sizes of the tables' buckets: places are their numbers


@jit
def _mark(events: Events, slots: Slots, field_marks: Marks, cross_marks: Marks) -> None:
    tokens, starts, rows, fields, crosses, shifts, sizes = events
    field, cross, field_of, cross_of, members = slots
    for row in range(rows):
        f, c = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes,
            field, cross, field_of, cross_of, members, 0,
        )  # fmt: skip
        for i in range(f):
            field_marks[field[0, i]] = True
        for i in range(c):
            cross_marks[cross[0, i]] = True


@jit
def _used(table: NDArray[Any], out: Marks) -> None:
    for bucket in range(len(table)):
        for i in range(table.shape[1]):
            if table[bucket, i] != 0.0:
                out[bucket] = True
                break


def used_buckets(table: NDArray[Any]) -> Marks:
    """Whether each bucket holds anything but zeros; without the GIL.

    Examples
    --------
    >>> table = np.zeros((4, 2))
    >>> table[2, 1] = 3.0
    >>> used_buckets(table).tolist()
    [False, False, True, False]
    """
    out = np.zeros(len(table), np.bool_)
    if table.size:
        _used(table, out)
    return out


def occupancy(weights: Weights) -> dict[str, float]:
    """How full the tables are, by name.

    It is also the collision rate: a value's bucket is another's as well with this probability,
    however often the value comes, because the hash does not know that.

    Examples
    --------
    >>> from features.spec import HashSpec, LearnerSpec
    >>> from learning.weights import weights_for
    >>> weights = weights_for(HashSpec(bits=4), LearnerSpec(), np.empty((0, 3), np.int32), 1)
    >>> weights.fields[3, 6] = 1.0
    >>> occupancy(weights)
    {'fields': 0.0625}
    """
    tables = {"fields": weights.fields, "crosses": weights.crosses}
    return {
        name: int(np.count_nonzero(used_buckets(table))) / len(table)
        for name, table in tables.items()
        if len(table)
    }


def mark_buckets(weights: Weights, hashed: Hashed, fields: Marks, crosses: Marks) -> None:
    """Mark the buckets of some events, bool by bucket of each table."""
    if hashed.rows:
        events = Events(
            hashed.tokens, hashed.starts, hashed.rows, hashed.fields, weights.index,
            weights.shifts, _IN_BUCKETS,
        )  # fmt: skip
        _mark(events, slots_for(events), fields, crosses)


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
        self._weights = weights
        self.fields = np.zeros(len(weights.fields), np.bool_)
        self.crosses = np.zeros(len(weights.crosses), np.bool_)

    def add(self, hashed: Hashed) -> None:
        """Note the buckets of some events."""
        mark_buckets(self._weights, hashed, self.fields, self.crosses)

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the numbers of the field and the cross buckets, and begin anew."""
        found = np.flatnonzero(self.fields), np.flatnonzero(self.crosses)
        self.fields[found[0]] = False
        self.crosses[found[1]] = False
        return found
