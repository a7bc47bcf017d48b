"""Weights of many times at once, bit for bit those of :func:`features.counters.panes.weight`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.counters.panes import UNIT, weight

__all__ = ["weights_at"]

_NEAR_HALF = 1e-6


def weights_at(times: NDArray[np.int64], half_lives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weigh events at some times.

    Parameters
    ----------
    times, half_lives
        int64 milliseconds.

    Returns
    -------
    ndarray of int64, shape (times, half-lives)

    Examples
    --------
    >>> weights_at(np.array([0, 1_800_000]), np.array([3_600_000])).tolist()
    [[4096], [5793]]
    """
    out = np.empty((len(times), len(half_lives)), np.int64)
    for column, half_life in enumerate(half_lives.tolist()):
        exact = UNIT * np.exp2((times % half_life) / half_life)
        out[:, column] = np.rint(exact)
        # powers differ by an ulp from library to library: near a tie, only Python's decides
        unsure = np.abs(exact - np.floor(exact) - 0.5) < _NEAR_HALF
        for row in np.flatnonzero(unsure).tolist():
            out[row, column] = weight(int(times[row]), half_life)
    return out
