"""Rows of a log kept in bounded memory, to look at pairs of slices and at starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.categorical import Categorical
from monitoring.watch.scored_batch import Scored

__all__ = ["Codes", "RowSample", "Rows"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Codes = NDArray[np.int32]


class Rows(NamedTuple):
    """Rows of a log, by rising time.

    Parameters
    ----------
    time
        int64 (n,): ms, or row numbers.
    prediction, click
        float64 (n,): the predicted probability, and whether it was clicked.
    worth
        float64 (n,): what a click is worth; NaN: not known.
    weight
        float64 (n,): how many rows one stands for.
    codes, words
        By field: int32 (n,) numbers of its values, and their names.
    scale
        How many times as many rows the log has.
    """

    time: I64
    prediction: F64
    click: F64
    worth: F64
    weight: F64
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    scale: float = 1.0


class RowSample:
    """Rows of a log in bounded memory.

    Every click, as long as these are less than half of what there is room for, and of the rows not
    clicked a share, each with a weight; beyond, a share of all rows alike.

    Parameters
    ----------
    fields
        Slice fields.
    rng
        Chooses.
    most
        Rows.

    Examples
    --------
    >>> sample = RowSample((), np.random.default_rng(0), most=1000)
    >>> for _ in range(10):
    ...     sample.add(Scored.of([1] + [0] * 999, [0.1] * 1000), {})
    >>> rows = sample.rows(0, 1000)
    >>> len(rows.time) <= 1000, int(rows.click.sum()), rows.scale
    (True, 10, 1.0)
    """

    def __init__(
        self, fields: Sequence[str], rng: np.random.Generator, most: int = 1_000_000
    ) -> None:
        self.fields, self.rng, self.most = fields, rng, most
        self._of_all, self._of_unclicked = 1.0, 1.0  # shares that stay
        self._parts: list[list[NDArray[Any]]] = []
        self._count, self._clicks = 0, 0.0
        self._words: dict[str, Sequence[str]] = {field: () for field in fields}

    def add(self, scored: Scored, slices: Mapping[str, Categorical]) -> None:
        """Take a batch; a value's code is the same in all batches (:class:`Places`)."""
        for field in self.fields:
            if len(slices[field].words) > len(self._words[field]):
                self._words[field] = slices[field].values
        part = [
            scored.time_ms, scored.probability, scored.label, scored.bid,
            np.full(len(scored), 1.0), *(slices[field].codes for field in self.fields),
        ]  # fmt: skip
        part = self._thinned(part, self._of_all, self._of_unclicked)
        self._parts.append(part)
        self._count += len(part[0])
        self._clicks += float(part[2].sum())
        while self._count > self.most:
            self._halve()

    def _halve(self) -> None:
        """Leave out half of the rows not clicked; where clicks are most of them, of all."""
        of_all, of_unclicked = (0.5, 1.0) if 2 * self._clicks > self.most else (1.0, 0.5)
        self._of_all *= of_all
        self._of_unclicked *= of_unclicked
        self._parts = [self._thinned(part, of_all, of_unclicked) for part in self._parts]
        self._count = sum(len(part[0]) for part in self._parts)
        self._clicks = sum(float(part[2].sum()) for part in self._parts)

    def _thinned(
        self, part: list[NDArray[Any]], of_all: float, of_unclicked: float
    ) -> list[NDArray[Any]]:
        if of_all == of_unclicked == 1.0:
            return part
        share = of_all * np.where(part[2] == 1.0, 1.0, of_unclicked)
        stays = self.rng.random(len(share)) < share
        part = [column[stays] for column in part]
        part[4] = part[4] * of_all / share[stays]
        return part

    def rows(self, start: int, end: int) -> Rows:
        """Those of ``start <= time < end``, by rising time."""
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        order = order[slice(*np.searchsorted(columns[0][order], (start, end)))]
        time, prediction, click, worth, weight, *codes = (column[order] for column in columns)
        return Rows(
            time, prediction, click, worth, weight,
            dict(zip(self.fields, codes, strict=True)), self._words, 1.0 / self._of_all,
        )  # fmt: skip
