"""Token hashes of some events, dense where every field has one token, else ragged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hashed", "Part", "assemble"]


@dataclass(frozen=True, slots=True)
class Hashed:
    """Token hashes, event after event, field after field.

    Parameters
    ----------
    tokens
        uint64, contiguous.
    starts
        int64 of rows * fields + 1: where the tokens of (row, field) start in ``tokens``.
        Empty if each field has just one token: then it is ``row * fields + field``.
    rows, fields
        How many there are.
    """

    tokens: NDArray[np.uint64]
    starts: NDArray[np.int64]
    rows: int
    fields: int

    def part(self, start: int, stop: int) -> Hashed:
        """Events ``start`` to ``stop``."""
        if (start, stop) == (0, self.rows):
            return self
        f = self.fields
        if not len(self.starts):
            return Hashed(self.tokens[start * f : stop * f], self.starts, stop - start, f)
        at = self.starts[start * f : stop * f + 1]
        return Hashed(self.tokens[at[0] : at[-1]], at - at[0], stop - start, f)


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of one field over a batch; ``counts`` (int64 per row) only for a list field."""

    tokens: NDArray[np.uint64]
    counts: NDArray[np.int64] | None = None

    def kept(self, good: NDArray[np.bool_]) -> Part:
        """Only the rows that are good."""
        if self.counts is None:
            return Part(self.tokens[good])
        return Part(self.tokens[np.repeat(good, self.counts)], self.counts[good])


def assemble(parts: list[Part], good: NDArray[np.bool_] | None, rows: int) -> Hashed:
    """Put the fields of a batch together, row by row.

    Parameters
    ----------
    parts
        One a field.
    good
        Rows to keep; ``None`` for all.
    rows
        Rows in the parts.
    """
    if good is not None:
        parts, rows = [part.kept(good) for part in parts], int(good.sum())
    if all(part.counts is None for part in parts):
        return Hashed(_interleave(parts, rows), np.empty(0, np.int64), rows, len(parts))
    starts = _starts(parts, rows)
    tokens = np.empty(starts[-1], np.uint64)
    for number, part in enumerate(parts):
        first = starts[:-1].reshape(rows, len(parts))[:, number]
        tokens[_places(first, part.counts)] = part.tokens
    return Hashed(tokens, starts, rows, len(parts))


def _interleave(parts: list[Part], rows: int) -> NDArray[np.uint64]:
    table = np.empty((rows, len(parts)), np.uint64)
    for number, part in enumerate(parts):
        table[:, number] = part.tokens
    return table.reshape(-1)


def _starts(parts: list[Part], rows: int) -> NDArray[np.int64]:
    counts = np.ones((rows, len(parts)), np.int64)
    for number, part in enumerate(parts):
        if part.counts is not None:
            counts[:, number] = part.counts
    starts = np.zeros(rows * len(parts) + 1, np.int64)
    np.cumsum(counts.reshape(-1), out=starts[1:])
    return starts


def _places(first: NDArray[np.int64], counts: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Indices ``first[i], first[i] + 1, ...``, ``counts[i]`` of them, for each row i."""
    if counts is None:
        return first
    before = np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + np.arange(len(before)) - before
