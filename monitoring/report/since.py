"""Dates a change of calibration by the windows that were counted, where no detector has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.windows import kernels as k

__all__ = ["Shift", "shift_in"]

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
