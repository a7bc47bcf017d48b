"""The click rate of the whole stream, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.jit import jit
from monitoring.detect.state import MARKET_CLICKS

__all__ = ["market"]

F64 = NDArray[np.float64]


@jit
def market(p: F64, y: F64) -> F64:
    """As the tests have it at each of some rows: the mean prediction, set right by the clicks."""
    out = np.empty(len(p))
    level, expected, clicks = 0.0, MARKET_CLICKS, MARKET_CLICKS
    for i in range(len(p)):
        level += (p[i] - level) / min(i + 1.0, 2000.0)
        out[i] = level * clicks / expected
        expected += p[i] * (1.0 - expected / MARKET_CLICKS)
        clicks += y[i] - p[i] * clicks / MARKET_CLICKS
    return out
