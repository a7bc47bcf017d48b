"""Sums by slice and period; which slices are off by more than chance explains, since when."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.report.model import Since, SliceRow, with_figures
from monitoring.report.verdict import TOLERANCE
from monitoring.watch import figures as k
from monitoring.watch.figures import figures_of, surprise
from monitoring.watch.window import ClosedWindow
from streaming.time_text import time_text

__all__ = [
    "FALSE_ALARMS", "OFF_NOTE", "Period", "Shift", "Sums", "SumsBySlice", "added", "is_off",
    "period_name", "periods_of", "shift_in", "slices_of",
]  # fmt: skip

FALSE_ALARMS = 0.05
"""Of all reports of logs where nothing is wrong, how many may say that something is."""
_DAY_MS = 86_400_000
_NONE = np.zeros(k.SUMS)
Sums = NDArray[np.float64]
SumsBySlice = Mapping[str, Mapping[str, Sums]]


class Shift(NamedTuple):
    """A change at the beginning of one window, by its number, and the sums from it on."""

    at: int
    after: Sums


def added(parts: Iterable[SumsBySlice]) -> dict[str, dict[str, Sums]]:
    """Sums by field and value of all parts together."""
    whole: dict[str, dict[str, Sums]] = {}
    for part in parts:
        for field, values in part.items():
            known = whole.setdefault(field, {})
            for value, sums in values.items():
                known[value] = known[value] + sums if value in known else sums
    return whole


@dataclasses.dataclass(frozen=True, slots=True)
class Period:
    """Sums of a stretch of time, or of a model version: of all its events, and by slice."""

    name: str
    start: int
    end: int
    sums: Sums
    slices: SumsBySlice = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, windows: Sequence[ClosedWindow], start: int, end: int, name: str = "") -> Period:
        """Windows together."""
        whole = np.sum([window.sums for window in windows], axis=0)
        slices = added(
            {
                field: dict(zip(table.values, np.array(table.sums), strict=True))
                for field, table in window.slices.items()
            }
            for window in windows
        )
        return cls(name, start, end, whole, slices)


def periods_of(windows: Sequence[ClosedWindow], most: int, axis: str = "time") -> list[Period]:
    """Windows put together until there are at most so many periods of equal length.

    Parameters
    ----------
    windows
        Oldest first; each as long as the longest, or a fraction of it.
    most
        The length is that of the longest window, times a power of two.
    axis
        ``time`` or ``row``.
    """
    width = max(window.end_ms - window.start_ms for window in windows)
    while windows[-1].end_ms - windows[0].start_ms > most * width:
        width *= 2
    groups: dict[int, list[ClosedWindow]] = {}
    for window in windows:
        groups.setdefault(window.start_ms // width * width, []).append(window)
    return [
        Period.of(group, start, start + width, period_name(start, width, axis))
        for start, group in sorted(groups.items())
    ]


def period_name(start: int, width: int, axis: str) -> str:
    """Name of a row of the slice grid.

    Examples
    --------
    >>> period_name(0, 3_600_000, "time"), period_name(0, 500, "row")
    ('1 Jan 00:00', 'from row 1')
    """
    if axis == "row":
        return f"from row {start + 1:,}"
    return time_text(start, "{0.day} {0:%b %Y}" if width >= _DAY_MS else "{0.day} {0:%b %H:%M}")


def shift_in(parts: Sequence[Sums], looked_at: int = 1) -> Shift | None:
    """Find the one change of the calibration ratio that explains the clicks best, if one does.

    Clicks of a window are taken as Poisson with mean S / r, where S is the sum of its predictions.
    The likelihood ratio of two values of r, before and after, against one is highest at the
    change; it is believed if chance gives as much in fewer than 5 of 100 reports, with all
    places and slices looked at (Bonferroni on Wilks' bound).

    Parameters
    ----------
    parts
        Sums of each window, oldest first.
    looked_at
        How many series are looked at.

    Examples
    --------
    >>> calm, off = (np.array([1e4, 200, e, 5, 0, 0, 0, 0]) for e in (200, 300))
    >>> shift = shift_in([calm] * 5 + [off] * 3)
    >>> shift.at, figures_of(shift.after).calibration_ratio
    (5, 1.5)
    >>> shift_in([calm] * 8)
    """
    if len(parts) < 2:
        return None
    sums = np.cumsum(np.array(parts), axis=0)
    whole = sums[-1]
    gains = _fit(sums[:-1]) + _fit(whole - sums[:-1]) - _fit(whole)
    best = int(np.argmax(gains))
    # P(chi-square with 1 degree of freedom > 2 g) is below exp(-g).
    if gains[best] < math.log(len(gains) * max(1, looked_at) / FALSE_ALARMS):
        return None
    return Shift(best + 1, whole - sums[best])


def _fit(sums: Sums) -> Sums:
    """Log likelihood at the best r, but for what does not depend on r."""
    clicks = sums[..., k.CLICKS]
    expected = np.maximum(sums[..., k.EXPECTED], 1e-12)
    fitted: Sums = clicks * np.log(np.maximum(clicks, 1e-12) / expected)
    return fitted


def slices_of(
    slices: SumsBySlice, history: Sequence[tuple[int, SumsBySlice]] = ()
) -> list[SliceRow]:
    """Rows by cost, dearest first; those that are off before all others.

    Those that are off (:func:`is_off`) are so with all slices looked at.

    Parameters
    ----------
    slices
        Sums by field and value.
    history
        Start and sums of each period, oldest first: to date a change.

    Examples
    --------
    >>> sums = {"a": np.array([1e4, 100.0, 200.0, 4.0, 600.0, 0, 0, 0])}
    >>> [row] = slices_of({"site": sums})
    >>> row.calibration_ratio, row.drifted, row.over_promised
    (2.0, True, 100.0)
    """
    tests = sum(len(values) for values in slices.values())
    rows = []
    for field, values in slices.items():
        for value, sums in values.items():
            parts = [of.get(field, {}).get(value, _NONE) for _, of in history]
            since = _since(parts, [start for start, _ in history], tests)
            off = since is not None or is_off(sums, tests)
            figures = figures_of(sums)
            rows.append(
                with_figures(SliceRow, figures, field=field, value=value, drifted=off, since=since)
            )
    return sorted(rows, key=lambda row: (not row.drifted, -abs(row.over_promised)))


def _since(parts: Sequence[Sums], starts: Sequence[int], tests: int) -> Since | None:
    """The change in a slice, if there is one after which it is off."""
    shift = shift_in(parts, tests)
    if shift is None or not is_off(shift.after, tests * len(parts)):
        return None
    return with_figures(Since, figures_of(shift.after), start=starts[shift.at])


OFF_NOTE = (
    "A slice is called off if its ratio differs from 1 by more than 5 % and by more than chance "
    "explains, with all slices looked at: where all is calibrated, one or more are called so "
    "wrongly in at most 5 of 100 reports (Bonferroni)."
)


def is_off(sums: Sums, tests: int) -> bool:
    """Whether the ratio is surely not 1, and by more than the tolerance.

    If all is well, the clicks Y are a sum of independent trials with mean S, the sum of the
    predictions, and by Chernoff's bound P(Y >= y) for y > S, and P(Y <= y) for y < S, is at most
    exp(-(S - y + y ln(y / S))): it holds for any number of clicks, also none.

    Parameters
    ----------
    sums
        Of the slice.
    tests
        How many slices are looked at: all together err in at most 5 of 100 reports (Bonferroni).

    Examples
    --------
    >>> is_off(np.array([1e4, 100.0, 130.0, 4.0, 600.0, 0, 0, 0]), 1)
    True
    >>> is_off(np.array([1e4, 100.0, 130.0, 4.0, 600.0, 0, 0, 0]), 1000)
    False
    """
    clicks, expected = float(sums[k.CLICKS]), float(sums[k.EXPECTED])
    if expected <= 0.0 or abs(expected - clicks) <= TOLERANCE * clicks:
        return False
    return bool(surprise(clicks, expected) > math.log(2.0 * max(1, tests) / FALSE_ALARMS))
