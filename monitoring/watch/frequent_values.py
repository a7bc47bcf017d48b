"""The most frequent values of a field with endlessly many, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.watch.categorical import U64, HashTable, cut_texts, hashes_of

__all__ = ["HeavyHitters"]

_LONGEST = 256
_SMALL = 1023


class HeavyHitters:
    """Counts of frequent values: Misra and Gries (1982), merged as Agarwal et al. (2012).

    Of the rows of n that were told (fading ones at their weight), a value's count is too low by
    at most ``n / (size + 1)``, and never too high: each value above that share is here.

    Parameters
    ----------
    size
        Values kept; up to twice as many between two cuts.

    Attributes
    ----------
    error
        Bound on what each count lacks.

    Examples
    --------
    >>> values = HeavyHitters(2)
    >>> values.add(pa.array(["a", "b", "c"]), np.array([5, 3, 1]))
    >>> values.top(2), values.error
    (['a', 'b'], 1.0)
    """

    def __init__(self, size: int) -> None:
        self.size, self.error = size, 0.0
        self._keep([], np.zeros(0))

    def _keep(self, names: list[str], counts: NDArray[np.float64]) -> None:
        self._names, self._counts, self._table = names, counts, HashTable()
        hashes = hashes_of(pa.array(names, pa.string()))
        self._table.add(hashes, np.arange(len(names), dtype=np.int32))

    @property
    def counts(self) -> dict[str, float]:
        """Rows by value, fading."""
        return dict(zip(self._names, self._counts.tolist(), strict=True))

    def add(self, words: pa.Array, rows: NDArray[np.int64], hashes: U64 | None = None) -> None:
        """Tell of a batch: its distinct values, the rows of each, and their hashes if known."""
        used, counts, off = _cut(rows, self.size)
        self.error += off
        short = cut_texts(words, _LONGEST)
        hashes = hashes if short is words and hashes is not None else hashes_of(short)
        at = self._table.find(hashes[used])
        known = at >= 0
        self._counts[at[known]] += counts[known]
        new, first = used[~known], len(self._names)
        self._table.add(hashes[new], np.arange(first, first + len(new), dtype=np.int32))
        self._names += short.take(pa.array(new)).to_pylist()
        self._counts = np.concatenate([self._counts, counts[~known]])
        if len(self._names) > 2 * self.size:
            used, counts, off = _cut(self._counts, self.size)
            self._keep([self._names[i] for i in used.tolist()], counts)
            self.error += off

    def fade(self, factor: float) -> None:
        """Let what was told so far weigh less."""
        self.error *= factor
        self._counts *= factor
        kept = np.flatnonzero(self._counts > 1e-3)
        if len(kept) < len(self._names):
            self._keep([self._names[i] for i in kept.tolist()], self._counts[kept])

    def top(self, most: int) -> list[str]:
        """The values of the highest counts, highest first."""
        counts, places = self._counts, np.arange(len(self._counts))
        if len(counts) > most > 0:  # the others need not be sorted
            places = np.flatnonzero(counts >= np.partition(counts, -most)[-most])
        highest = ((-counts[at], self._names[at]) for at in places.tolist())
        return [value for _, value in sorted(highest)[:most]]

    def state(self) -> dict[str, Any]:
        """Plain data for a snapshot."""
        return {"values": list(self._names), "counts": self._counts.copy(), "error": self.error}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self._keep(list(state["values"]), np.array(state["counts"], np.float64))
        self.error = float(state["error"])


def _cut(rows: NDArray[Any], size: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Which of the counts stay when at most ``size`` do, what is left of each, what came off."""
    used = np.flatnonzero(rows > 0)
    counts = rows[used].astype(np.float64)
    off = 0.0
    if len(used) > size:
        off = _nth_largest(rows[used], size)
        keep = counts > off
        used, counts = used[keep], counts[keep] - off
    return used, counts, off


def _nth_largest(counts: NDArray[Any], nth: int) -> float:
    """The largest but ``nth`` of some counts; most are small whole numbers."""
    if counts.dtype.kind == "i":
        at_least = np.bincount(np.minimum(counts, _SMALL))[::-1].cumsum()[::-1]
        value = int(np.flatnonzero(at_least > nth)[-1])
        if value < _SMALL:
            return float(value)
    return float(np.partition(counts, len(counts) - nth - 1)[len(counts) - nth - 1])
