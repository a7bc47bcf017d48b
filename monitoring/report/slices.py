"""Rows of the slice table: which are off by more than chance explains, and since when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.report.model import Since, SliceRow, with_figures
from monitoring.report.verdict import TOLERANCE
from monitoring.watch import figures as k
from monitoring.watch.figures import figures_of

__all__ = ["Shift", "Sums", "SumsBySlice", "added", "is_off", "shift_in", "slices_of"]

_FALSE_ALARMS = 0.05
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
    if gains[best] < math.log(len(gains) * max(1, looked_at) / _FALSE_ALARMS):
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
