"""The click rate of the whole stream, by what was there all along.

Click rates of slices are compared with that of all rows. Where an advertiser begins whose ads are
clicked often, this rises, and every other slice seems to fall; where one ends, to rise. So to say
what moved, the rate is taken of rows with the same values throughout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect.kernels import market
from monitoring.watch.detect.state import Rows

__all__ = ["steady_market", "steady_rows"]

_PARTS = 8
_LAST = 4096  # rows
_SURELY = 20.0  # rows that a value has of those, by its share


F64 = NDArray[np.float64]


def steady_market(
    rows: Rows, tied: NDArray[np.bool_], apart: NDArray[np.bool_]
) -> tuple[F64, F64, float]:
    """The rate at each row; that of all rows; and what that was, over this, in the first half.

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
    steady = steady_rows(rows.slots, tied) & ~apart
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


def steady_rows(slots: NDArray[np.int32], tied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows have only values that come in every part of the rows, and still do.

    Fields of which most rows do not, as of users, are left out.

    Examples
    --------
    >>> slots = np.array([[2, 3, 4] * 40 + [2, 3, 5] * 40], np.int32).T
    >>> steady_rows(slots, np.array([False])).sum()
    np.int64(160)
    """
    steady = np.ones(len(slots), np.bool_)
    for f in np.flatnonzero(~tied):
        here = slots[:, f]
        size = int(here.max()) + 1
        there = np.ones(size, np.bool_)
        for part in np.array_split(here, _PARTS):
            there &= np.bincount(part, minlength=size) > 0
        last = here[-_LAST:]
        usual = np.bincount(here, minlength=size) * (len(last) / len(here))
        there &= (usual < _SURELY) | (np.bincount(last, minlength=size) > 0)
        if float(there[here].mean()) >= 0.5:
            steady &= there[here]
    return steady if steady.any() else ~steady
