"""A column of predicted probabilities, and what is wrong with a value that is none."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.log_report.numbers import numbers

__all__ = ["prediction_fix", "predictions"]

_ROUNDING = 1e-6
"""How far beyond 0 or 1 a probability may be: sums and float32 round by less."""


def predictions(column: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities, rounding clipped; and where a value is none.

    Examples
    --------
    >>> p, bad = predictions(pa.array(["1.0000001", "-1e-9", "1.5", "", "0.5"]))
    >>> p.tolist(), bad.tolist()
    ([1.0, 0.0, 1.5, nan, 0.5], [False, False, True, True, False])
    """
    p, bad = numbers(column)
    with np.errstate(invalid="ignore"):
        near = (p >= -_ROUNDING) & (p <= 1.0 + _ROUNDING)
    return np.where(near, np.clip(p, 0.0, 1.0), p), bad | ~near


def prediction_fix(value: str, others: NDArray[np.float64]) -> str:
    """What to do about a value that is no probability.

    Parameters
    ----------
    value
        As it stands in the log.
    others
        The column's numbers thereabouts: percentages and log-odds are told by all of them.

    Examples
    --------
    >>> prediction_fix("1.5", np.array([0.2, 1.5, 2.5, 37.0]))
    'a prediction is a probability from 0 to 1; these look like percentages: divide them by 100'
    >>> prediction_fix("1.0002", np.array([0.2, 1.0002]))
    'a prediction is a probability from 0 to 1; this one is a little above 1: clip it'
    """
    due = "a prediction is a probability from 0 to 1"
    known = others[np.isfinite(others)]
    try:
        number = float(value.strip().removesuffix("%"))
    except ValueError:
        return f"{due}; name the right column with --prediction"
    if value.strip().endswith("%"):
        return f"{due}; divide percentages by 100"
    if math.isnan(number):
        return f"{due}; leave out rows that were not predicted"
    if math.isinf(number):
        return f"{due}; it overflowed"
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    if (number > 1.0 and high <= 1.1) or (number < 0.0 and low >= -0.1):
        return f"{due}; this one is a little {'above 1' if number > 1 else 'below 0'}: clip it"
    if low < -0.1 and low >= -50.0 and high <= 50.0:
        return f"{due}; these look like log-odds: turn each x into 1 / (1 + exp(-x))"
    if low >= -0.1 and high <= 100.1:
        return f"{due}; these look like percentages: divide them by 100"
    return f"{due}; name the right column with --prediction"
