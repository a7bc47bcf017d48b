"""Whether the click rate of a slice has moved: its clicks before and after, whatever is predicted.

Each slot has panes of some expected clicks, the older the longer, and sums of all before; a pane
ends at a tick. What is expected is the rate of the whole stream, times what the part of the day is
for the slice. At the end of each pane the likelihood ratio of two rates against one is taken at
every start of the second; the evidence that is needed grows with how many such stretches there are,
``log(false_alarm_clicks * fields / (share * clicks of the stretch)) + moved_margin``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect import rate_kernels as k
from monitoring.watch.detect.kernels import market
from monitoring.watch.detect.state import EXPECTED, LATELY, DetectorState, Rows
from monitoring.watch.settings import DetectSettings

__all__ = ["TICK", "ClickRates", "goes_with_time", "steady_market"]

I32 = NDArray[np.int32]
F64 = NDArray[np.float64]

TICK = 2048
"""Rows between looks."""
_PART_MS = 86_400_000 // k.PARTS
_TIED = 0.1
_STRETCHES = 8
_LAST = 4096  # rows
_SURELY = 20.0  # rows that a value has of those, by its share
_NOTHING = (-np.inf, 1.0, 0.0, 1.0)


class ClickRates:
    """The panes of all slots.

    Parameters
    ----------
    settings
        Of the detectors.
    fields
        How many slots a row has.
    """

    def __init__(self, settings: DetectSettings, fields: int) -> None:
        self.settings = settings
        self.on = settings.moved_share > 0.0
        share = settings.moved_share or 1.0
        needed = settings.false_alarm_clicks * max(1, fields) / share
        self._log_budget = math.log(needed) + settings.moved_margin
        self.book = np.full(0, -1, np.int32)
        self.tied = np.zeros(fields, np.bool_)
        self.origin_ms = -1
        self._used = 0
        self._make(64)

    def _make(self, size: int) -> None:
        self.panes = np.zeros((size, k.MOST, 4), np.float32)
        self.filled = np.zeros(size, np.int32)
        self.before = np.zeros((size, 2))
        self.daily = np.zeros((size, k.PARTS, 2), np.float32)
        self.best = np.full((size, 4), _NOTHING)

    # --- rows

    def tick(self, state: DetectorState, time_ms: int) -> bool:
        """End the panes that are full; whether the click rate of a slot has moved."""
        if self.origin_ms < 0:
            self.origin_ms = time_ms // 86_400_000 * 86_400_000
        full = k.full_slots(state.sums, state.open_of, self.tied, self.settings.pane_clicks)
        if not len(full):
            return False
        settings = self.settings
        now = (time_ms - self.origin_ms) / _PART_MS
        best = k.add_panes(
            full, self._books(full, len(state.sums)), state.sums, self.panes, self.filled,
            self.before, self.daily, self.best, now, settings.moved_band, settings.least_clicks,
            settings.longest_clicks, self._log_budget,
        )  # fmt: skip
        return best > 0.0

    def _books(self, full: I32, slots: int) -> I32:
        """Where the panes of some slots are; new slots are given room."""
        if slots > len(self.book):
            more = np.full(slots - len(self.book), -1, np.int32)
            self.book = np.concatenate([self.book, more])
        new = full[self.book[full] < 0]
        end = self._used + len(new)
        if end > len(self.panes):
            self._hold(self._arrays(), max(end, 2 * len(self.panes)))
        self.book[new] = np.arange(self._used, end, dtype=np.int32)
        self._used = end
        books: I32 = self.book[full]
        return books

    def _hold(self, arrays: Mapping[str, NDArray[Any]], room: int = 64) -> None:
        """Make room for so many books at least, and put these there."""
        used = len(arrays["filled"])
        self._make(max(room, used))
        for name in self._arrays():
            getattr(self, name)[:used] = arrays[name]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = ("panes", "filled", "before", "daily", "best")
        return {name: getattr(self, name)[: self._used] for name in names}

    # --- what is known

    def evidence(self, slots: int) -> tuple[F64, F64]:
        """By slot: evidence that its click rate has moved, and what is needed."""
        evidence, need = np.zeros(slots), np.ones(slots)
        known = np.flatnonzero(self.book >= 0)
        best = self.best[self.book[known]]
        need[known] = best[:, k.NEED]
        evidence[known] = np.maximum(best[:, k.SCORE] + need[known], 0.0)
        return evidence, need

    def usual(self, slot: int) -> tuple[F64, tuple[float, float]]:
        """What each part of the day is for a slot; its clicks and expected ones in all."""
        book = self.book[slot]
        of, by = self.daily[book, :, 0].astype(float), self.daily[book, :, 1].astype(float)
        level = (of.sum() + 5.0) / (by.sum() + 5.0)
        panes = self.panes[book, : self.filled[book], :2].sum(axis=0, dtype=float)
        clicks, expected = (self.before[book] + panes).tolist()
        return (of + 15.0) / (by * level + 15.0), (clicks, expected)

    def part(self, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Part of the day of some times."""
        return (time_ms - self.origin_ms) // _PART_MS % k.PARTS

    # --- changes

    def forget(self, state: DetectorState, slots: NDArray[np.int64]) -> None:
        """Learn the click rates of some slots anew."""
        state.sums[slots, EXPECTED:LATELY] = 0.0
        books = self.book[slots[slots < len(self.book)]]
        books = books[books >= 0]
        self.filled[books], self.best[books] = 0, _NOTHING
        self.before[books], self.daily[books] = 0.0, 0.0

    def take_as_usual(self) -> None:
        """What has moved and was no shift that lasts is usual from now on."""
        for book in np.flatnonzero(self.best[: self._used, k.SCORE] > 0.0):
            self.before[book] += self.panes[book, : self.filled[book], :2].sum(axis=0)
            self.filled[book], self.best[book] = 0, _NOTHING

    def drop(self, slots: I32) -> None:
        """Let go of slots whose values are forgotten."""
        slots = slots[slots < len(self.book)]
        self.book[slots] = -1
        kept = np.flatnonzero(self.book >= 0)
        old = {name: array[self.book[kept]] for name, array in self._arrays().items()}
        self._used = len(kept)
        self._hold(old)
        self.book[kept] = np.arange(self._used, dtype=np.int32)

    def tie(self, slots: I32) -> None:
        """Tell fields that go with time, such as the hour: they come in long runs of one value."""
        self.tied[:] = [goes_with_time(slots[:, f]) for f in range(slots.shape[1])]

    # --- state

    def state(self) -> dict[str, Any]:
        """All that a restart needs."""
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return arrays | {
            "book": self.book.copy(),
            "tied": self.tied.copy(),
            "origin_ms": self.origin_ms,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self._used = len(state["filled"])
        self._hold(state)
        self.book, self.tied = np.array(state["book"]), np.array(state["tied"])
        self.origin_ms = int(state["origin_ms"])


def goes_with_time(values: I32) -> bool:
    """Whether a field goes with time, as the hour does: it comes in long runs of one value.

    Examples
    --------
    >>> goes_with_time(np.repeat([1, 2, 3], 100)), goes_with_time(np.tile([1, 2, 3], 100))
    (True, False)
    """
    changes = float(np.mean(values[1:] != values[:-1])) if len(values) > 1 else 0.0
    shares = np.unique(values, return_counts=True)[1] / max(1, len(values))
    return changes <= _TIED * (1.0 - float((shares**2).sum()))


def steady_market(
    rows: Rows, tied: NDArray[np.bool_], apart: NDArray[np.bool_]
) -> tuple[F64, F64, float]:
    """The rate at each row; that of all rows; and what that was, over this, in the first half.

    Click rates of slices are compared with that of all rows. Where an advertiser begins whose ads
    are clicked often, this rises, and every other slice seems to fall; where one ends, to rise. So
    to say what moved, the rate is taken of rows with the same values throughout.

    Parameters
    ----------
    rows
        The last rows, oldest first.
    tied
        Fields that go with time.
    apart
        Rows that are no part of it: with a new value, or of an open alarm.
    """
    of_all = _rate(rows, ~apart)
    steady = _steady_rows(rows.slots, tied) & ~apart
    if (steady | apart).all() or not steady.any():
        return of_all, of_all, 1.0
    rate = _rate(rows, steady)
    half = len(rate) // 2
    return rate, of_all, float(of_all[:half].sum() / rate[:half].sum())


def _rate(rows: Rows, of: NDArray[np.bool_]) -> F64:
    """By some rows alone, at each of all."""
    latest = np.maximum(np.cumsum(of) - 1, 0)
    rate: F64 = market(rows.p[of], rows.y[of])[latest]
    return rate


def _steady_rows(slots: NDArray[np.int32], tied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows have only values that come in every part of the rows, and still do.

    Fields of which most rows do not, as of users, are left out.

    Examples
    --------
    >>> slots = np.array([[2, 3, 4] * 40 + [2, 3, 5] * 40], np.int32).T
    >>> _steady_rows(slots, np.array([False])).sum()
    np.int64(160)
    """
    steady = np.ones(len(slots), np.bool_)
    for f in np.flatnonzero(~tied):
        here = slots[:, f]
        size = int(here.max()) + 1
        there = np.ones(size, np.bool_)
        for part in np.array_split(here, _STRETCHES):
            there &= np.bincount(part, minlength=size) > 0
        last = here[-_LAST:]
        usual = np.bincount(here, minlength=size) * (len(last) / len(here))
        there &= (usual < _SURELY) | (np.bincount(last, minlength=size) > 0)
        if float(there[here].mean()) >= 0.5:
            steady &= there[here]
    return steady if steady.any() else ~steady
