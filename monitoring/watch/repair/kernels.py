"""How far each slice is off just now, example by example: a hidden Markov model of its factor.

The factor by which a slice's clicks differ from what was predicted is one of :data:`RATIOS`. It is
1 nearly always; once in ``change_clicks`` expected clicks of a slice it jumps to one of the others
(:data:`JUMPS`), and from there it goes back step by step, ``fade_clicks`` expected clicks each, as
the model itself learns; or all at once. Each example multiplies the weight of each factor by the
probability that it gave the outcome before it was known: the weights are the forward probabilities
(Rabiner 1989, III.A), which lose to the best sequence of factors no more than the logarithm of
what that sequence was given beforehand (Herbster and Warmuth 1998). So the factor 1 must have
predicted *later* examples worse than the others, by far, before anything else is believed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit

__all__ = ["COLUMNS", "JUMPS", "RATIOS", "begin", "follow"]

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_STEPS = (0.1, 0.2, 0.35, 0.55, 0.8, 1.1, math.log(4.0))
RATIOS = np.exp(np.array([*(-s for s in reversed(_STEPS)), 0.0, *_STEPS]))
"""Factors, least first; the middle one is 1."""
N = len(RATIOS)
_SIDE = (0.0, 0.0, 2.0, 3.0, 3.0, 2.0, 1.0)
JUMPS = np.array([*reversed(_SIDE), 0.0, *_SIDE]) / (2.0 * sum(_SIDE))
"""Where a jump goes: to the smallest errors none, which the model itself makes and mends."""
HELD, FACTOR, SINCE, ROWS, CLICKS, RAW, REPAIRED, NATS, OFF = range(N, N + 9)
"""Columns of a slice's state behind the weights: hazard not yet taken; the factor that is applied,
1: none; since when; and since then its rows, clicks, what was expected without and with it, and
the log likelihood gained; the probability that its factor is not 1."""
COLUMNS = N + 9
_CHUNK = 0.25
_AT_ONCE = 0.1
_ON, _STAY = 0.5, 0.2


def begin(slots: int) -> F64:
    """The state of slices of which nothing is known, float64 (slots, COLUMNS)."""
    state = np.zeros((slots, COLUMNS))
    state[:, N // 2] = state[:, FACTOR] = 1.0
    return state


@jit
def follow(
    time: I64, p: F64, y: F64, slots: I32, ratios: F64, jumps: F64, rates: F64, warm: F64,
    state: F64,
) -> None:  # fmt: skip
    """Take rows, in order.

    Parameters
    ----------
    time, p, y
        Event time, the model's own probability, 1 or 0.
    slots
        (rows, fields): below 0 where a field is not followed.
    ratios, jumps
        :data:`RATIOS` and :data:`JUMPS`.
    rates
        Jumps, steps back, and returns, each per expected click.
    warm
        (2,): expected clicks so far, and from how many on repairs are applied.
    state
        As :func:`begin` gives it.
    """
    for i in range(len(p)):
        hazard = -math.log1p(-min(max(p[i], 1e-7), 1.0 - 1e-7))
        warm[0] += hazard
        total = 1.0
        for f in range(slots.shape[1]):
            if slots[i, f] >= 0:
                total *= state[slots[i, f], FACTOR]
        for f in range(slots.shape[1]):
            if slots[i, f] < 0:
                continue
            of = state[slots[i, f]]
            others = hazard * total / of[FACTOR]  # what the other repairs make of it
            if of[FACTOR] != 1.0:
                _judge(of, others, y[i])
            if y[i] == 0.0 and others <= _AT_ONCE:
                of[HELD] += others
                if of[HELD] < _CHUNK:
                    continue
                _take(of, of[HELD], 0.0, ratios, jumps, rates)
                of[HELD] = 0.0
            else:
                if of[HELD] > 0.0:
                    _take(of, of[HELD], 0.0, ratios, jumps, rates)
                    of[HELD] = 0.0
                _take(of, others, y[i], ratios, jumps, rates)
            _decide(of, ratios, time[i], warm[0] >= warm[1])


@inlined
def _judge(of: Any, hazard: float, y: float) -> None:
    """What the factor has gained, and lost, on examples that came after it was set."""
    repaired = of[FACTOR] * hazard
    of[ROWS] += 1.0
    of[CLICKS] += y
    of[RAW] -= math.expm1(-hazard)
    of[REPAIRED] -= math.expm1(-repaired)
    if y > 0.0:
        of[NATS] += math.log(math.expm1(-repaired) / math.expm1(-hazard))
    else:
        of[NATS] += hazard - repaired


@inlined
def _take(of: Any, hazard: float, y: float, ratios: F64, jumps: F64, rates: F64) -> None:
    """Weigh the factors by an outcome, or by so much hazard without a click; then let them move."""
    n, middle, total = len(ratios), len(ratios) // 2, 0.0
    for k in range(n):
        none = math.exp(-ratios[k] * hazard)
        of[k] *= 1.0 - none if y > 0.0 else none
        total += of[k]
    for k in range(n):
        of[k] /= total
    expected = min(hazard, 1.0)
    jump, step, back = rates[0] * expected, rates[1] * expected, rates[2] * expected
    for k in range(middle):  # from inside out: nothing moves twice
        low, high = middle - 1 - k, middle + 1 + k
        moved = step * of[low]
        of[low] -= moved
        of[low + 1] += moved
        moved = step * of[high]
        of[high] -= moved
        of[high - 1] += moved
    away, home = jump * of[middle], 0.0
    for k in range(n):
        if k != middle:
            returned = back * of[k]
            home += returned
            of[k] += away * jumps[k] - returned
    of[middle] += home - away


@inlined
def _decide(of: Any, ratios: F64, time: int, warm: bool) -> None:
    """Apply a factor while it is likelier than not that one is needed; with some inertia."""
    middle, mean = len(ratios) // 2, 0.0
    for k in range(len(ratios)):
        mean += of[k] * ratios[k]
    of[OFF] = 1.0 - of[middle]
    if of[FACTOR] == 1.0:
        if of[OFF] <= _ON or not warm:
            return
        of[SINCE] = time
        of[ROWS] = of[CLICKS] = of[RAW] = of[REPAIRED] = of[NATS] = 0.0
    of[FACTOR] = mean if of[OFF] >= _STAY else 1.0
