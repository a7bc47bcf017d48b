"""Values that begin to come, such as a new advertiser; and what stands apart from all others.

A new value is no fault, but whoever watches wants to know of it; and for some time its rows are
left out of the click rate of the whole stream, by which those of slices are judged: where ads begin
that are clicked often, every other slice would seem to fall. So are those of a slice whose clicks
had changed and whose alarm has closed, for they go on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect.rates import TICK, goes_with_time
from monitoring.watch.detect.slots import SlotTable

__all__ = ["WINDOW", "NewValues"]

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_TICKS = 4
WINDOW = _TICKS * TICK
"""Newest rows that are looked at."""
_LEAST = 50  # rows of a value
_OWN = 0.1  # of its rows that no larger new value has


class NewValues:
    """Which values are new.

    Parameters
    ----------
    fields
        How many slots a row has.
    share
        Of the rows since its first, that make a new value worth telling; 0: none is.
    """

    def __init__(self, fields: int, share: float) -> None:
        self.share = share
        self._counts = np.zeros((_TICKS + 1, fields), np.int64)  # of values, at the last ticks
        self.arrivals = np.zeros(fields, np.int64)
        self.apart: dict[int, int] = {}  # by slot, while it stands apart: row since which it does

    def tick(self, values: SlotTable, rows: I32, seen: int) -> list[int]:
        """Slots that are new, of the newest rows, those with most rows first.

        Of values that share their rows, as a new advertiser and its campaigns do, only the one
        with most rows is told; of two that have all the same ones, that of the smaller field.
        """
        known, fields = self._counts[0].copy(), len(values.fields)
        self._counts = np.roll(self._counts, -1, axis=0)
        newest = rows[-TICK:].max(axis=0) // fields + 1  # slots are given in order of first rows
        self._counts[-1] = np.maximum(self._counts[-2], newest)
        if self.share <= 0.0 or not known.all():
            return []
        found = []
        for f in np.flatnonzero(self._counts[-1] > known).tolist():
            here = rows[:, f]
            if values.is_whole(f, int(self._counts[-1, f])) and not goes_with_time(here):
                found += self._candidates(here, f, fields, int(known[f]))
        found.sort(key=lambda slot: (-int((rows[:, slot % fields] == slot).sum()),
                                     self._counts[-1, slot % fields]))  # fmt: skip
        told = np.isin(rows, list(self.apart)).any(axis=1)
        chosen = []
        for slot in found:
            mine = rows[:, slot % fields] == slot
            if (mine & ~told).sum() >= _OWN * mine.sum():
                chosen.append(slot)
                self.apart[slot] = seen - len(rows) + int(mine.argmax())
                self.arrivals[slot % fields] += 1
                told |= mine
        return chosen

    def _candidates(self, here: I32, f: int, fields: int, known: int) -> list[int]:
        counts = np.bincount(here // fields, minlength=known)
        frequent = known + np.flatnonzero(counts[known:] >= _LEAST)
        slots = [int(n) * fields + f for n in frequent]
        new = [(slot, here == slot) for slot in slots if slot not in self.apart]
        return [s for s, mine in new if float(mine[int(mine.argmax()) :].mean()) >= self.share]

    def usual_now(self, seen: int, rows: int) -> list[int]:
        """Slots that have stood apart for so many rows; they do no longer."""
        old = [slot for slot, first in self.apart.items() if seen - first >= rows]
        for slot in old:
            del self.apart[slot]
        return old

    def drop(self, slots: I32) -> None:
        """Let go of slots whose values are forgotten."""
        for slot in slots.tolist():
            self.apart.pop(slot, None)

    def state(self) -> dict[str, Any]:
        """All that a restart needs."""
        return {
            "counts": self._counts.copy(),
            "arrivals": self.arrivals.copy(),
            "apart": [[slot, first] for slot, first in self.apart.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self._counts, self.arrivals = np.array(state["counts"]), np.array(state["arrivals"])
        self.apart = {int(slot): int(first) for slot, first in state["apart"]}
