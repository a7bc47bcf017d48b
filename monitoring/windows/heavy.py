"""The most frequent values of a field with endlessly many, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["HeavyHitters"]

_LONGEST = 256


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
    counts
        Rows by value, fading.
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
        self.size = size
        self.counts: dict[str, float] = {}
        self.error = 0.0

    def add(self, words: pa.Array, rows: NDArray[np.int64]) -> None:
        """Tell of a batch: its distinct values, and the rows of each."""
        used, counts = _cut(rows, self.size)
        self.error += counts[1]
        for word, count in zip(words.take(pa.array(used)).to_pylist(), counts[0], strict=True):
            value = word[:_LONGEST]
            self.counts[value] = self.counts.get(value, 0.0) + count
        if len(self.counts) > 2 * self.size:
            self._shrink()

    def _shrink(self) -> None:
        names, counts = list(self.counts), np.array(list(self.counts.values()))
        used, (kept, off) = _cut(counts, self.size)
        self.counts = {names[i]: count for i, count in zip(used.tolist(), kept, strict=True)}
        self.error += off

    def fade(self, factor: float) -> None:
        """Let what was told so far weigh less."""
        self.counts = {v: c * factor for v, c in self.counts.items() if c * factor > 1e-3}
        self.error *= factor

    def top(self, most: int) -> list[str]:
        """The values of the highest counts, highest first."""
        order = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return [value for value, _ in order[:most]]

    def state(self) -> dict[str, Any]:
        """Plain data for a snapshot."""
        values = list(self.counts)
        return {
            "values": values,
            "counts": np.array(list(self.counts.values())),
            "error": self.error,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self.counts = dict(zip(state["values"], state["counts"].tolist(), strict=True))
        self.error = float(state["error"])


def _cut(rows: NDArray[Any], size: int) -> tuple[NDArray[np.int64], tuple[list[float], float]]:
    """Which of the counts stay when at most ``size`` do, what is left of each, what came off."""
    used = np.flatnonzero(rows > 0)
    counts = rows[used].astype(np.float64)
    off = 0.0
    if len(used) > size:
        off = float(np.partition(counts, len(counts) - size - 1)[len(counts) - size - 1])
        keep = counts > off
        used, counts = used[keep], counts[keep] - off
    return used, (counts.tolist(), off)
