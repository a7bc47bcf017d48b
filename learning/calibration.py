"""Kernel: the calibration of the mixed logit, learned as it goes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined

__all__ = ["calibrated", "learn_calibration", "learn_late_click", "sigmoid"]

F64 = NDArray[np.float64]

RIDGE = 300.0
KEEP = 1.0 - 1.0 / 20_000.0
MOST_STEP = 0.25
"""What no event of weight 1 reaches, and one of a million must not pass."""


@inlined
def sigmoid(logit: float) -> float:
    """Probability of a logit."""
    return 1.0 / (1.0 + math.exp(-logit))


@inlined
def calibrated(calibration: F64, logit: float) -> float:
    """Logit after the calibration: ``scale * logit + shift`` (Platt 1999, kept up online)."""
    out: float = calibration[0] * logit + calibration[1]
    return out


@inlined
def _step(calibration: F64, logit: float, g: float) -> None:
    """One Newton step of scale and shift; the ridge keeps it small until there is evidence."""
    a, b, c = calibration[2] + RIDGE, calibration[3], calibration[4] + RIDGE
    determinant = max(a * c - b * b, RIDGE * RIDGE)  # which rounding alone could take it below
    scale, shift = (c * g * logit - b * g) / determinant, (a * g - b * g * logit) / determinant
    calibration[0] -= min(max(scale, -MOST_STEP), MOST_STEP)
    calibration[1] -= min(max(shift, -MOST_STEP), MOST_STEP)


@inlined
def learn_calibration(calibration: F64, logit: float, label: float, importance: float) -> None:
    """One Newton step on the log loss of an event, from curvature that fades."""
    p = sigmoid(calibrated(calibration, logit))
    v = importance * p * (1.0 - p)
    calibration[2] = calibration[2] * KEEP + v * logit * logit
    calibration[3] = calibration[3] * KEEP + v * logit
    calibration[4] = calibration[4] * KEEP + v
    _step(calibration, logit, importance * (p - label))


@inlined
def learn_late_click(calibration: F64, logit: float, importance: float) -> None:
    """The step that makes a negative learned before a positive: (p - 1) - (p - 0) = -1."""
    _step(calibration, logit, -importance)
