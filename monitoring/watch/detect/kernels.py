"""The sequential tests, event by event, compiled.

Every test is a Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2023) of a Bernoulli stream:

    M_k <- (M_k + w_k p) * L_k,    L_k = P(y | odds of p times theta_k) / P(y | odds times edge_k)

where ``edge_k`` is the end of the null band on the side of ``theta_k``. While the true odds stay
within the band, L_k has a mean of at most 1 whatever the past, so sum_k M_k less the expected
clicks so far is a supermartingale: the expected clicks until sum_k M_k first reaches a threshold c
are at least c.

The slices' tests multiply the hazard ``-log(1 - p)`` in place of the odds: then the evidence of
rows without a click depends on the sum of their hazards only. It is held back until a click or
until it is ``_CHUNK``, so that most rows cost a slice one addition. Starts within such a stretch
are counted as if it were one of time: sum_k M_k is at most 5 % too high for it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit, prefetch
from monitoring.watch.detect.side_kernels import (
    any_absent,
    delays,
    explained,
    missing_values,
    nothing_missing,
    overall_test,
    refresh_steady,
    without_tilt,
)  # fmt: skip
from monitoring.watch.detect.state import (
    BEGUN,
    CLICKED,
    CLICKS,
    COLD,
    EVENTS,
    EXPECTED,
    HELD,
    LATELY,
    LEVEL,
    LEVELLED,
    MARKET_CLICKS,
    NONE,
    RECENT_P,
    RECENT_Y,
    SLICE,
    DetectorState,
    Rows,
    Tests,
    Thresholds,
)  # fmt: skip

__all__ = ["advance", "market"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

_LARGE = 1e30  # of float32
_AHEAD = 6  # rows
_REFRESH = 32  # rows between looks at what changes slowly
_CHUNK = 0.25  # hazard
_AT_ONCE = 0.1  # hazard of a row that is not held back


@inlined
def _fetch(rows: Rows, i: int, slices: F32, sums: F32) -> None:
    """Ask for what the tests remember of a row soon to come."""
    wide, deep, clicked = slices.shape[1], sums.shape[1], rows.y[i] > 0.0
    for f in range(rows.slots.shape[1]):
        slot = np.int64(rows.slots[i, f])
        prefetch(sums, slot * deep)
        if clicked:
            prefetch(slices, slot * wide)


@jit
def advance(
    rows: Rows, start: int, tests: Tests, limits: Thresholds, state: DetectorState, out: I64
) -> int:
    """Go on from row ``start`` until something crosses; rows done.

    ``out`` gets what crossed and which slot, field, quantile or alarm it is.
    """
    # Arrays taken out of tuples anew for every use would be counted each time.
    slots, absent, slices, sums = rows.slots, rows.absent, state.slices, state.sums
    clock, tilt, overall = state.clock, state.tilt, state.overall
    missing, steady, gone = state.missing, state.steady, state.gone
    of_slices, of_overall = tests.slices, tests.overall
    made = _test_constants(of_slices, slices.shape[1])
    weights = np.zeros_like(missing) + tests.missing[2]
    any_open = bool((state.open_of >= 0).any())
    any_apart = bool((state.apart > 0).any())
    any_gone = bool((gone[:, 2] > 0.0).any())
    n, out[0] = len(rows.p), NONE
    for i in range(start, n):
        if i + _AHEAD < n:
            _fetch(rows, i + _AHEAD, slices, sums)
        p, y = rows.p[i], rows.y[i]
        p = min(max(p, 1e-7), 1.0 - 1e-7)
        out[0] = NONE
        clock[EVENTS] += 1.0
        clock[CLICKS] += p
        warm = clock[CLICKS] >= limits.warmup
        if not warm:
            clock[COLD] = clock[EVENTS]
        if clock[EVENTS] % _REFRESH == 1.0:
            refresh_steady(tests, state)
        paused = False
        if any_gone or any_absent(slots, i, absent):
            paused = missing_values(rows, i, p, warm, tests, limits, state, out)
        else:
            nothing_missing(p, warm, weights, missing, steady, gone)
        if y > 0.0 and rows.delay[i] > 0.0:
            delays(rows.delay[i], warm, tests, limits, state, out)
        if not paused and clock[CLICKS] >= BEGUN * limits.warmup:
            if tilt[0] > 0.0:
                p = without_tilt(rows, i, p, y, limits, state, out)
            if not (any_open and explained(rows, i, p, y, limits, state, out)):
                if warm and tilt[0] == 0.0:
                    overall_test(overall, of_overall, y, p, limits, out)
                is_apart = any_apart and _is_apart(slots, i, state.apart)
                market = np.float32(0.0 if is_apart else _market(clock, p, y))
                hazard = -math.log1p(-p)
                if y == 0.0 and hazard <= _AT_ONCE:
                    _hold(slots, i, hazard, market, warm, made, limits, slices, sums, out)
                else:
                    _clicked(
                        slots, i, hazard, y, market, is_apart, warm, of_slices, made, limits,
                        slices, sums, out,
                    )  # fmt: skip
        if out[0] != NONE:
            return i + 1
    return n


@inlined
def _is_apart(slots: I32, i: int, apart: I32) -> bool:
    """Whether any slot of a row stands apart from the click rate of the whole stream."""
    count = 0
    for f in range(slots.shape[1]):
        count += apart[slots[i, f]]
    return count > 0


@inlined
def _market(clock: F64, p: float, y: float) -> float:
    """The click rate of the whole stream as it is now: of late, and by the time of day."""
    clock[LEVELLED] += 1.0
    clock[LEVEL] += (p - clock[LEVEL]) / min(clock[LEVELLED], 2000.0)
    rate: float = clock[LEVEL] * clock[RECENT_Y] / clock[RECENT_P]
    clock[RECENT_P] += p * (1.0 - clock[RECENT_P] / MARKET_CLICKS)
    clock[RECENT_Y] += y - p * clock[RECENT_Y] / MARKET_CLICKS
    return rate


@inlined
def _test_constants(tests: F64, wide: int) -> F32:
    """By test: how fast evidence falls; factor and gain of a chunk; factor and gain of a row."""
    made = np.zeros((5, wide), np.float32)
    for k in range(tests.shape[1]):
        fall = tests[0, k] - tests[1, k]
        made[0, k], made[1, k] = fall, math.exp(-fall * _CHUNK)
        made[2, k] = -tests[2, k] * math.expm1(-fall * _CHUNK) / fall
    return made


@inlined
def _hold(
    slots: I32, i: int, hazard: float, market: Any, warm: bool, made: F32, limits: Thresholds,
    slices: F32, sums: F32, out: I64,
) -> None:  # fmt: skip
    """Take a row without a click; what crosses first by the most evidence is told."""
    one, chunk, best = np.float32(1.0), np.float32(_CHUNK), 0.0
    held_now = np.float32(hazard if warm else 0.0)
    for f in range(slots.shape[1]):
        slot = np.uint64(slots[i, f])  # never below 0: spares a test for that
        held, expected, lately = sums[slot, HELD], sums[slot, EXPECTED], sums[slot, LATELY]
        held += held_now
        if held >= chunk:
            held -= chunk
            total = _advance_slice(slices, slot, made[1], made[2])
            if total >= limits.slices and total > best:
                best = total
                out[0], out[1] = SLICE, slot
        sums[slot, HELD], sums[slot, EXPECTED] = held, expected + market
        sums[slot, LATELY] = lately + one


@inlined
def _clicked(
    slots: I32, i: int, hazard: float, y: float, market: Any, is_apart: bool, warm: bool,
    tests: F64, made: F32, limits: Thresholds, slices: F32, sums: F32, out: I64,
) -> None:  # fmt: skip
    """Take a row with a click, or of a high probability."""
    for k in range(tests.shape[1]):
        theta, edge = tests[0, k] * hazard, tests[1, k] * hazard
        likely = math.expm1(-theta) / math.expm1(-edge) if y > 0.0 else math.exp(edge - theta)
        made[3, k], made[4, k] = likely, tests[2, k] * hazard * likely
    best, rated = 0.0, np.float32(0.0 if is_apart else y)
    for f in range(slots.shape[1]):
        slot = np.uint64(slots[i, f])
        sums[slot, EXPECTED] += market
        sums[slot, CLICKED] += rated
        sums[slot, LATELY] += np.float32(1.0)
        if warm:
            if sums[slot, HELD] > 0.0:
                _take_held(slices, slot, sums[slot, HELD], tests, made)
                sums[slot, HELD] = 0.0
            total = _advance_slice(slices, slot, made[3], made[4])
            if total >= limits.slices and total > best:
                best = total
                out[0], out[1] = SLICE, slot


@inlined
def _take_held(m: F32, slot: Any, held: Any, tests: F64, made: F32) -> None:
    for k in range(tests.shape[1]):
        less = math.expm1(-made[0, k] * held)
        value = m[slot, k] * (1.0 + less) - tests[2, k] * less / made[0, k]
        m[slot, k] = np.float32(value)


@inlined
def _advance_slice(m: F32, slot: Any, factor: F32, gain: F32) -> float:
    """M <- M * factor + gain of one slice; its evidence. Four at a time, as processors have it."""
    a = b = c = d = np.float32(0.0)
    for first in range(0, m.shape[1], 4):
        i0 = np.uint64(first)  # never below 0: spares tests for that
        i1, i2, i3 = i0 + np.uint64(1), i0 + np.uint64(2), i0 + np.uint64(3)
        # all is read before any is written: else the compiler must take them to overlap
        m0, m1, m2, m3 = m[slot, i0], m[slot, i1], m[slot, i2], m[slot, i3]
        f0, f1, f2, f3 = factor[i0], factor[i1], factor[i2], factor[i3]
        g0, g1, g2, g3 = gain[i0], gain[i1], gain[i2], gain[i3]
        m0, m1, m2, m3 = m0 * f0 + g0, m1 * f1 + g1, m2 * f2 + g2, m3 * f3 + g3
        m[slot, i0], m[slot, i1], m[slot, i2], m[slot, i3] = m0, m1, m2, m3
        a, b, c, d = a + m0, b + m1, c + m2, d + m3
    total = np.float64((a + b) + (c + d))
    if total > _LARGE:
        for k in range(m.shape[1]):
            m[slot, k] = min(m[slot, k], np.float32(_LARGE))
    return total


@jit
def market(p: F64, y: F64) -> F64:
    """As the tests have it at each of some rows: the mean prediction, set right by the clicks."""
    out = np.empty(len(p))
    level, expected, clicks = 0.0, MARKET_CLICKS, MARKET_CLICKS
    for i in range(len(p)):
        level += (p[i] - level) / min(i + 1.0, 2000.0)
        out[i] = level * clicks / expected
        expected += p[i] * (1.0 - expected / MARKET_CLICKS)
        clicks += y[i] - p[i] * clicks / MARKET_CLICKS
    return out
