"""Kernel: the steps of FTRL-Proximal in the learner ``stack``, and how far they can still go.

The equations are in :mod:`learning.stack`.
"""

from __future__ import annotations

import math

import numpy as np

from features.jit import inlined
from learning.stack_state import F32, F64, HALF, N1, N2, N3, ONE, SQUARES, f32

__all__ = [
    "INVERSE_1",
    "INVERSE_2",
    "INVERSE_3",
    "MOST_SQUARES",
    "STIFF_1",
    "STIFF_2",
    "STIFF_3",
    "cross_rates",
    "deviation",
    "learn_bias",
    "step",
]

BETA, L2 = 0.3, 1.0
ALPHA_CROSSES = 0.12
INVERSE_1, INVERSE_2, INVERSE_3 = f32(1 / 0.03), f32(1 / 0.1), f32(1 / 0.03)
STIFF_1, STIFF_2, STIFF_3 = f32(BETA / 0.03 + L2), f32(BETA / 0.1 + L2), f32(BETA / 0.03 + L2)
MOST_SQUARES = f32(1 << 16)
DEVIATION = 1.4
"""The error on the simulated market is 1.3 to 1.5 times what the rates say."""


@inlined
def cross_rates(count: int) -> tuple[np.float32, np.float32]:
    """1 / alpha and beta / alpha + l2 of the crosses of an event that has so many."""
    inverse = math.sqrt(max(count, 1)) / ALPHA_CROSSES
    return f32(inverse), f32(BETA * inverse + L2)


@inlined
def step(
    w: np.float32, n: np.float32, g: np.float32, inverse: np.float32, stiff: np.float32
) -> tuple[np.float32, np.float32]:
    """Weight and n after a step: n is halved when it is large, so that it never stops counting."""
    n = n + g * g
    w = w - g / (math.sqrt(n) * inverse + stiff)
    return w, (n * HALF if n > MOST_SQUARES else n)


@inlined
def learn_bias(bias: F64, g1: float, g2: float, g3: float) -> None:
    """Step the biases of the three LRs."""
    alphas, gradients = (0.03, 0.1, 0.03), (g1, g2, g3)
    for e in range(3):
        g = gradients[e]
        bias[e, 1] += g * g
        bias[e, 0] -= g / ((BETA + math.sqrt(bias[e, 1])) / alphas[e] + L2)


@inlined
def deviation(
    mixture: F64, calibration: F64, n_fields: int, n_crosses: int, of_fields: F32, of_crosses: F32
) -> float:
    """How far the logit may still move: see :mod:`learning.uncertainty`."""
    one = two = three = 0.0
    for j in range(n_fields):
        one += float(ONE / (math.sqrt(of_fields[N1, j]) * INVERSE_1 + STIFF_1))
        two += float(ONE / (math.sqrt(of_fields[N2, j]) * INVERSE_2 + STIFF_2))
        three += float(ONE / (math.sqrt(of_fields[N3, j]) * INVERSE_3 + STIFF_3))
    inverse, stiff = cross_rates(n_crosses)
    for c in range(n_crosses):
        three += float(ONE / (math.sqrt(of_crosses[SQUARES, c]) * inverse + stiff))
    total: float = mixture[0] * math.sqrt(one) + (mixture[1] + mixture[3]) * math.sqrt(two)
    total += mixture[2] * math.sqrt(three)
    return DEVIATION * total * abs(float(calibration[0]))
