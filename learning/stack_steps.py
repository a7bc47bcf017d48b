"""Kernel, stage 3: what each part of the learner ``stack`` learns of an event.

The equations are in :mod:`learning.stack`; every part learns from what was known before the event.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit, prefetch
from learning.calibration import learn_calibration, learn_late_click, sigmoid
from learning.stack_net import learn_net
from learning.stack_prediction import is_rare
from learning.stack_rates import (
    INVERSE_1,
    INVERSE_2,
    INVERSE_3,
    MOST_SQUARES,
    STIFF_1,
    STIFF_2,
    STIFF_3,
    cross_rates,
    step,
)
from learning.stack_state import (
    CLICKS,
    CNT,
    EXPERTS,
    F32,
    F64,
    HALF,
    I32,
    I64,
    LATE,
    N1,
    N2,
    N3,
    NEW_N,
    NEW_W,
    ONE,
    RESIDUAL,
    SHARE,
    SQUARES,
    START,
    TE,
    VARIANCE,
    VIEWS,
    W1,
    W2,
    W3,
    WEIGHT,
    f32,
)

__all__ = [
    "evidence",
    "learn_crosses",
    "learn_fields",
    "learn_top",
    "leave_out_rare",
]

MIX_RATE, MIX_SHARE = 0.05, 1e-5
KEEP_MEANS = 1.0 - 1.0 / 5000.0
KEEP_DELAYS = 1.0 - 1.0 / 2000.0
DELAY_PRIOR = 10.0
MOST_VIEWS = f32(1 << 22)
MOST_VARIANCE = f32(4096)
NOWHERE = -1
AHEAD = 16
"""Crosses whose lines are asked for in time: since they were read, others took the first cache."""
_MOST_STEP = 600.0  # exp of more overflows


@inlined
def _learn_mixture(mixture: F64, logits: F64, gradient: float) -> None:
    """Exponentiated gradient on the mixture weights (Kivinen and Warmuth 1997).

    A fixed share of weight goes round to all (Herbster and Warmuth 1998), so that one that has
    been bad for long can come back within some hundred events.
    """
    total = 0.0
    for e in range(EXPERTS):
        step = -MIX_RATE * gradient * logits[e]
        mixture[e] *= math.exp(min(max(step, -_MOST_STEP), _MOST_STEP))
        total += mixture[e]
    for e in range(EXPERTS):
        mixture[e] = (1.0 - MIX_SHARE) * (mixture[e] / total) + MIX_SHARE / EXPERTS


@inlined
def _learn_means(
    totals: F64, field_means: F32, cross_means: F32, field_of: I32, cross_of: I32, half: int,
    n_fields: int, n_crosses: int, mass: float, of_fields: F32, of_crosses: F32,
    unseen: NDArray[np.bool_],
) -> None:  # fmt: skip
    """What a value never seen stands for: the mean over the traffic, weighted by ``mass``.

    An unseen value is its mean, which so stays as it is: no case is needed.
    """
    totals[4] = totals[4] * KEEP_MEANS + mass
    if totals[4] == 0.0:
        return
    share, keep = f32(mass / totals[4]), f32(KEEP_MEANS)
    for j in range(n_fields):
        m = field_of[half, j]
        field_means[m, 5] *= keep
        if unseen[j]:
            field_means[m, 5] += ONE
            continue
        field_means[m, 0] += share * (of_fields[W1, j] - field_means[m, 0])
        field_means[m, 1] += share * (of_fields[W2, j] - field_means[m, 1])
        field_means[m, 2] += share * (of_fields[W3, j] - field_means[m, 2])
        field_means[m, 3] += share * (of_fields[TE, j] - field_means[m, 3])
        field_means[m, 4] += share * (of_fields[CNT, j] - field_means[m, 4])
    for c in range(n_crosses):
        m = cross_of[half, c]
        cross_means[0, m] += share * (of_crosses[WEIGHT, c] - cross_means[0, m])
        cross_means[1, m] += share * (of_crosses[SHARE, c] - cross_means[1, m])


@inlined
def _copies(at: I64, half: int, count: int, j: int) -> tuple[int, int]:
    """The first feature that has this one's bucket, and how many have."""
    first, copies = -1, 0
    for i in range(count):
        if at[half, i] == at[half, j]:
            first = i if first < 0 else first
            copies += 1
    return first, copies


@jit
def _step_shared_field(
    table: F32, at: I64, half: int, count: int, j: int, g1: np.float32, g2: np.float32,
    g3: np.float32, known: F32,
) -> None:  # fmt: skip
    """Take the step of a bucket that several features of the event share, for all in one."""
    i, copies = _copies(at, half, count, j)
    k, x = at[half, j], f32(copies)
    table[k], table[k + 1] = step(known[W1, i], known[N1, i], x * g1, INVERSE_1, STIFF_1)
    table[k + 2], table[k + 3] = step(known[W2, i], known[N2, i], x * g2, INVERSE_2, STIFF_2)
    table[k + 4], table[k + 5] = step(known[W3, i], known[N3, i], x * g3, INVERSE_3, STIFF_3)


@inlined
def learn_fields(
    table: F32, at: I64, half: int, count: int, g1: np.float32, g2: np.float32, g3: np.float32,
    views: np.float32, clicks: np.float32, known: F32, shared: I64,
) -> None:  # fmt: skip
    """Step the buckets of the fields' tokens."""
    found = 0
    for j in range(count):
        k = at[half, j]
        if table[k + 6] != known[VIEWS, j] or table[k + 7] != known[CLICKS, j]:
            shared[found] = j  # it was written for an earlier feature of this very event
            found += 1
            continue
        table[k], table[k + 1] = step(known[W1, j], known[N1, j], g1, INVERSE_1, STIFF_1)
        table[k + 2], table[k + 3] = step(known[W2, j], known[N2, j], g2, INVERSE_2, STIFF_2)
        table[k + 4], table[k + 5] = step(known[W3, j], known[N3, j], g3, INVERSE_3, STIFF_3)
        fade = HALF if known[VIEWS, j] > MOST_VIEWS else ONE
        table[k + 6] = (known[VIEWS, j] + views) * fade
        table[k + 7] = (known[CLICKS, j] + clicks) * fade
    for i in range(found):
        _step_shared_field(table, at, half, count, shared[i], g1, g2, g3, known)


@jit
def _step_shared_cross(
    table: F32, at: I64, half: int, count: int, c: int, g: np.float32, inverse: np.float32,
    stiff: np.float32, known: F32,
) -> None:  # fmt: skip
    """As :func:`_step_shared_field`."""
    i, copies = _copies(at, half, count, c)
    k = at[half, c]
    table[k], table[k + 1] = step(
        known[START, i], known[SQUARES, i], f32(copies) * g, inverse, stiff
    )


@jit
def leave_out_rare(at: I64, members: I32, half: int, count: int, rare: NDArray[np.bool_]) -> None:
    """Take its bucket from each cross that is not admitted yet."""
    for c in range(count):
        if is_rare(members, half, c, rare):
            at[half, c] = NOWHERE


@inlined
def learn_crosses(
    table: F32, at: I64, half: int, count: int, g: np.float32, residual: np.float32,
    variance: np.float32, known: F32, shared: I64,
) -> None:  # fmt: skip
    """Step the buckets of the crosses; R and V are halved when V is large: old evidence fades."""
    inverse, stiff = cross_rates(count)
    gg, found = g * g, 0
    for c in range(count):
        n = known[SQUARES, c] + gg
        known[NEW_W, c] = known[START, c] - g / (math.sqrt(n) * inverse + stiff)
        known[NEW_N, c] = n * HALF if n > MOST_SQUARES else n
    for c in range(count):
        if c + AHEAD < count:
            prefetch(table, at[half, c + AHEAD])
        k, was = at[half, c], known[VARIANCE, c]
        if k == NOWHERE:
            continue
        shared[found] = c
        if (
            (table[k + 1] != known[SQUARES, c])
            | (table[k + 2] != known[RESIDUAL, c])
            | (table[k + 3] != was)
        ):
            found += 1
            continue
        fade = HALF if was > MOST_VARIANCE else ONE
        table[k], table[k + 1] = known[NEW_W, c], known[NEW_N, c]
        table[k + 2] = (known[RESIDUAL, c] + residual) * fade
        table[k + 3] = (was + variance) * fade
    for i in range(found):
        _step_shared_cross(table, at, half, count, shared[i], g, inverse, stiff, known)


@inlined
def _soft_label(totals: F64, label: float, p: float) -> float:
    """The probability that an event is, or will be, clicked, given its label so far."""
    if label == 1.0:
        return 1.0
    in_time: float = (totals[2] + DELAY_PRIOR) / (totals[2] + totals[3] + DELAY_PRIOR)
    to_come = p * (1.0 - in_time)
    return to_come / (1.0 - p * in_time) if to_come > 0.0 else 0.0


@inlined
def evidence(
    logits: F64, label: float, w: float
) -> tuple[float, float, float, float, float, float, float]:
    """Gradients of the three LRs, and what C, N, R and V gain, by an event of importance w."""
    if label == LATE:
        return -w, -w, -w, w, 0.0, w, 0.0
    p1, p2, p3 = sigmoid(logits[0]), sigmoid(logits[1]), sigmoid(logits[2])
    residual, variance = w * (label - p2), w * p2 * (1.0 - p2)
    return w * (p1 - label), w * (p2 - label), w * (p3 - label), w * label, w, residual, variance


@inlined
def learn_top(
    mixture: F64, calibration: F64, totals: F64, field_means: F32, cross_means: F32, linear: F32,
    factors: F32, top: F32, linear_squares: F32, factors_squares: F32, top_squares: F32,
    field_of: I32, cross_of: I32, half: int, n_fields: int, n_crosses: int, of_fields: F32,
    of_crosses: F32, unseen: NDArray[np.bool_], inputs: F32, inner: F32, logits: F64,
    mixed: float, logit: float, label: float, w: float,
) -> None:  # fmt: skip
    """Learn all but the LRs and the tables: of a late click, the calibration alone."""
    if label == LATE:
        learn_late_click(calibration, mixed, w)
        totals[1] += w
        totals[3] += w
        return
    p = sigmoid(logit)
    soft = _soft_label(totals, label, p)
    _learn_mixture(mixture, logits, w * (sigmoid(mixed) - soft))
    learn_calibration(calibration, mixed, label, w)
    _learn_means(
        totals, field_means, cross_means, field_of, cross_of, half, n_fields, n_crosses,
        w * math.sqrt(p * (1.0 - p)), of_fields, of_crosses, unseen,
    )  # fmt: skip
    learn_net(
        linear, factors, top, linear_squares, factors_squares, top_squares, inputs, inner,
        f32(w * (sigmoid(logits[3]) - soft)),
    )  # fmt: skip
    totals[0] += w
    totals[1] += w * label
    totals[2] = totals[2] * KEEP_DELAYS + w * label
    totals[3] *= KEEP_DELAYS
