"""The tests beside those of slices, and what open alarms learn, compiled; see :mod:`.kernels`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from monitoring.watch.detect.state import (
    CLOSED,
    DELAY,
    DELAYS,
    MISSING,
    NONE,
    OVERALL,
    DetectorState,
    Rows,
    Tests,
    Thresholds,
)  # fmt: skip

__all__ = [
    "any_absent", "delays", "explained", "missing_values", "nothing_missing", "overall_test",
    "refresh_steady", "without_tilt",
]  # fmt: skip

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

_HUGE = 1e250


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
def _cross(out: I64, kind: int, which: int) -> None:
    if out[0] == NONE:
        out[0], out[1] = kind, which


@inlined
def overall_test(m: F64, tests: F64, y: float, p: float, limits: Thresholds, out: I64) -> None:
    """Test whether clicks come as predicted everywhere."""
    if _advance_test(m, tests, y, p, p) >= limits.overall:
        _cross(out, OVERALL, 0)


@inlined
def _usual_share(gone: F64, f: int) -> float:
    """Usual share of missing values of a field."""
    share = (gone[f, 1] + 0.5) / (gone[f, 0] + 1.0)
    usual: float = min(max(share, 1e-3), 1.0 - 1e-3)
    return usual


@jit
def refresh_steady(tests: Tests, state: DetectorState) -> None:
    """Work out what a value that is there says, from the usual share of missing ones."""
    for f in range(len(state.missing)):
        q = _usual_share(state.gone, f)
        for k in range(tests.missing.shape[1]):
            state.steady[f, k] = _ratio(0.0, q, tests.missing[0, k], tests.missing[1, k])


@inlined
def any_absent(slots: I32, i: int, absent: I32) -> bool:
    """Whether any field of a row is missing."""
    count = 0
    for f in range(len(absent)):
        count += slots[i, f] == absent[f]
    return count > 0


@inlined
def nothing_missing(
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
def missing_values(
    rows: Rows, i: int, p: float, warm: bool, tests: Tests, limits: Thresholds,
    state: DetectorState, out: I64,
) -> bool:  # fmt: skip
    """Test each field's share of missing values; whether a field of an open alarm is missing."""
    hit = False
    for f in range(rows.slots.shape[1]):
        gone = 1.0 if rows.slots[i, f] == rows.absent[f] else 0.0
        base, m = state.gone[f], state.missing[f]
        if base[2] > 0.0:
            hit = hit or gone > 0.0
            if _ends(m, gone, _usual_share(state.gone, f), base[2], p) >= limits.closing:
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
def delays(
    delay: float, warm: bool, tests: Tests, limits: Thresholds, state: DetectorState, out: I64
) -> None:
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
def without_tilt(
    rows: Rows, i: int, p: float, y: float, limits: Thresholds, state: DetectorState, out: I64
) -> float:
    """The probability without what an open alarm about everything explains."""
    _close(rows, i, p, y, 0, limits, state, out)
    tilt = (state.tilt[1] + 1e-9) / state.tilt[0]
    state.tilt[0] += p - state.tilt[0] / 500.0 * p
    state.tilt[1] += y - state.tilt[1] / 500.0 * p
    return _tilted(p, tilt)


@jit
def explained(
    rows: Rows, i: int, p: float, y: float, limits: Thresholds, state: DetectorState, out: I64
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
    rows: Rows, i: int, p: float, y: float, alarm: int, limits: Thresholds, state: DetectorState,
    out: I64,
) -> None:  # fmt: skip
    """Evidence that an open alarm's shift is over: odds nearer to 1 than to what they were."""
    at = state.closing[alarm]
    evidence = _ends(at[1:2], y, p, at[0], p)
    at[2] += p
    at[3] += y
    if rows.bid[i] == rows.bid[i]:
        at[4] += rows.bid[i] * (p - y)
    if evidence >= limits.closing:
        _cross(out, CLOSED, alarm)
