"""The state of the learner ``stack``, and what is known of one event: :mod:`learning.stack`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learning.buckets import Slots

__all__ = ["EXPERTS", "INPUTS", "LATE", "RANK", "State", "Work", "work_for"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

INPUTS, RANK, EXPERTS = 5, 16, 4
LATE = 2.0
"""The label of a click that comes after its event was learned as not clicked."""
f32 = np.float32
ZERO, HALF, ONE, TWO, THREE = f32(0), f32(0.5), f32(1), f32(2), f32(3)


class State(NamedTuple):
    """Everything that is learned.

    Parameters
    ----------
    fields, crosses
        The tables, flat float32: 8 and 4 numbers a bucket.
    bias
        float64 (3, 2): w and n of the three LRs.
    mixture
        float64 (4,): weights of LR 1, 2, 3 and the net; their sum is 1.
    calibration
        float64 (5,): scale and shift of the mixed logit, then their curvature.
    totals
        float64 (5,): events, clicks; clicks in time, late clicks (fading); the fading sum of
        sqrt(p (1 - p)).
    field_means
        float32 (fields, 6): what a value never seen stands for: three weights, te, cnt; the fading
        number of first occurrences.
    cross_means
        float32 (2, crosses): what a cross never seen stands for: its weight, and its part of pe.
    linear, factors, top
        The net: float32 (5 fields,), (5 fields, 32) and (17,): w; u and v; b and c.
    linear_squares, factors_squares, top_squares
        AdaGrad's sums of squared gradients, alike.
    admission
        float32: views of each of its values that a cross needs for a bucket.
    """

    fields: F32
    crosses: F32
    bias: F64
    mixture: F64
    calibration: F64
    totals: F64
    field_means: F32
    cross_means: F32
    linear: F32
    factors: F32
    top: F32
    linear_squares: F32
    factors_squares: F32
    top_squares: F32
    admission: np.float32


class Work(NamedTuple):
    """What is known of one event.

    Parameters
    ----------
    of_fields
        float32 (10, field features), rows :data:`W1` to :data:`CNT`: w and n of the LRs, N, C,
        and what the net gets of those.
    of_crosses
        float32 (8, cross features), rows :data:`START` to :data:`NEW_N`: w, and what it is for this
        event (of a field never seen); n, R, V and R / (V + 3) / sqrt(F); w and n after the step.
    unseen
        bool (field features,): whether it was never learned.
    rare
        bool (field features,): whether it was never learned, or too seldom for its crosses.
    inputs
        float32 (5 fields,): the net's, kind by kind.
    inner
        float32 (2, 32): u . x and v . x; the gradient by them.
    logits
        float64 (4,): of the LRs and the net.
    shared
        int64: features whose bucket was written before.
    """

    of_fields: F32
    of_crosses: F32
    unseen: NDArray[np.bool_]
    rare: NDArray[np.bool_]
    inputs: F32
    inner: F32
    logits: F64
    shared: I64


W1, N1, W2, N2, W3, N3, VIEWS, CLICKS, TE, CNT = range(10)
START, WEIGHT, SQUARES, RESIDUAL, VARIANCE, SHARE, NEW_W, NEW_N = range(8)


def work_for(slots: Slots, fields: int) -> Work:
    """Room for any event of these slots, of a net of so many fields."""
    f, c = slots.field.shape[1], slots.cross.shape[1]
    return Work(
        np.empty((10, f), np.float32), np.empty((8, c), np.float32),
        np.empty(f, np.bool_), np.empty(f, np.bool_),
        np.empty(INPUTS * fields, np.float32), np.empty((2, 2 * RANK), np.float32),
        np.empty(EXPERTS), np.empty(max(f, c), np.int64),
    )  # fmt: skip
