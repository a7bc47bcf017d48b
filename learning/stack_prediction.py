"""Kernel, stage 2: the mixed logit of an event, of the learner ``stack``: :mod:`learning.stack`.

The stages take arrays and no tuples of them: numba would count references in each event.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined
from learning.stack_net import net_logit
from learning.stack_state import (
    CLICKS,
    CNT,
    EXPERTS,
    F32,
    F64,
    HALF,
    I32,
    I64,
    INPUTS,
    ONE,
    RESIDUAL,
    SHARE,
    SQUARES,
    START,
    TE,
    THREE,
    TWO,
    VARIANCE,
    VIEWS,
    W1,
    W2,
    W3,
    WEIGHT,
    ZERO,
    f32,
)

__all__ = ["forward", "is_rare"]

TAUGHT_BY = f32(100)
LEAST_RATE = 2.0**-22
MOST_RESIDUAL = f32(8)
MOST_LOGIT = 100.0
"""Beyond these only weights of a million get; they keep every number finite."""


@inlined
def _base_rate(totals: F64) -> float:
    rate: float = totals[1] / totals[0]
    return min(max(rate, LEAST_RATE), 1.0 - LEAST_RATE)


@inlined
def _read_fields(
    table: F32, means: F32, totals: F64, at: I64, field_of: I32, half: int, count: int,
    admission: np.float32, known: F32, unseen: NDArray[np.bool_], rare: NDArray[np.bool_],
) -> int:  # fmt: skip
    """Weights and statistics of the fields' tokens; gives how many of them are rare."""
    p0, root, found = f32(_base_rate(totals)), f32(math.sqrt(totals[0])), 0
    for j in range(count):
        k = at[half, j]
        for row in range(8):
            known[row, j] = table[k + row]
    for j in range(count):
        views = known[VIEWS, j]
        q = (known[CLICKS, j] + THREE * p0) / (views + THREE)
        known[TE, j] = TWO * (q - p0) / (q + p0 - TWO * q * p0)
        known[CNT, j] = views / (views + root) - HALF
    for j in range(count):
        unseen[j] = known[VIEWS, j] == ZERO
        rare[j] = unseen[j] or known[VIEWS, j] < admission
        found += rare[j]
        if unseen[j]:
            m = field_of[half, j]
            taught = means[m, 5] / (means[m, 5] + TAUGHT_BY)  # how far the net knows such
            known[W1, j], known[W2, j], known[W3, j] = means[m, 0], means[m, 1], means[m, 2]
            known[TE, j] = (ONE - taught) * means[m, 3]
            known[CNT, j] = (ONE - taught) * means[m, 4] - HALF * taught
    return found


@inlined
def is_rare(members: I32, half: int, c: int, rare: NDArray[np.bool_]) -> bool:
    """Whether any of a cross's values is."""
    third = members[half, c, 2]
    return bool(
        rare[members[half, c, 0]] | rare[members[half, c, 1]] | (third >= 0 and rare[third])
    )


@inlined
def _read_crosses(
    table: F32, means: F32, at: I64, cross_of: I32, members: I32, half: int, count: int,
    fields: int, rare_fields: int, rare: NDArray[np.bool_], known: F32,
) -> None:  # fmt: skip
    """Weight and residual of each cross."""
    scale = f32(1.0 / math.sqrt(fields))
    for c in range(count):
        k = at[half, c]
        known[START, c], known[SQUARES, c] = table[k], table[k + 1]
        known[RESIDUAL, c], known[VARIANCE, c] = table[k + 2], table[k + 3]
    for c in range(count):
        residual = known[RESIDUAL, c] / (known[VARIANCE, c] + THREE)
        known[SHARE, c] = scale * min(max(residual, -MOST_RESIDUAL), MOST_RESIDUAL)
    for c in range(count):
        if known[VARIANCE, c] == ZERO:
            known[START, c] = means[0, cross_of[half, c]]
            known[SHARE, c] = means[1, cross_of[half, c]]
        known[WEIGHT, c] = known[START, c]
    if rare_fields == 0:
        return
    for c in range(count):  # whatever other cross is found in its bucket
        if is_rare(members, half, c, rare):
            known[WEIGHT, c] = means[0, cross_of[half, c]]
            known[SHARE, c] = means[1, cross_of[half, c]]


@inlined
def _gather_fields(
    field_of: I32, half: int, count: int, dense: bool, known: F32, inputs: F32
) -> int:
    """te, cnt and w2 by field; gives how many fields there are."""
    fields = len(inputs) // INPUTS
    for d in range(len(inputs)):
        inputs[d] = ZERO
    if dense:
        for j in range(count):
            inputs[j] = known[TE, j]
            inputs[fields + j] = known[CNT, j]
            inputs[2 * fields + j] = known[W2, j]
        return count
    j, present = 0, 0
    while j < count:  # a field's tokens stand together
        field, first = field_of[half, j], j
        while j < count and field_of[half, j] == field:
            inputs[field] += known[TE, j]
            inputs[fields + field] += known[CNT, j]
            inputs[2 * fields + field] += known[W2, j]
            j += 1
        inputs[field] /= f32(j - first)
        inputs[fields + field] /= f32(j - first)
        present += 1
    return max(present, 1)


@inlined
def _gather_crosses(
    crosses: I32, cross_of: I32, half: int, count: int, known: F32, inputs: F32
) -> None:
    """Pe and per by field."""
    pe = 3 * (len(inputs) // INPUTS)
    per = pe + len(inputs) // INPUTS
    last, pe_last, per_last = -1, ZERO, ZERO
    for c in range(count):
        m = cross_of[half, c]
        a, b, third = crosses[m, 0], crosses[m, 1], crosses[m, 2]
        if a != last:  # crosses of one first field stand together: their sum waits in a register
            if last >= 0:
                inputs[pe + last] += pe_last
                inputs[per + last] += per_last
            last, pe_last, per_last = a, ZERO, ZERO
        share, weight = known[SHARE, c], known[WEIGHT, c]
        pe_last += share
        per_last += weight
        inputs[pe + b] += share
        inputs[per + b] += weight
        if third >= 0:
            inputs[pe + third] += share
            inputs[per + third] += weight
    if last >= 0:
        inputs[pe + last] += pe_last
        inputs[per + last] += per_last


@inlined
def _sum(known: F32, row: int, count: int) -> float:
    """Sum in a fixed order, by eight strands: one alone would wait for each addition."""
    a = b = c = d = e = f = g = h = ZERO
    whole = count & ~7
    for j in range(0, whole, 8):
        a += known[row, j]
        b += known[row, j + 1]
        c += known[row, j + 2]
        d += known[row, j + 3]
        e += known[row, j + 4]
        f += known[row, j + 5]
        g += known[row, j + 6]
        h += known[row, j + 7]
    for j in range(whole, count):
        a += known[row, j]
    return float(((a + b) + (c + d)) + ((e + f) + (g + h)))


@inlined
def forward(
    field_table: F32, cross_table: F32, bias: F64, mixture: F64, totals: F64, field_means: F32,
    cross_means: F32, linear: F32, factors: F32, top: F32, crosses: I32, field: I64, cross: I64,
    field_of: I32, cross_of: I32, members: I32, half: int, n_fields: int, n_crosses: int,
    dense: bool, admission: np.float32, of_fields: F32, of_crosses: F32,
    unseen: NDArray[np.bool_], rare: NDArray[np.bool_], inputs: F32, inner: F32, logits: F64,
) -> tuple[float, int]:  # fmt: skip
    """The mixed logit of an event, and how many of its values are rare; its parts are in the work.

    Nothing is written to the state.
    """
    rare_fields = _read_fields(
        field_table, field_means, totals, field, field_of, half, n_fields, admission, of_fields,
        unseen, rare,
    )  # fmt: skip
    fields = _gather_fields(field_of, half, n_fields, dense, of_fields, inputs)
    _read_crosses(
        cross_table, cross_means, cross, cross_of, members, half, n_crosses, fields, rare_fields,
        rare, of_crosses,
    )  # fmt: skip
    _gather_crosses(crosses, cross_of, half, n_crosses, of_crosses, inputs)
    logits[0] = bias[0, 0] + _sum(of_fields, W1, n_fields)
    logits[1] = bias[1, 0] + _sum(of_fields, W2, n_fields)
    logits[2] = bias[2, 0] + _sum(of_fields, W3, n_fields) + _sum(of_crosses, WEIGHT, n_crosses)
    p0 = _base_rate(totals)
    logits[3] = math.log(p0 / (1.0 - p0)) + net_logit(linear, factors, top, inputs, inner)
    mixed = 0.0
    for e in range(EXPERTS):
        logits[e] = min(max(logits[e], -MOST_LOGIT), MOST_LOGIT)
        mixed += mixture[e] * logits[e]
    return mixed, rare_fields
