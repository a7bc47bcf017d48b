"""The sequential tests, event by event, compiled.

Every test is a Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2023) of a Bernoulli stream:

    M_k <- (M_k + w_k p) * L_k,    L_k = P(y | odds of p times theta_k) / P(y | odds times edge_k)

where ``edge_k`` is the end of the null band on the side of ``theta_k``. While the true odds stay
within the band, L_k has a mean of at most 1 whatever the past, so sum_k M_k less the expected
clicks so far is a supermartingale: the expected clicks until sum_k M_k first reaches a threshold c
are at least c. All kernels are in this one file, for numba's cache sees only one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit

__all__ = ["Limits", "Rows", "State", "Tests", "advance", "first_seen"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

_HUGE = 1e250


class Tests(NamedTuple):
    """Alternatives of each kind of test: rows are odds ratio, null edge, weight."""

    overall: F64
    slices: F64
    moved: F64
    missing: F64
    delay: F64


class Limits(NamedTuple):
    """Thresholds, and what the tests wait for."""

    overall: float
    slices: float
    moved: float
    missing: float
    delay: float
    warmup: float
    settle: float
    fast: float
    slow: float
    swing: float
    hold: float
    merit: float
    closing: float


class State(NamedTuple):
    """What the tests remember; plain arrays, changed in place."""

    overall: F64  # (K,)
    slices: F64  # (slots, K)
    moved: F64  # (slots, K)
    level: F64  # (slots, 7): events, fast mean, slow mean, swing, middle mean, rows of late, merit
    daily: NDArray[np.float32]  # (slots, 2, 12): by hour of day, mean less the slow one; rows
    open_of: I32  # (slots,): number of the open alarm of this slot, or -1
    missing: F64  # (fields, K)
    gone: F64  # (fields, 3): rows, missing rows, whether an alarm is open
    delay: F64  # (quantiles, K)
    quantile: F64  # (quantiles, 3): share, estimate of log delay, whether an alarm is open
    clock: F64  # CLICKS, LEVEL, ... below
    tilt: F64  # (2,): expected clicks and clicks since an overall alarm is open; 0: none is
    closing: F64  # (alarms, 5): odds ratio, evidence of its end, expected clicks, clicks, money


class Rows(NamedTuple):
    """Some rows."""

    time: I64
    p: F64
    y: F64
    bid: F64
    delay: F64
    slots: I32  # (n, fields); of a missing value: that field's own slot for it
    absent: I32  # (fields,): the slot of a missing value


CLICKS, LEVEL, EVENTS, DELAYS, COLD, LEVELLED, RECENT_P, RECENT_Y = range(8)
NONE, OVERALL, SLICE, MOVED, MISSING, DELAY, CLOSED = range(7)


@inlined
def _ratio(y: float, p: float, theta: float, edge: float) -> float:
    """L_k of the module's formula."""
    lower = (1.0 - p + edge * p) / (1.0 - p + theta * p)
    return lower * (theta / edge) if y > 0.0 else lower


@inlined
def _advance_test(m: F64, tests: F64, y: float, p: float, unit: float) -> float:
    """One event of one test; its evidence."""
    total = 0.0
    for k in range(len(m)):
        value = (m[k] + tests[2, k] * unit) * _ratio(y, p, tests[0, k], tests[1, k])
        m[k] = min(value, _HUGE)
        total += m[k]
    return total


@inlined
def _tilted(p: float, odds: float) -> float:
    return odds * p / (1.0 - p + odds * p)


@jit
def advance(rows: Rows, start: int, tests: Tests, limits: Limits, state: State, out: I64) -> int:
    """Go on from row ``start`` until something crosses; rows done.

    ``out`` gets what crossed and which slot, field, quantile or alarm it is.
    """
    shared = np.empty(tests.slices.shape[1])
    n, out[0] = len(rows.p), NONE
    for i in range(start, n):
        p, y = rows.p[i], rows.y[i]
        p = min(max(p, 1e-7), 1.0 - 1e-7)
        out[0] = NONE
        state.clock[EVENTS] += 1.0
        state.clock[CLICKS] += p
        warm = state.clock[CLICKS] >= limits.warmup
        if not warm:
            state.clock[COLD] = state.clock[EVENTS]
        paused = _missing(rows, i, p, warm, tests, limits, state, out)
        if y > 0.0 and rows.delay[i] > 0.0:
            _delays(rows.delay[i], warm, tests, limits, state, out)
        if not paused and state.clock[CLICKS] >= 0.25 * limits.warmup:
            _calibration(rows, i, p, y, warm, tests, limits, state, shared, out)
        if out[0] != NONE:
            return i + 1
    return n


@inlined
def _cross(out: I64, kind: int, which: int) -> None:
    if out[0] == NONE:
        out[0], out[1] = kind, which


@jit
def _missing(
    rows: Rows, i: int, p: float, warm: bool, tests: Tests, limits: Limits, state: State, out: I64
) -> bool:
    """Test each field's share of missing values; whether a field of an open alarm is missing."""
    hit = False
    for f in range(rows.slots.shape[1]):
        gone = 1.0 if rows.slots[i, f] == rows.absent[f] else 0.0
        base, m = state.gone[f], state.missing[f]
        q = min(max((base[1] + 0.5) / (base[0] + 1.0), 1e-3), 1.0 - 1e-3)
        if base[2] > 0.0:
            hit = hit or gone > 0.0
            if _ends(m, gone, q, base[2], p) >= limits.closing:
                _cross(out, CLOSED, -1 - f)
            continue
        if warm and _advance_test(m, tests.missing, gone, q, p) >= limits.missing:
            _cross(out, MISSING, f)
            hit = True
        base[0] += 1.0
        base[1] += gone
    return hit


@inlined
def _ends(m: F64, y: float, p: float, theta: float, unit: float) -> float:
    """Evidence that odds of ``theta`` times ``p``'s are over: nearer to ``p``'s than to those."""
    half = math.sqrt(theta)
    m[0] = min((m[0] + unit) * _ratio(y, p, 1.0, half), _HUGE)
    evidence: float = m[0]
    return evidence


@jit
def _delays(delay: float, warm: bool, tests: Tests, limits: Limits, state: State, out: I64) -> None:
    """Test how many delays are above each of their past quantiles, then learn these."""
    x = math.log(delay)
    state.clock[DELAYS] += 1.0
    n = state.clock[DELAYS]
    for j in range(len(state.quantile)):
        at = state.quantile[j]
        above, q = (1.0 if x > at[1] else 0.0), 1.0 - at[0]
        if n > 500.0 and warm:
            m = state.delay[j]
            if at[2] > 0.0:
                if _ends(m, above, q, at[2], 1.0) >= limits.closing:
                    _cross(out, CLOSED, -1001 - j)
            elif _advance_test(m, tests.delay, above, q, 1.0) >= limits.delay:
                _cross(out, DELAY, j)
        if at[2] == 0.0:
            step = 4.0 / min(n + 3.0, 5000.0)
            at[1] = x if n == 1.0 else at[1] + step * (above - q)


@jit
def _calibration(
    rows: Rows,
    i: int,
    p: float,
    y: float,
    warm: bool,
    tests: Tests,
    limits: Limits,
    state: State,
    shared: F64,
    out: I64,
) -> None:
    """Close alarms that this row belongs to; without any, test everything it belongs to."""
    if state.tilt[0] > 0.0:
        _close(rows, i, p, y, 0, limits, state, out)
        tilt = (state.tilt[1] + 1e-9) / state.tilt[0]
        state.tilt[0] += p - state.tilt[0] / 500.0 * p
        state.tilt[1] += y - state.tilt[1] / 500.0 * p
        p = _tilted(p, tilt)
    inside = False
    for f in range(rows.slots.shape[1]):
        alarm = state.open_of[rows.slots[i, f]]
        if alarm >= 0:
            inside = True
            _close(rows, i, p, y, alarm, limits, state, out)
    if inside:
        return
    if warm and state.tilt[0] == 0.0:
        evidence = _advance_test(state.overall, tests.overall, y, p, p)
        if evidence >= limits.overall:
            _cross(out, OVERALL, 0)
    _slices(rows, i, p, y, warm, tests, limits, state, shared, out)


@inlined
def _close(
    rows: Rows, i: int, p: float, y: float, alarm: int, limits: Limits, state: State, out: I64
) -> None:
    """Evidence that an open alarm's shift is over: odds nearer to 1 than to what they were."""
    at = state.closing[alarm]
    evidence = _ends(at[1:2], y, p, at[0], p)
    at[2] += p
    at[3] += y
    if rows.bid[i] == rows.bid[i]:
        at[4] += rows.bid[i] * (p - y)
    if evidence >= limits.closing:
        _cross(out, CLOSED, alarm)


@inlined
def _slices(
    rows: Rows,
    i: int,
    p: float,
    y: float,
    warm: bool,
    tests: Tests,
    limits: Limits,
    state: State,
    shared: F64,
    out: I64,
) -> None:
    """Test the slices of a row; what crosses first by the most evidence is told."""
    count = len(shared)
    for k in range(count):
        shared[k] = _ratio(y, p, tests.slices[0, k], tests.slices[1, k])
    state.clock[LEVELLED] += 1.0
    state.clock[LEVEL] += (p - state.clock[LEVEL]) / min(state.clock[LEVELLED], 2000.0)
    relative = p / state.clock[LEVEL]
    recent = state.clock[RECENT_Y] / state.clock[RECENT_P]  # a shift of everything is no slice's
    state.clock[RECENT_P] += p * (1.0 - state.clock[RECENT_P] / 1000.0)
    state.clock[RECENT_Y] += y - p * state.clock[RECENT_Y] / 1000.0
    best, part = 0.0, rows.time[i] // 7_200_000 % 12
    for f in range(rows.slots.shape[1]):
        slot = rows.slots[i, f]
        m, total = state.slices[slot], 0.0
        state.level[slot, 5] += 1.0
        for k in range(count if warm else 0):
            value = min((m[k] + tests.slices[2, k] * p) * shared[k], _HUGE)
            m[k] = value
            total += value
        if total >= limits.slices and total > best:
            best = total
            out[0], out[1] = SLICE, slot
        if tests.moved.shape[1] > 0 and state.tilt[0] == 0.0:  # levels mean little while it is
            moved = _moved(slot, part, p, y, relative, recent, warm, tests, limits, state)
            if moved >= limits.moved and moved > best:
                best = moved
                out[0], out[1] = MOVED, slot


@inlined
def _moved(
    slot: int,
    part: int,
    p: float,
    y: float,
    relative: float,
    recent: float,
    warm: bool,
    tests: Tests,
    limits: Limits,
    state: State,
) -> float:
    """Test the clicks of a slice against what was predicted for it before the model followed.

    The slow mean of predictions over the fast one undoes what the model has learned of late. The
    null band is as wider as this difference has been until now. Not tested is a slice whose
    clicks have followed the model's own level until now: it comes and goes with the hour, say.
    """
    at, m, total = state.level[slot], state.moved[slot], 0.0
    daily = state.daily[slot]
    usual = at[2] + daily[0, part] * (daily[1, part] / (daily[1, part] + 1000.0))
    at[0] += 1.0
    back = min(max(usual / max(at[1], 1e-9), 0.1), 10.0) if at[0] > 1.0 else 1.0
    if warm and at[0] >= limits.settle and at[6] < limits.merit:
        q = _tilted(p, back * recent)
        wider = math.exp(min(limits.swing * math.sqrt(at[3]), 1.0))
        for k in range(len(m)):
            theta, edge = tests.moved[0, k], tests.moved[1, k]
            edge = edge * wider if theta > 1.0 else edge / wider
            if (theta > edge) == (theta > 1.0):
                m[k] = min((m[k] + tests.moved[2, k] * q) * _ratio(y, q, theta, edge), _HUGE)
                total += m[k]
            else:
                m[k] = 0.0
    if total < limits.hold:
        # Log likelihood by which the model's own level predicts the clicks better, to third order.
        x = p * (back - 1.0)
        gain = x - 0.5 * x * x - (y * math.log(back) if y > 0.0 else 0.0)
        at[6] = max(at[6] + gain - at[6] / limits.slow, -3.0)
    _learn_level(at, daily, part, usual, relative, total < limits.hold, limits)
    return total


@inlined
def _learn_level(
    at: F64, daily: F64, part: int, usual: float, relative: float, learn: bool, limits: Limits
) -> None:
    if learn:  # else the reference would follow the very shift that is in doubt
        at[2] += (relative - at[2]) / min(at[0], limits.slow)
        daily[1, part] = min(daily[1, part] + 1.0, limits.slow)
        daily[0, part] += (relative - at[2] - daily[0, part]) / daily[1, part]
        gap = at[4] / max(usual, 1e-9) - 1.0
        at[3] += (gap * gap - at[3]) / min(at[0], limits.slow)
    at[1] += (relative - at[1]) / min(at[0], limits.fast)
    at[4] += (relative - at[4]) / min(at[0], 5.0 * limits.fast)


@jit
def first_seen(codes: I32, known: I32, new: I32) -> int:
    """Codes that are not known yet, in order of their first row; how many."""
    count = 0
    for i in range(len(codes)):
        code = codes[i]
        if known[code] == -1:
            known[code] = -2
            new[count] = code
            count += 1
    return count
