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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit, prefetch

__all__ = ["Limits", "Rows", "State", "Tests", "advance", "first_seen", "renamed"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

_HUGE = 1e250
_LARGE = 1e30  # of float32
_AHEAD = 4  # rows
_REFRESH = 32  # rows between looks at what changes slowly


class Tests(NamedTuple):
    """Alternatives of each kind of test: rows are odds ratio, null edge, weight, their ratio."""

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
    """What the tests remember; plain arrays, changed in place.

    What is kept by slot is small and side by side: most of the time goes to fetching it.
    """

    overall: F64  # (K,)
    slices: F32  # (slots, K and zeros up to a multiple of 4)
    moved: F32  # (slots, K)
    level: F32  # (slots, 32): see EVENTS_SEEN, ...; then DAILY: 12 times mean less slow one, rows
    open_of: I32  # (slots,): number of the open alarm of this slot, or -1
    missing: F64  # (fields, K)
    steady: F64  # (fields, K): by what evidence of missing values falls with a value that is there
    gone: F64  # (fields, 3): rows, missing rows, whether an alarm is open
    delay: F64  # (quantiles, K)
    quantile: F64  # (quantiles, 3): share, estimate of log delay, whether an alarm is open
    clock: F64  # CLICKS, LEVEL, ... below
    tilt: F64  # (2,): expected clicks and clicks since an overall alarm is open; 0: none is
    closing: F64  # (alarms, 5): odds ratio, evidence of its end, expected clicks, clicks, money

    @property
    def daily(self) -> F32:
        """By slot and part of the day: mean less the slow one, rows; a view."""
        return self.level[:, DAILY:].reshape(len(self.level), 12, 2)


class Rows(NamedTuple):
    """Some rows."""

    time: I64
    p: F64
    y: F64
    bid: F64
    delay: F64
    slots: I32  # (n, fields); of a missing value: that field's own slot for it
    absent: I32  # (fields,): the slot of a missing value


ROWS, FAST, SLOW, SWING, MIDDLE, LATELY, MERIT, WIDER, DAILY = range(9)
"""Columns of ``level``, from its rows to the width of the null band."""
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


@inlined
def _fetch(slots: I32, i: int, part: int, slices: F32, level: F32) -> None:
    """Ask for what the tests remember of a row soon to come."""
    wide, deep = slices.shape[1], level.shape[1]
    for f in range(slots.shape[1]):
        slot = np.int64(slots[i, f])
        prefetch(slices, slot * wide)
        prefetch(level, slot * deep)
        prefetch(level, slot * deep + part)


@inlined
def _part(time: int) -> int:
    """Column of ``level`` of the part of the day."""
    return DAILY + 2 * (time // 7_200_000 % 12)


@jit
def advance(rows: Rows, start: int, tests: Tests, limits: Limits, state: State, out: I64) -> int:
    """Go on from row ``start`` until something crosses; rows done.

    ``out`` gets what crossed and which slot, field, quantile or alarm it is.
    """
    # Arrays taken out of tuples anew for every use would be counted each time.
    slots, absent, times, slices, level = (
        rows.slots, rows.absent, rows.time, state.slices, state.level,
    )  # fmt: skip
    moved, clock, tilt, overall = state.moved, state.clock, state.tilt, state.overall
    missing, steady, gone = state.missing, state.steady, state.gone
    of_slices, of_moved, of_overall = tests.slices, tests.moved, tests.overall
    shared, added = np.zeros(slices.shape[1], np.float32), np.zeros(slices.shape[1], np.float32)
    weights = np.zeros_like(missing) + tests.missing[2]
    any_open = bool((state.open_of >= 0).any())
    any_gone = bool((gone[:, 2] > 0.0).any())
    n, out[0] = len(rows.p), NONE
    for i in range(start, n):
        if i + _AHEAD < n:
            _fetch(slots, i + _AHEAD, _part(times[i + _AHEAD]), slices, level)
        p, y = rows.p[i], rows.y[i]
        p = min(max(p, 1e-7), 1.0 - 1e-7)
        out[0] = NONE
        clock[EVENTS] += 1.0
        clock[CLICKS] += p
        warm = clock[CLICKS] >= limits.warmup
        if not warm:
            clock[COLD] = clock[EVENTS]
        if clock[EVENTS] % _REFRESH == 1.0:
            _refresh_steady(tests, state)
        paused = False
        if any_gone or _any_absent(slots, i, absent):
            paused = _missing(rows, i, p, warm, tests, limits, state, out)
        else:
            _nothing_missing(p, warm, weights, missing, steady, gone)
        if y > 0.0 and rows.delay[i] > 0.0:
            _delays(rows.delay[i], warm, tests, limits, state, out)
        if not paused and clock[CLICKS] >= 0.25 * limits.warmup:
            if tilt[0] > 0.0:
                p = _without_tilt(rows, i, p, y, limits, state, out)
            if not (any_open and _explained(rows, i, p, y, limits, state, out)):
                if warm and tilt[0] == 0.0:
                    _overall(overall, of_overall, y, p, limits, out)
                _slices(
                    slots, i, _part(times[i]), p, y, warm, tilt[0] == 0.0, of_slices, of_moved,
                    limits, slices, moved, level, clock, shared, added, out,
                )  # fmt: skip
        if out[0] != NONE:
            return i + 1
    return n


@inlined
def _cross(out: I64, kind: int, which: int) -> None:
    if out[0] == NONE:
        out[0], out[1] = kind, which


@inlined
def _overall(m: F64, tests: F64, y: float, p: float, limits: Limits, out: I64) -> None:
    if _advance_test(m, tests, y, p, p) >= limits.overall:
        _cross(out, OVERALL, 0)


@inlined
def _usual(gone: F64, f: int) -> float:
    """Usual share of missing values of a field."""
    share = (gone[f, 1] + 0.5) / (gone[f, 0] + 1.0)
    usual: float = min(max(share, 1e-3), 1.0 - 1e-3)
    return usual


@jit
def _refresh_steady(tests: Tests, state: State) -> None:
    for f in range(len(state.missing)):
        q = _usual(state.gone, f)
        for k in range(tests.missing.shape[1]):
            state.steady[f, k] = _ratio(0.0, q, tests.missing[0, k], tests.missing[1, k])


@inlined
def _any_absent(slots: I32, i: int, absent: I32) -> bool:
    count = 0
    for f in range(len(absent)):
        count += slots[i, f] == absent[f]
    return count > 0


@inlined
def _nothing_missing(
    p: float, warm: bool, weights: F64, missing: F64, steady: F64, gone: F64
) -> None:
    """Take a row with all its fields. Nothing can cross: of what is there, evidence falls."""
    if warm:
        for f in range(missing.shape[0]):
            for k in range(missing.shape[1]):
                missing[f, k] = (missing[f, k] + weights[f, k] * p) * steady[f, k]
    for f in range(len(gone)):
        gone[f, 0] += 1.0


@jit
def _missing(
    rows: Rows, i: int, p: float, warm: bool, tests: Tests, limits: Limits, state: State, out: I64
) -> bool:
    """Test each field's share of missing values; whether a field of an open alarm is missing."""
    hit = False
    for f in range(rows.slots.shape[1]):
        gone = 1.0 if rows.slots[i, f] == rows.absent[f] else 0.0
        base, m = state.gone[f], state.missing[f]
        if base[2] > 0.0:
            hit = hit or gone > 0.0
            if _ends(m, gone, _usual(state.gone, f), base[2], p) >= limits.closing:
                _cross(out, CLOSED, -1 - f)
            continue
        if warm and _advance_missing(m, tests.missing, gone, state.steady[f], p) >= limits.missing:
            _cross(out, MISSING, f)
            hit = True
        base[0] += 1.0
        base[1] += gone
    return hit


@inlined
def _advance_missing(m: F64, tests: F64, gone: float, steady: F64, unit: float) -> float:
    total = 0.0
    for k in range(len(m)):
        value = (m[k] + tests[2, k] * unit) * steady[k]
        m[k] = min(value * tests[3, k], _HUGE) if gone > 0.0 else value
        total += m[k]
    return total


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
def _without_tilt(
    rows: Rows, i: int, p: float, y: float, limits: Limits, state: State, out: I64
) -> float:
    """The probability without what an open alarm about everything explains."""
    _close(rows, i, p, y, 0, limits, state, out)
    tilt = (state.tilt[1] + 1e-9) / state.tilt[0]
    state.tilt[0] += p - state.tilt[0] / 500.0 * p
    state.tilt[1] += y - state.tilt[1] / 500.0 * p
    return _tilted(p, tilt)


@jit
def _explained(
    rows: Rows, i: int, p: float, y: float, limits: Limits, state: State, out: I64
) -> bool:
    """Whether the row is of a slice with an open alarm; then these learn of it."""
    inside = False
    for f in range(rows.slots.shape[1]):
        alarm = state.open_of[rows.slots[i, f]]
        if alarm >= 0:
            inside = True
            _close(rows, i, p, y, alarm, limits, state, out)
    return inside


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
    slots: I32,
    i: int,
    part: int,
    p: float,
    y: float,
    warm: bool,
    level_holds: bool,
    of_slices: F64,
    of_moved: F64,
    limits: Limits,
    slices: F32,
    moved: F32,
    level: F32,
    clock: F64,
    shared: F32,
    added: F32,
    out: I64,
) -> None:
    """Test the slices of a row; what crosses first by the most evidence is told."""
    for k in range(of_slices.shape[1]):
        shared[k] = _ratio(y, p, of_slices[0, k], of_slices[1, k])
        added[k] = of_slices[2, k] * p
    clock[LEVELLED] += 1.0
    clock[LEVEL] += (p - clock[LEVEL]) / min(clock[LEVELLED], 2000.0)
    relative = p / clock[LEVEL]
    recent = clock[RECENT_Y] / clock[RECENT_P]  # a shift of everything is no slice's
    clock[RECENT_P] += p * (1.0 - clock[RECENT_P] / 1000.0)
    clock[RECENT_Y] += y - p * clock[RECENT_Y] / 1000.0
    best, moving = 0.0, of_moved.shape[1] > 0 and level_holds
    for f in range(slots.shape[1]):
        slot = np.uint64(slots[i, f])  # never below 0: spares a test for that
        level[slot, LATELY] += np.float32(1.0)
        if warm:
            total = _advance_slice(slices, slot, shared, added)
            if total >= limits.slices and total > best:
                best = total
                out[0], out[1] = SLICE, slot
        if moving:
            total = _moved(
                slot, part, p, y, relative, recent, warm, of_moved, limits, level, moved
            )  # fmt: skip
            if total >= limits.moved and total > best:
                best = total
                out[0], out[1] = MOVED, slot


@inlined
def _advance_slice(m: F32, slot: Any, shared: F32, added: F32) -> float:
    """One event of one slice; its evidence. Four at a time, as the processor has it."""
    a = b = c = d = np.float32(0.0)
    for first in range(0, len(shared), 4):
        i0 = np.uint64(first)  # never below 0: spares tests for that
        i1, i2, i3 = i0 + np.uint64(1), i0 + np.uint64(2), i0 + np.uint64(3)
        # all is read before any is written: else the compiler must take them to overlap
        m0, m1, m2, m3 = m[slot, i0], m[slot, i1], m[slot, i2], m[slot, i3]
        a0, a1, a2, a3 = added[i0], added[i1], added[i2], added[i3]
        s0, s1, s2, s3 = shared[i0], shared[i1], shared[i2], shared[i3]
        m0, m1, m2, m3 = (m0 + a0) * s0, (m1 + a1) * s1, (m2 + a2) * s2, (m3 + a3) * s3
        m[slot, i0], m[slot, i1], m[slot, i2], m[slot, i3] = m0, m1, m2, m3
        a, b, c, d = a + m0, b + m1, c + m2, d + m3
    total = np.float64((a + b) + (c + d))
    if total > _LARGE:
        for k in range(len(shared)):
            m[slot, k] = min(m[slot, k], np.float32(_LARGE))
    return total


@inlined
def _moved(
    slot: Any,
    part: int,
    p: float,
    y: float,
    relative: float,
    recent: float,
    warm: bool,
    tests: F64,
    limits: Limits,
    at: F32,
    m: F32,
) -> float:
    """Test the clicks of a slice against what was predicted for it before the model followed.

    The slow mean of predictions over the fast one undoes what the model has learned of late. The
    null band is as wider as this difference has been until now. Not tested is a slice whose
    clicks have followed the model's own level until now: it comes and goes with the hour, say.
    """
    total = 0.0
    here = np.float64(at[slot, part + 1])
    usual = at[slot, SLOW] + at[slot, part] * (here / (here + 1000.0))
    rows = np.float64(at[slot, ROWS]) + 1.0
    at[slot, ROWS] = rows
    back = min(max(usual / max(at[slot, FAST], 1e-9), 0.1), 10.0) if rows > 1.0 else 1.0
    if rows % _REFRESH == 0.0 or rows == limits.settle:
        at[slot, WIDER] = math.exp(min(limits.swing * math.sqrt(at[slot, SWING]), 1.0))
    if warm and rows >= limits.settle and at[slot, MERIT] < limits.merit:
        q = _tilted(p, back * recent)
        total = _advance_moved(slot, y, q, np.float64(at[slot, WIDER]), tests, m)
    if total < limits.hold:
        # Log likelihood by which the model's own level predicts the clicks better, to third order.
        x = p * (back - 1.0)
        gain = x - 0.5 * x * x - (y * math.log(back) if y > 0.0 else 0.0)
        at[slot, MERIT] = max(at[slot, MERIT] * (1.0 - 1.0 / limits.slow) + gain, -3.0)
    _learn_level(at, slot, part, rows, usual, relative, total < limits.hold, limits)
    return total


@inlined
def _advance_moved(slot: Any, y: float, q: float, wider: float, tests: F64, m: F32) -> float:
    """One event of the test of a click rate; its evidence."""
    narrower, total = 1.0 / wider, 0.0
    for k in range(m.shape[1]):
        theta = tests[0, k]
        edge = tests[1, k] * (wider if theta > 1.0 else narrower)
        if (theta > edge) == (theta > 1.0):
            value = (m[slot, k] + tests[2, k] * q) * _ratio(y, q, theta, edge)
            m[slot, k] = min(value, _LARGE)
            total += np.float64(m[slot, k])
        else:
            m[slot, k] = 0.0
    return total


@inlined
def _learn_level(
    at: F32,
    slot: int,
    part: int,
    rows: float,
    usual: float,
    relative: float,
    learn: bool,
    limits: Limits,
) -> None:
    rate = 1.0 / rows
    slowly = max(rate, 1.0 / limits.slow)
    if learn:  # else the reference would follow the very shift that is in doubt
        slow = at[slot, SLOW] + (relative - at[slot, SLOW]) * slowly
        at[slot, SLOW] = slow
        seen = min(np.float64(at[slot, part + 1]) + 1.0, limits.slow)
        at[slot, part + 1] = seen
        at[slot, part] += (relative - slow - at[slot, part]) / seen
        gap = at[slot, MIDDLE] / max(usual, 1e-9) - 1.0
        at[slot, SWING] += (gap * gap - at[slot, SWING]) * slowly
    at[slot, FAST] += (relative - at[slot, FAST]) * max(rate, 1.0 / limits.fast)
    at[slot, MIDDLE] += (relative - at[slot, MIDDLE]) * max(rate, 0.2 / limits.fast)


@jit
def renamed(slots: I32, names: I32, fields: I64) -> None:
    """Replace each slot of some fields by its new name."""
    for i in range(len(slots)):
        for f in fields:
            slots[i, f] = names[slots[i, f]]


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
