"""What would have been predicted for a slice had the model not followed its shift."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import jit

__all__ = ["followed", "levels"]

F64 = NDArray[np.float64]


@jit
def levels(p: F64) -> F64:
    """The moving mean of all logits, before each row."""
    out = np.empty(len(p))
    level = 0.0
    for i in range(len(p)):
        q = min(max(p[i], 1e-7), 1.0 - 1e-7)
        out[i] = level
        level += (math.log(q / (1.0 - q)) - level) / min(i + 1.0, 2000.0)
    return out


@jit
def followed(p: F64, level: F64, usual: F64, fast: float) -> F64:
    """Probabilities with the recent mean of the logit put back to the usual one, row by row."""
    out = np.empty(len(p))
    recent = 0.0
    for i in range(len(p)):
        relative = math.log(p[i] / (1.0 - p[i])) - level[i]
        if i == 0:
            recent = usual[i]
        odds = math.exp(min(max(usual[i] - recent, -2.0), 2.0))
        out[i] = odds * p[i] / (1.0 - p[i] + odds * p[i])
        recent += (relative - recent) / fast
    return out
