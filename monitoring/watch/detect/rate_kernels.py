"""Click rates before and after every start, pane by pane, compiled; see :mod:`.rates`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit

__all__ = ["BEFORE_CLICKS", "MOST", "NEED", "PARTS", "SCORE", "add_panes", "full_slots"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

PARTS = 12
"""Of a day."""
EACH, LEVELS = 16, 4
MOST = LEVELS * (EACH + 1)
"""Panes of a slot."""
CLICKS, EXPECTED, LEVEL, END = range(4)
"""Columns of a pane; its end in parts of a day."""
SCORE, NEED, BEFORE_CLICKS, BEFORE_EXPECTED = range(4)
"""What is known of the best start: evidence less what is needed, that, clicks and expected clicks
before it."""

_PRIOR = 15.0  # clicks that a part of the day being like the others is worth
_LEAST_BEFORE = 20.0  # expected clicks
_FULL = 4000.0  # expected clicks after which the past is halved


@jit
def full_slots(sums: F32, open_of: I32, tied: NDArray[np.bool_], pane: float) -> I32:
    """Slots whose pane has ended, in order; panes of open alarms and tied fields are let go."""
    out = np.empty(len(sums), np.int32)
    count, fields = 0, len(tied)
    for slot in range(len(sums)):
        if sums[slot, 1] < pane:
            continue
        if open_of[slot] >= 0 or tied[slot % fields]:
            sums[slot, 1] = sums[slot, 2] = 0.0
            continue
        out[count] = slot
        count += 1
    return out[:count]


@jit
def add_panes(
    full: I32, books: I32, sums: F32, panes: F32, filled: I32, before: F64, daily: F32, best: F64,
    now: float, band: float, least: float, longest: float, log_budget: float,
) -> float:  # fmt: skip
    """End the panes of some slots, and look for the best start of a shift; the best score."""
    part, found = int(now) % PARTS, -math.inf
    for n in range(len(full)):
        slot, book = full[n], books[n]
        clicks, expected = np.float64(sums[slot, 2]), np.float64(sums[slot, 1])
        sums[slot, 1] = sums[slot, 2] = 0.0
        usual = expected * _factor(daily[book], part)
        _append(panes[book], filled, book, before[book], clicks, usual, now)
        _learn_part(daily[book], part, clicks, expected)
        _best_start(
            panes[book], filled[book], before[book], daily[book], best[book],
            band, least, longest, log_budget,
        )  # fmt: skip
        found = max(found, best[book, SCORE])
    return found


@jit
def _factor(daily: F32, part: int) -> float:
    """By how much more is clicked at this part of the day than at others, shrunk to 1."""
    clicks, expected = 0.0, 0.0
    for d in range(PARTS):
        clicks += daily[d, CLICKS]
        expected += daily[d, EXPECTED]
    level = (clicks + 5.0) / (expected + 5.0)
    factor: float = (daily[part, CLICKS] + _PRIOR) / (daily[part, EXPECTED] * level + _PRIOR)
    return factor


@jit
def _learn_part(daily: F32, part: int, clicks: float, expected: float) -> None:
    daily[part, CLICKS] += clicks
    daily[part, EXPECTED] += expected
    if daily[part, EXPECTED] > _FULL / PARTS:
        daily *= np.float32(0.5)


@jit
def _append(
    panes: F32, filled: I32, book: int, before: F64, clicks: float, expected: float, now: float
) -> None:
    """Add a pane; of each size but the largest at most EACH + 1 stay, older ones in pairs."""
    n = filled[book]
    panes[n, CLICKS], panes[n, EXPECTED], panes[n, LEVEL], panes[n, END] = clicks, expected, 0, now
    n += 1
    for level in range(LEVELS):
        count, first = 0, -1
        for k in range(n):
            if panes[k, LEVEL] == level:
                first = k if first < 0 else first
                count += 1
        if count <= EACH:
            break
        if level == LEVELS - 1:
            _forget_first(panes, n, before)
            n -= 1
        else:
            _join(panes, n, first)
            n -= 1
    filled[book] = n


@inlined
def _join(panes: F32, n: int, first: int) -> None:
    panes[first, CLICKS] += panes[first + 1, CLICKS]
    panes[first, EXPECTED] += panes[first + 1, EXPECTED]
    panes[first, LEVEL] += np.float32(1.0)
    panes[first, END] = panes[first + 1, END]
    for k in range(first + 1, n - 1):
        panes[k] = panes[k + 1]


@inlined
def _forget_first(panes: F32, n: int, before: F64) -> None:
    """The oldest pane becomes a part of the past."""
    before[CLICKS] += panes[0, CLICKS]
    before[EXPECTED] += panes[0, EXPECTED]
    if before[EXPECTED] > _FULL:
        before *= 0.5
    for k in range(n - 1):
        panes[k] = panes[k + 1]


@jit
def _best_start(
    panes: F32, n: int, before: F64, daily: F32, best: F64,
    band: float, least: float, longest: float, log_budget: float,
) -> None:  # fmt: skip
    """The likelihood ratio of two rates against one, at the best start of the second."""
    clicks, expected = before[CLICKS], before[EXPECTED]
    for k in range(n):
        clicks += panes[k, CLICKS]
        expected += panes[k, EXPECTED]
    wide = math.exp(band)
    best[SCORE], best[NEED] = -math.inf, 1.0
    a, b = 0.0, 0.0
    for k in range(n - 1, -1, -1):
        a += panes[k, CLICKS]
        b += panes[k, EXPECTED]
        if expected - b < _LEAST_BEFORE:
            break
        usual = b * max(clicks - a, 0.5) / (expected - b)
        if usual > longest:
            break
        if usual < least or (a < usual * wide and a > usual / wide):
            continue
        need = log_budget - math.log(usual)
        gain = _gain(a, b) + _gain(clicks - a, expected - b) - _gain(clicks, expected)
        if gain - need <= max(best[SCORE], -0.5 * need):
            continue
        noise = 1.0 / usual + 1.0 / (clicks - a + 1.0)
        gain *= noise / (noise + _mixed(panes, n, k, b, daily))
        if gain - need > best[SCORE]:
            best[SCORE], best[NEED] = gain - need, need
            best[BEFORE_CLICKS], best[BEFORE_EXPECTED] = clicks - a, expected - b


@inlined
def _gain(clicks: float, expected: float) -> float:
    return clicks * math.log(clicks / expected) if clicks > 0.0 else 0.0


@jit
def _mixed(panes: F32, n: int, first: int, expected: float, daily: F32) -> float:
    """Variance of the log rate for what is not known of the parts of the day since a start."""
    since, total = np.zeros(PARTS), 1e-9
    for k in range(first, n):
        end = np.float64(panes[k, END])
        begin = np.float64(panes[k - 1, END]) if k > 0 else end
        first_part = int(begin // 1.0)
        last_part = min(int(end // 1.0), first_part + 2 * PARTS)  # whatever the times are
        whole = last_part - first_part + 1
        for part in range(first_part, last_part + 1):
            since[part % PARTS] += panes[k, EXPECTED] / whole
    for d in range(PARTS):
        total += daily[d, EXPECTED]
    ahead = min(1.0 / max(1.0 - expected / total, 0.5), 2.0)
    variance = 0.0
    for d in range(PARTS):
        off = (since[d] / expected - daily[d, EXPECTED] / total) * ahead
        variance += off * off / (daily[d, CLICKS] + _PRIOR)
    return variance
