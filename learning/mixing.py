"""Kernel, stage 4: the experts' logits mixed and calibrated, and both learned."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined

__all__ = [
    "CALIBRATION_RIDGE",
    "calibrated",
    "learn_calibration",
    "learn_mixture",
    "mix",
    "sigmoid",
]

F64 = NDArray[np.float64]

CALIBRATION_RIDGE = 300.0
_MOST_STEP = 600.0  # exp of more overflows


@inlined
def sigmoid(logit: float) -> float:
    """Probability of a logit."""
    return 1.0 / (1.0 + math.exp(-logit))


@inlined
def mix(mixture: F64, logits: F64) -> float:
    """Weighted mean of the experts' logits."""
    total = 0.0
    for e in range(len(mixture)):
        total += mixture[e] * logits[e]
    return total


@inlined
def learn_mixture(mixture: F64, logits: F64, gradient: float, rate: float, share: float) -> None:
    """Exponentiated gradient on the mixture weights (Kivinen and Warmuth 1997).

    A fixed share of weight goes round to all (Herbster and Warmuth 1998), so that an expert
    that has been bad for long can come back within some hundred events.
    """
    if len(mixture) == 1:
        return
    total = 0.0
    for e in range(len(mixture)):
        step = -rate * gradient * logits[e]
        mixture[e] *= math.exp(min(max(step, -_MOST_STEP), _MOST_STEP))
        total += mixture[e]
    for e in range(len(mixture)):
        mixture[e] = (1.0 - share) * (mixture[e] / total) + share / len(mixture)


@inlined
def calibrated(calibration: F64, logit: float) -> float:
    """Logit after the calibration: ``scale * logit + shift`` (Platt 1999, kept up online)."""
    out: float = calibration[0] * logit + calibration[1]
    return out


@inlined
def learn_calibration(
    calibration: F64, logit: float, label: float, importance: float, keep: float
) -> None:
    """One Newton step of scale and shift on the log loss, from fading curvature sums.

    A ridge of :data:`CALIBRATION_RIDGE` keeps the step small until there is evidence for more.
    """
    if keep == 0.0:
        return
    p = sigmoid(calibrated(calibration, logit))
    g = importance * (p - label)
    v = importance * p * (1.0 - p)
    calibration[2] = calibration[2] * keep + v * logit * logit
    calibration[3] = calibration[3] * keep + v * logit
    calibration[4] = calibration[4] * keep + v
    a, b, c = calibration[2] + CALIBRATION_RIDGE, calibration[3], calibration[4] + CALIBRATION_RIDGE
    determinant = a * c - b * b
    calibration[0] -= (c * g * logit - b * g) / determinant
    calibration[1] -= (a * g - b * g * logit) / determinant
