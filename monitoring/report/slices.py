"""From sums to the rows of the slice table, and which of them chance does not explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from monitoring.report.model import SliceRow
from monitoring.report.since import shift_in
from monitoring.report.verdict import TOLERANCE
from monitoring.windows import kernels as k
from monitoring.windows.figures import SliceFigures, figures_of

__all__ = ["Sums", "SumsBySlice", "is_off", "since_figures", "slices_of"]

Sums = NDArray[np.float64]
SumsBySlice = Mapping[str, Mapping[str, Sums]]

_FALSE_ALARMS = 0.05


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
