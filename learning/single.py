"""The learner ``single``: one FTRL-Proximal, with weights that are exactly zero.

Algorithm 1 of McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, on hashed
fields and crosses, in float64: a bucket holds z and n, and its weight is ::

    w = -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)   where |z| > l1, else exactly 0

An event is learned in stages, each a loop that vectorises: gather z and n, weigh, predict, step,
scatter. ``rates`` holds 1 / alpha, beta / alpha + l2, and l1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from learning.buckets import Events, Slots, expand_event, fetch_event
from learning.calibration import sigmoid
from learning.stack import LATE

__all__ = ["WEIGHT", "N", "State", "examine_event", "learn_events", "predict_events"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class State(NamedTuple):
    """Everything that is learned, and its rates.

    Parameters
    ----------
    fields, crosses
        The tables, flat float64: z and n of each bucket.
    bias
        float64 (2,): z and n; its rates are the fields'.
    field_rates, cross_rates
        float64 (3,).
    """

    fields: F64
    crosses: F64
    bias: F64
    field_rates: F64
    cross_rates: F64


Z, N, ROOT, WEIGHT, NEW_Z, NEW_N = range(6)
"""Rows of what is known of every feature of a kind: float64 (6, features)."""


@inlined
def _weigh(lanes: F64, rates: F64, count: int) -> None:
    """Weights of some z and n, and the roots of n."""
    inverse, stiffness, l1 = rates[0], rates[1], rates[2]
    for m in range(count):
        r = math.sqrt(lanes[N, m])
        lanes[ROOT, m] = r
        excess = (abs(lanes[Z, m]) - l1) / (r * inverse + stiffness)
        excess = excess if excess > 0.0 else 0.0
        lanes[WEIGHT, m] = -excess if lanes[Z, m] > 0.0 else excess


@inlined
def _sum(lanes: F64, row: int, count: int) -> float:
    """Sum in a fixed order, by eight strands: one alone would wait for each addition."""
    a = b = c = d = e = f = g = h = 0.0
    whole = count & ~7
    for j in range(0, whole, 8):
        a += lanes[row, j]
        b += lanes[row, j + 1]
        c += lanes[row, j + 2]
        d += lanes[row, j + 3]
        e += lanes[row, j + 4]
        f += lanes[row, j + 5]
        g += lanes[row, j + 6]
        h += lanes[row, j + 7]
    for j in range(whole, count):
        a += lanes[row, j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@inlined
def _read(table: F64, at: I64, half: int, count: int, rates: F64, lanes: F64) -> float:
    """Gather and weigh some buckets; the sum of their weights."""
    for j in range(count):
        k = np.uint64(at[half, j])
        lanes[Z, j] = table[k]
        lanes[N, j] = table[k + np.uint64(1)]
    _weigh(lanes, rates, count)
    return _sum(lanes, WEIGHT, count)


@inlined
def _step(lanes: F64, g: float, rates: F64, count: int) -> None:
    """Add the gradient: ``sigma = (sqrt(n + g**2) - sqrt(n)) / alpha; z += g - sigma w``."""
    inverse = rates[0]
    for m in range(count):
        grown = lanes[N, m] + g * g
        sigma = (math.sqrt(grown) - lanes[ROOT, m]) * inverse
        lanes[NEW_Z, m] = lanes[Z, m] + (g - sigma * lanes[WEIGHT, m])
        lanes[NEW_N, m] = grown


@jit
def _step_shared(
    table: F64, at: I64, half: int, count: int, j: int, g: float, rates: F64, lanes: F64
) -> None:
    """Take the step of a bucket that several features of the event share: x is their number."""
    x = 0.0
    for i in range(count):
        x += 1.0 if at[half, i] == at[half, j] else 0.0
    grad = g * x
    grown = lanes[N, j] + grad * grad
    sigma = (math.sqrt(grown) - lanes[ROOT, j]) * rates[0]
    table[at[half, j]] = lanes[Z, j] + (grad - sigma * lanes[WEIGHT, j])
    table[at[half, j] + 1] = grown


@inlined
def _update(
    table: F64, at: I64, half: int, count: int, g: float, rates: F64, lanes: F64, shared: I64
) -> None:
    """Step some buckets and write them back.

    A bucket that no longer holds what was gathered was written for an earlier feature of this
    very event: features share it, and its step is taken once for all of them.
    """
    _step(lanes, g, rates, count)
    one, found = np.uint64(1), 0
    for j in range(count):
        k = np.uint64(at[half, j])
        shared[found] = j
        found += (table[k] != lanes[Z, j]) | (table[k + one] != lanes[N, j])
        table[k] = lanes[NEW_Z, j]
        table[k + one] = lanes[NEW_N, j]
    for i in range(found):
        _step_shared(table, at, half, count, shared[i], g, rates, lanes)


@jit
def learn_events(
    state: State, events: Events, slots: Slots, labels: F64, importance: F64, out: F64
) -> None:
    """Predict, then learn, each event in turn; as :func:`learning.stack.learn_events`."""
    field_table, cross_table, bias, field_rates, cross_rates = state
    tokens, starts, rows, fields, crosses, shifts, sizes = events
    field, cross, field_of, cross_of, members = slots
    most_f, most_c = field.shape[1], cross.shape[1]
    of_fields, of_crosses, of_bias = np.empty((6, most_f)), np.empty((6, most_c)), np.empty((6, 1))
    shared = np.empty(max(most_f, most_c), np.int64)
    f, c = expand_event(
        tokens, starts, 0, fields, crosses, shifts, sizes,
        field, cross, field_of, cross_of, members, 0,
    )  # fmt: skip
    for row in range(rows):
        half, next_f, next_c = row & 1, 0, 0
        if row + 1 < rows:
            next_f, next_c = expand_event(
                tokens, starts, row + 1, fields, crosses, shifts, sizes,
                field, cross, field_of, cross_of, members, 1 - half,
            )  # fmt: skip
            fetch_event(field_table, field, 1 - half, next_f)
            fetch_event(cross_table, cross, 1 - half, next_c)
        of_bias[Z, 0], of_bias[N, 0] = bias[0], bias[1]
        _weigh(of_bias, field_rates, 1)
        logit = of_bias[WEIGHT, 0] + _read(field_table, field, half, f, field_rates, of_fields)
        logit += _read(cross_table, cross, half, c, cross_rates, of_crosses)
        out[row] = logit
        g = -1.0 if labels[row] == LATE else sigmoid(logit) - labels[row]
        g *= importance[row] if len(importance) > 0 else 1.0
        _step(of_bias, g, field_rates, 1)
        bias[0], bias[1] = of_bias[NEW_Z, 0], of_bias[NEW_N, 0]
        _update(field_table, field, half, f, g, field_rates, of_fields, shared)
        _update(cross_table, cross, half, c, g, cross_rates, of_crosses, shared)
        f, c = next_f, next_c


@inlined
def _variance(lanes: F64, rates: F64, count: int) -> float:
    total = 0.0
    for m in range(count):
        total += 1.0 / (lanes[ROOT, m] * rates[0] + rates[1])
    return total


@jit
def predict_events(state: State, events: Events, slots: Slots, out: F64, deviations: F64) -> None:
    """Logit of each event, and its deviation; as :func:`learning.stack.predict_events`."""
    field_table, cross_table, bias, field_rates, cross_rates = state
    tokens, starts, rows, fields, crosses, shifts, sizes = events
    field, cross, field_of, cross_of, members = slots
    of_fields, of_crosses = np.empty((6, field.shape[1])), np.empty((6, cross.shape[1]))
    of_bias = np.empty((6, 1))
    of_bias[Z, 0], of_bias[N, 0] = bias[0], bias[1]
    _weigh(of_bias, field_rates, 1)
    for row in range(rows):
        f, c = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes,
            field, cross, field_of, cross_of, members, 0,
        )  # fmt: skip
        fetch_event(field_table, field, 0, f)
        fetch_event(cross_table, cross, 0, c)
        logit = of_bias[WEIGHT, 0] + _read(field_table, field, 0, f, field_rates, of_fields)
        logit += _read(cross_table, cross, 0, c, cross_rates, of_crosses)
        out[row] = logit
        if len(deviations) > 0:
            variance = _variance(of_bias, field_rates, 1)
            variance += _variance(of_fields, field_rates, f)
            variance += _variance(of_crosses, cross_rates, c)
            deviations[row] = math.sqrt(variance)


@jit
def examine_event(state: State, events: Events, slots: Slots) -> tuple[float, F64, F64]:
    """Weight of the bias; what is known of an event's fields and crosses: (6, features) each."""
    field_table, cross_table, bias, field_rates, cross_rates = state
    tokens, starts, _, fields, crosses, shifts, sizes = events
    field, cross, field_of, cross_of, members = slots
    f, c = expand_event(
        tokens, starts, 0, fields, crosses, shifts, sizes,
        field, cross, field_of, cross_of, members, 0,
    )  # fmt: skip
    of_fields, of_crosses, of_bias = np.empty((6, f)), np.empty((6, c)), np.empty((6, 1))
    _read(field_table, field, 0, f, field_rates, of_fields)
    _read(cross_table, cross, 0, c, cross_rates, of_crosses)
    of_bias[Z, 0], of_bias[N, 0] = bias[0], bias[1]
    _weigh(of_bias, field_rates, 1)
    return of_bias[WEIGHT, 0], of_fields, of_crosses
