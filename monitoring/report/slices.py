"""Dates a change of calibration by the windows that were counted, where no detector has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from monitoring.report.model import SliceRow
from monitoring.report.verdict import TOLERANCE
from monitoring.watch import figures as k
from monitoring.watch.figures import SliceFigures, figures_of

__all__ = ["Shift", "Sums", "SumsBySlice", "is_off", "shift_in", "since_figures", "slices_of"]

_FALSE_ALARMS = 0.05
Sums = NDArray[np.float64]


class Shift:
    """A change at the beginning of one window.

    Parameters
    ----------
    at
        Number of the first window after it.
    before, after
        Sums of the windows on either side.
    """

    def __init__(self, at: int, before: Sums, after: Sums) -> None:
        self.at, self.before, self.after = at, before, after

    @property
    def ratio(self) -> float | None:
        """Calibration ratio after it."""
        return _ratio(self.after)


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
    >>> shift.at, shift.ratio
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
    if gains[best] < math.log(len(gains) * max(1, looked_at) / _FALSE_ALARMS):
        return None
    return Shift(best + 1, sums[best], whole - sums[best])


def _fit(sums: Sums) -> Sums:
    """Log likelihood at the best r, but for what does not depend on r."""
    clicks = sums[..., k.CLICKS]
    expected = np.maximum(sums[..., k.EXPECTED], 1e-12)
    fitted: Sums = clicks * np.log(np.maximum(clicks, 1e-12) / expected)
    return fitted


def _ratio(sums: Sums) -> float | None:
    clicks = float(sums[k.CLICKS])
    return float(sums[k.EXPECTED]) / clicks if clicks > 0 else None


SumsBySlice = Mapping[str, Mapping[str, Sums]]


def slices_of(
    slices: SumsBySlice,
    history: Sequence[tuple[int, SumsBySlice]] = (),
    changes: Mapping[tuple[str, str], float] | None = None,
) -> list[SliceRow]:
    """Rows by cost, dearest first; those that are off before all others.

    Those that are off (:func:`is_off`) are so with all slices looked at.

    Parameters
    ----------
    slices
        Sums by field and value.
    history
        Start and sums of each period, oldest first: to date a change.
    changes
        Relative change of the log loss against the champion, by (field, value).

    Examples
    --------
    >>> sums = {"a": np.array([1e4, 100.0, 200.0, 4.0, 600.0, 0, 0, 0])}
    >>> [row] = slices_of({"site": sums})
    >>> row.ratio, row.drifted, row.cost_clicks
    (2.0, True, 100.0)
    """
    tests = sum(len(values) for values in slices.values())
    rows = [
        _row(
            SliceRow(field, value, 0, 0.0, change=(changes or {}).get((field, value))),
            sums,
            tests,
            history,
        )
        for field, values in slices.items()
        for value, sums in values.items()
    ]
    return sorted(rows, key=lambda row: (not row.drifted, -abs(row.cost_clicks or 0.0)))


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
    surprise = expected - clicks + (clicks * math.log(clicks / expected) if clicks else 0.0)
    return surprise > math.log(2.0 * max(1, tests) / _FALSE_ALARMS)


def since_figures(
    f: SliceFigures,
) -> tuple[float | None, float | None, float | None, float | None]:
    """Ratio, its interval and the cost in clicks."""
    return f.calibration_ratio, f.calibration_low, f.calibration_high, f.over_promised


def _row(
    blank: SliceRow, sums: Sums, tests: int, history: Sequence[tuple[int, SumsBySlice]]
) -> SliceRow:
    f = figures_of(sums)
    row = replace(
        blank,
        count=f.count,
        clicks=f.clicks,
        mean_prediction=f.mean_prediction,
        ratio=f.calibration_ratio,
        low=f.calibration_low,
        high=f.calibration_high,
        log_loss=f.log_loss,
        normalised_entropy=f.normalised_entropy,
        cost_clicks=f.over_promised,
        cost_money=f.money,
        drifted=is_off(sums, tests),
    )
    return _dated(row, tests, history)


def _dated(row: SliceRow, tests: int, history: Sequence[tuple[int, SumsBySlice]]) -> SliceRow:
    """With the change in it, if there is one after which it is off."""
    none = np.zeros(k.SUMS)
    parts = [of.get(row.field, {}).get(row.value, none) for _, of in history]
    shift = shift_in(parts, tests)
    if shift is None or not is_off(shift.after, tests * len(parts)):
        return row
    f = figures_of(shift.after)
    ratio, low, high, cost = since_figures(f)
    return replace(
        row, drifted=True, since=history[shift.at][0], ratio_since=ratio, low_since=low,
        high_since=high, cost_since=cost, money_since=f.money,
    )  # fmt: skip
