"""Values of fields as slots: numbers that the tests are kept by, bounded in number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.coded import MISSING, Coded
from monitoring.detect.kernels import first_seen

__all__ = ["OTHER", "Values"]

OTHER = "(other values)"
"""Stands for the values of a field that are too many to be watched one by one."""

I32 = NDArray[np.int32]


class Values:
    """The slots of each field.

    Slots ``2 f`` and ``2 f + 1`` are those of field f's missing and other values.

    Parameters
    ----------
    fields
        Their names.
    most
        How many slots there are.
    """

    def __init__(self, fields: Sequence[str], most: int) -> None:
        self.fields, self.most = tuple(fields), max(most, 4 * len(fields))
        self.slot_of: list[dict[str, int]] = [
            {MISSING: 2 * f, OTHER: 2 * f + 1} for f in range(len(fields))
        ]
        self.name: list[tuple[int, str]] = []
        for f in range(len(fields)):
            self.name += [(f, MISSING), (f, OTHER)]
        self.free: list[int] = []
        self._share = (self.most - 2 * len(fields)) // max(1, len(fields))

    @property
    def used(self) -> int:
        """Slots from 0 to this less 1 have been given."""
        return len(self.name)

    def slots(self, f: int, coded: Coded) -> I32:
        """Slots of the values of a column, new ones in order of their first row."""
        known, words = self.slot_of[f], coded.values
        table = np.fromiter((known.get(word, -1) for word in words), np.int32, len(words))
        new = np.empty(len(words), np.int32)
        for code in new[: first_seen(coded.codes, table, new)].tolist():
            table[code] = self._give(f, words[code])
        return table[coded.codes]

    def _give(self, f: int, word: str) -> int:
        known = self.slot_of[f]
        if len(known) - 2 >= self._share:
            return 2 * f + 1
        if self.free:
            slot = self.free.pop()
            self.name[slot] = (f, word)
        else:
            slot = len(self.name)
            self.name.append((f, word))
        known[word] = slot
        return slot

    def crowded(self) -> list[int]:
        """Fields that have used up more than three quarters of their slots."""
        return [f for f, known in enumerate(self.slot_of) if len(known) - 2 > 0.75 * self._share]

    def drop(self, f: int, rows: NDArray[np.float64], keep: NDArray[np.bool_]) -> I32:
        """Forget the rarer half of a field's values but those to keep; their slots."""
        slots = np.array([s for s in self.slot_of[f].values() if s > 2 * f + 1 and not keep[s]])
        if not len(slots):
            return np.empty(0, np.int32)
        slots = slots[np.lexsort((slots, rows[slots]))][: max(1, self._share // 2)]
        for slot in slots.tolist():
            del self.slot_of[f][self.name[slot][1]]
            self.name[slot] = (f, "")
        self.free += slots[::-1].tolist()
        return slots.astype(np.int32)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"name": [list(pair) for pair in self.name], "free": list(self.free)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self.name = [(int(f), str(word)) for f, word in state["name"]]
        self.free = [int(slot) for slot in state["free"]]
        gone = set(self.free)
        self.slot_of = [{} for _ in self.fields]
        for slot, (f, word) in enumerate(self.name):
            if slot not in gone:
                self.slot_of[f][word] = slot
