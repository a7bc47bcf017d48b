"""Values of fields as slots, numbers that the tests are kept by; and the last rows, by slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.jit import jit, read_only
from monitoring.watch.categorical import MISSING, Categorical, HashTable, hashes_of
from monitoring.watch.detect.state import Rows

__all__ = ["OTHER", "History", "SlotTable", "first_seen", "put_slots", "renamed"]

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]


@jit
def renamed(slots: I32, names: I32, fields: I64) -> None:
    """Replace each slot of some fields by its new name."""
    for i in range(len(slots)):
        for f in fields:
            slots[i, f] = names[slots[i, f]]


@jit
def first_seen(codes: I32, known: I32, new: I32) -> int:
    """Codes that are not known yet, in order of their first row; how many."""
    count = 0
    for i in range(len(codes)):
        code = codes[i]
        if known[code] == -1:
            known[code] = -2
            new[count] = code
            count += 1
    return count


@jit
def put_slots(codes: I32, slots: I32, out: I32, field: int) -> None:
    """The slot of each row's code, into a column of ``out``."""
    for i in range(len(codes)):
        out[i, field] = slots[codes[i]]


OTHER = "(other values)"
"""Stands for the values of a field that are too many to be watched one by one."""


class SlotTable:
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
    >>> values = SlotTable(["ad", "site"], most=100)
    >>> values.slots(1, Categorical.of(pa.array(["news", None, "blog"]))).tolist()
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

    def _index(self, f: int) -> HashTable:
        table, words = HashTable(), self._words[f]
        held = np.ones(len(words), np.bool_)
        held[np.array(self._free[f], np.int64) // len(self.fields)] = False
        kept = np.flatnonzero(held)
        texts = pa.array(words, pa.string()).take(pa.array(kept))
        table.add(hashes_of(texts), (kept * len(self.fields) + f).astype(np.int32))
        return table

    @property
    def room(self) -> int:
        """Every slot is below this."""
        return max((len(words) for words in self._words), default=0) * len(self.fields)

    def named(self, slot: int) -> tuple[int, str]:
        """Number of the field and the value of a slot."""
        n, f = divmod(slot, len(self.fields))
        return f, self._words[f][n]

    def slots(self, f: int, coded: Categorical) -> I32:
        """Slots of the values of a column, new ones in order of their first row."""
        slots: I32 = self._slots_of(f, coded)[coded.codes]
        return slots

    def put(self, f: int, coded: Categorical, out: I32) -> None:
        """Write :meth:`slots` into column ``f`` of ``out``."""
        put_slots(coded.codes, self._slots_of(f, coded), out, f)

    def _slots_of(self, f: int, coded: Categorical) -> I32:
        """By code."""
        table = self._slot_of[f].find(coded.hashes)
        new = np.empty(len(table), np.int32)
        new = new[: first_seen(coded.codes, table, new)]
        if len(new):
            room = len(self._free[f]) + max(0, self._share - len(self._words[f]))
            table[new[room:]] = len(self.fields) + f
            given = new[:room]
            table[given] = self._give(f, coded.words.take(pa.array(given)).to_pylist())
            self._slot_of[f].add(coded.hashes[given], table[given])
        return table

    def _give(self, f: int, given: Sequence[str]) -> list[int]:
        """Give values that have none a slot each."""
        words, free, stride = self._words[f], self._free[f], len(self.fields)
        again = max(0, len(free) - len(given))
        slots = free[: again - 1 if again else None : -1]
        del free[again:]
        for slot, word in zip(slots, given, strict=False):
            words[slot // stride] = word
        first = len(words)
        words += given[len(slots) :]
        return slots + [n * stride + f for n in range(first, len(words))]

    def is_whole(self, f: int, values: int | None = None) -> bool:
        """Whether no value of a field was ever forgotten: its slots mean now what they meant.

        With so many values, or as many as it has.
        """
        return (len(self._words[f]) if values is None else values) <= 0.75 * self._share

    def crowded(self) -> list[int]:
        """Fields that have used up more than three quarters of their slots."""
        fields = range(len(self.fields))
        used = (len(self._words[f]) - len(self._free[f]) for f in fields)
        return [f for f, count in zip(fields, used, strict=True) if count > 0.75 * self._share]

    def drop(self, f: int, rows: NDArray[np.float32], keep: NDArray[np.bool_]) -> I32:
        """Forget the rarer half of a field's values but those to keep; their slots."""
        stride, words = len(self.fields), self._words[f]
        slots = np.arange(len(words), dtype=np.int32) * stride + f
        held = ~keep[slots]
        held[:2] = False
        held[np.array(self._free[f], np.int64) // stride] = False
        slots = slots[held]
        rarest = np.argsort(rows[slots], kind="stable")
        slots = slots[rarest][: max(1, self._share // 2)]
        for n in (slots // stride).tolist():
            words[n] = ""
        self._free[f] += slots[::-1].tolist()
        self._slot_of[f].remove(slots)
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


_COLUMNS = {
    "time": np.int64, "p": np.float64, "y": np.float32, "bid": np.float32, "delay": np.float32,
    "model": np.int64, "age": np.float32,
}  # fmt: skip
"""Of :class:`Rows`, as narrow as they need to be; ``slots`` come last."""


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
        self.slots = np.zeros((rows, fields), np.int32)
        columns = {name: np.zeros(rows, kind) for name, kind in _COLUMNS.items()}
        self._columns: dict[str, NDArray[Any]] = columns | {"slots": self.slots}

    def append(self, rows: Rows, start: int, stop: int) -> None:
        """Keep rows ``start`` to ``stop - 1``."""
        self.seen += max(0, stop - self.size - start)  # of these nothing would be left
        start = max(start, stop - self.size)
        while start < stop:
            at = self.seen % self.size
            take = min(stop - start, self.size - at)
            for name, column in self._columns.items():
                column[at : at + take] = getattr(rows, name)[start : start + take]
            self.seen += take
            start += take

    def rows(self, absent: NDArray[np.int32]) -> Rows:
        """All rows, oldest first, as a copy."""
        order = self._order()
        columns = {name: column[order] for name, column in self._columns.items()}
        for name, column in columns.items():
            if column.dtype == np.float32:
                columns[name] = column.astype(np.float64)
        columns["time"] = read_only(columns["time"])
        return Rows(**columns, absent=absent)

    def sums(self, slot: int) -> tuple[float, float, float]:
        """Of the rows of a slot: expected clicks, clicks, and worth x (prediction - click)."""
        at = np.flatnonzero(self.slots[: self.seen, slot % self.slots.shape[1]] == slot)
        p, y, bid = (self._columns[name][at] for name in ("p", "y", "bid"))
        known = ~np.isnan(bid)
        money = float((bid * (p - y))[known].sum()) if known.any() else np.nan
        return float(p.sum()), float(y.sum()), money

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
        return {name: column[order] for name, column in self._columns.items()} | {"seen": self.seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        kept = len(state["time"])
        self.seen = int(state["seen"])
        at = (np.arange(kept) + self.seen - kept) % self.size
        for name in self._columns.keys() & state.keys():  # an older version kept no models
            self._columns[name][at] = state[name]
