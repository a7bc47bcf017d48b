"""Eviction: buckets of values and pairs that stopped coming are emptied, for others to have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from learning.touched import mark_buckets, used_buckets

if TYPE_CHECKING:
    from learning.weights import Weights

__all__ = ["MARKS", "Eviction"]

MARKS = ("recent_fields", "recent_crosses", "since_sweep")
"""Arrays among those of the weights: buckets touched since the last sweep, and events since."""


class Eviction:
    """Empties, at every sweep, each bucket that no event has touched since the sweep before.

    What a bucket held is then as never seen. What is still unknown of an age is at most the time
    between two sweeps, which costs a byte a bucket; to know it to the event would cost eight. All
    that it goes by is in the arrays of the weights, so a model that was saved and restored evicts
    as one that was not.

    Parameters
    ----------
    every
        Events between sweeps: a bucket goes after so many to twice as many without it.

    Attributes
    ----------
    sweeps
        How many this process made.

    Examples
    --------
    >>> from features.spec import FieldSpec, HashSpec, SourceSpec, Spec
    >>> from learning import ClickLearner
    >>> from learning.touched import occupancy
    >>> spec = Spec(name="x", source=SourceSpec(label="click"), fields=(FieldSpec(names=("ad",)),),
    ...             hash=HashSpec(bits=8, evict_after=10))
    >>> model = ClickLearner(spec)
    >>> model.learn_one({"ad": "old"}, True)
    >>> for _ in range(19):
    ...     model.learn_one({"ad": "new"}, False)
    >>> occupancy(model.weights)["fields"] * 256
    1.0
    """

    def __init__(self, every: int) -> None:
        self.every, self.sweeps = every, 0

    def marks(self, fields: int, crosses: int) -> dict[str, NDArray[Any]]:
        """New arrays for tables of so many buckets."""
        rooms = np.zeros(fields, np.bool_), np.zeros(crosses, np.bool_), np.zeros(1, np.int64)
        return dict(zip(MARKS, rooms, strict=True))

    def stretches(self, weights: Weights, rows: int) -> Iterator[slice]:
        """Cut rows that are to be learned where sweeps are due."""
        start = 0
        while start < rows:
            due = self.every - int(weights.arrays["since_sweep"][0])
            stop = min(rows, start + due)
            yield slice(start, stop)
            start = stop

    def note(self, weights: Weights, learned: Hashed) -> None:
        """Note a stretch that was learned; sweep, if that is due after it."""
        fields, crosses, since = (weights.arrays[name] for name in MARKS)
        mark_buckets(weights, learned, fields, crosses)
        since[0] += learned.rows
        if since[0] < self.every:
            return
        for table, recent in (weights.fields, fields), (weights.crosses, crosses):
            table[used_buckets(table) & ~recent] = 0.0
            recent[:] = False
        since[0] = 0
        self.sweeps += 1
