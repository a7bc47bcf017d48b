"""Kernel, stages 2 and 3: the net of the learner ``stack``, its logit and its step.

The equations are in :mod:`learning.stack`.
"""

from __future__ import annotations

import math

import numpy as np

from features.jit import inlined
from learning.stack_state import F32, RANK, ZERO, f32

__all__ = ["learn_net", "net_logit"]

ETA = f32(0.02)


@inlined
def net_logit(linear: F32, factors: F32, top: F32, inputs: F32, inner: F32) -> float:
    """The net's logit beyond that of the base rate."""
    width = factors.shape[1]  # from the array, or the loops do not vectorise
    out = top[0]
    for r in range(width):
        inner[0, r] = ZERO
    for d in range(len(inputs)):
        u = inputs[d]
        out += u * linear[d]
        for r in range(width):
            inner[0, r] += u * factors[d, r]
    for r in range(RANK):
        out += top[1 + r] * inner[0, r] * inner[0, RANK + r]
    return float(out)


@inlined
def learn_net(
    linear: F32, factors: F32, top: F32, linear_squares: F32, factors_squares: F32,
    top_squares: F32, inputs: F32, inner: F32, g: np.float32,
) -> None:  # fmt: skip
    """One AdaGrad step (Duchi et al. 2011) of everything in the net, by its logit's gradient."""
    width = factors.shape[1]
    for r in range(RANK):
        inner[1, r] = g * top[1 + r] * inner[0, RANK + r]
        inner[1, RANK + r] = g * top[1 + r] * inner[0, r]
    for d in range(len(inputs)):
        q = g * inputs[d]
        n = linear_squares[d] + q * q
        linear_squares[d] = n
        linear[d] -= ETA * q / math.sqrt(n)
    for d in range(len(inputs)):
        u = inputs[d]
        for r in range(width):
            q = inner[1, r] * u
            n = factors_squares[d, r] + q * q
            factors_squares[d, r] = n
            factors[d, r] -= ETA * q / math.sqrt(n)
    for r in range(RANK):
        q = g * inner[0, r] * inner[0, RANK + r]
        top_squares[1 + r] += q * q
        top[1 + r] -= ETA * q / math.sqrt(top_squares[1 + r])
    top_squares[0] += g * g
    top[0] -= ETA * g / math.sqrt(top_squares[0])
