"""The last rows, kept to date an alarm and to find its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.detect.slots import renamed
from monitoring.detect.state import Rows

__all__ = ["History"]

_COLUMNS = ("time", "p", "y", "bid", "delay", "slots")


class History:
    """A ring of rows.

    Parameters
    ----------
    rows
        How many are kept.
    fields
        How many slots a row has.
    """

    def __init__(self, rows: int, fields: int) -> None:
        self.size, self.seen = rows, 0
        self.time = np.zeros(rows, np.int64)
        self.p = np.zeros(rows)
        self.y = np.zeros(rows, np.float32)
        self.bid = np.zeros(rows, np.float32)
        self.delay = np.zeros(rows, np.float32)
        self.slots = np.zeros((rows, fields), np.int32)

    def append(self, rows: Rows, start: int, stop: int) -> None:
        """Keep rows ``start`` to ``stop - 1``."""
        self.seen += max(0, stop - self.size - start)  # of these nothing would be left
        start = max(start, stop - self.size)
        while start < stop:
            at = self.seen % self.size
            take = min(stop - start, self.size - at)
            for name in _COLUMNS:
                getattr(self, name)[at : at + take] = getattr(rows, name)[start : start + take]
            self.seen += take
            start += take

    def rows(self, absent: NDArray[np.int32]) -> Rows:
        """All rows, oldest first, as a copy."""
        order = self._order()
        return Rows(
            self.time[order],
            self.p[order],
            self.y[order].astype(np.float64),
            self.bid[order].astype(np.float64),
            self.delay[order].astype(np.float64),
            self.slots[order],
            absent,
        )

    def newest(self, rows: int) -> NDArray[np.int32]:
        """Slots of the newest rows, oldest first."""
        rows = min(rows, self.seen, self.size)
        return self.slots[np.arange(self.seen - rows, self.seen) % self.size]

    def _order(self) -> NDArray[np.int64]:
        if self.seen <= self.size:
            return np.arange(self.seen)
        return (np.arange(self.size) + self.seen) % self.size

    def rename(self, names: NDArray[np.int32], fields: NDArray[np.int64]) -> None:
        """Replace each slot of some fields by ``names[slot]``."""
        renamed(self.slots[: self.seen], names, fields)

    def state(self) -> dict[str, Any]:
        """Everything, as arrays."""
        order = self._order()
        return {name: getattr(self, name)[order] for name in _COLUMNS} | {"seen": self.seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        kept = len(state["time"])
        self.seen = int(state["seen"])
        at = (np.arange(kept) + self.seen - kept) % self.size
        for name in _COLUMNS:
            getattr(self, name)[at] = state[name]
