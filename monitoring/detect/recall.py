"""What would have been predicted for a slice had the model not followed its shift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.jit import jit

__all__ = ["followed", "levels"]

F64 = NDArray[np.float64]


@jit
def levels(p: F64) -> F64:
    """The moving mean of all predictions, at each row."""
    out = np.empty(len(p))
    level = 0.0
    for i in range(len(p)):
        level += (p[i] - level) / min(i + 1.0, 2000.0)
        out[i] = level
    return out


@jit
def followed(p: F64, level: F64, usual: F64, fast: float) -> F64:
    """Probabilities with their recent mean put back to the usual one, row by row."""
    out = np.empty(len(p))
    recent = 0.0
    for i in range(len(p)):
        relative = p[i] / max(level[i], 1e-9)
        if i == 0:
            recent = usual[i]
        odds = min(max(usual[i] / max(recent, 1e-9), 0.1), 10.0)
        out[i] = odds * p[i] / (1.0 - p[i] + odds * p[i])
        recent += (relative - recent) / fast
    return out
