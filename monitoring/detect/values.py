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

    The n-th value of field f of F fields has slot ``n F + f``, whatever the other fields have
    had; the first is that of missing values, the second that of all others.

    Parameters
    ----------
    fields
        Their names.
    most
        How many slots there are.

    Examples
    --------
    >>> import pyarrow as pa
    >>> values = Values(["ad", "site"], most=100)
    >>> values.slots(1, Coded.of(pa.array(["news", None, "blog"]))).tolist()
    [5, 1, 7]
    >>> values.named(7)
    (1, 'blog')
    """

    def __init__(self, fields: Sequence[str], most: int) -> None:
        self.fields = tuple(fields)
        self._share = max(3, most // max(1, len(fields)))
        self._words: list[list[str]] = [[MISSING, OTHER] for _ in fields]
        self._free: list[list[int]] = [[] for _ in fields]
        self._slot_of = [self._index(f) for f in range(len(fields))]

    def _index(self, f: int) -> dict[str, int]:
        free = set(self._free[f])
        words = enumerate(self._words[f])
        return {word: self._slot(n, f) for n, word in words if self._slot(n, f) not in free}

    def _slot(self, n: int, f: int) -> int:
        return n * len(self.fields) + f

    @property
    def room(self) -> int:
        """Every slot is below this."""
        return max((len(words) for words in self._words), default=0) * len(self.fields)

    def named(self, slot: int) -> tuple[int, str]:
        """Number of the field and the value of a slot."""
        n, f = divmod(slot, len(self.fields))
        return f, self._words[f][n]

    def slots(self, f: int, coded: Coded) -> I32:
        """Slots of the values of a column, new ones in order of their first row."""
        known, words = self._slot_of[f], coded.values
        table = np.fromiter((known.get(word, -1) for word in words), np.int32, len(words))
        new = np.empty(len(words), np.int32)
        for code in new[: first_seen(coded.codes, table, new)].tolist():
            table[code] = self._give(f, words[code])
        return table[coded.codes]

    def _give(self, f: int, word: str) -> int:
        known, words = self._slot_of[f], self._words[f]
        if self._free[f]:
            slot = self._free[f].pop()
            words[slot // len(self.fields)] = word
        elif len(words) < self._share:
            slot = self._slot(len(words), f)
            words.append(word)
        else:
            return self._slot(1, f)
        known[word] = slot
        return slot

    def crowded(self) -> list[int]:
        """Fields that have used up more than three quarters of their slots."""
        return [f for f, known in enumerate(self._slot_of) if len(known) > 0.75 * self._share]

    def drop(self, f: int, rows: NDArray[np.float64], keep: NDArray[np.bool_]) -> I32:
        """Forget the rarer half of a field's values but those to keep; their slots."""
        used = [s for s in self._slot_of[f].values() if s >= 2 * len(self.fields) and not keep[s]]
        slots = np.array(used, np.int32)
        slots = slots[np.lexsort((slots, rows[slots]))][: max(1, self._share // 2)]
        for slot in slots.tolist():
            n = slot // len(self.fields)
            del self._slot_of[f][self._words[f][n]]
            self._words[f][n] = ""
        self._free[f] += slots[::-1].tolist()
        return slots

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "words": [list(words) for words in self._words],
            "free": [list(free) for free in self._free],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self._words = [[str(word) for word in words] for words in state["words"]]
        self._free = [[int(slot) for slot in free] for free in state["free"]]
        self._slot_of = [self._index(f) for f in range(len(self.fields))]
