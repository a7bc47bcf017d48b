"""Kernels of the windows: what each row adds, and adding it to the slots of its slices.

Each row is worked out once; then every field takes one pass over its codes. A late click takes
back what its impression added as not clicked, and adds it as clicked.
"""

from __future__ import annotations

import math
from typing import Any

from features.jit import jit

__all__ = [
    "BID_CLICKED",
    "BID_EXPECTED",
    "CLICKS",
    "CORRECTED",
    "COUNT",
    "EXPECTED",
    "EXPECTED_2",
    "LOSS",
    "SUMS",
    "add_field",
    "add_overall",
    "row_terms",
]

COUNT, CLICKS, EXPECTED, EXPECTED_2, LOSS, BID_EXPECTED, BID_CLICKED, CORRECTED = range(8)
SUMS = 8
"""Sums of a slot: rows, clicks, p, p**2, log loss, bid * p, bid * click, late clicks."""

_EPS = 2.220446049250313e-16  # as scikit-learn clips: a sure prediction that fails costs 36 nats
_EDGE = 16.0
_LOW, _HIGH = -10.0, 2.0


@jit
def row_terms(
    probability: Any, label: Any, bid: Any, correction: Any, bins: int, terms: Any, at: Any
) -> None:
    """What each row adds to the sums, and its bins: of the whole window, and of a slice."""
    fine = bins / (2.0 * _EDGE)
    for i in range(len(probability)):
        p, y = probability[i], label[i]
        q = min(max(p, _EPS), 1.0 - _EPS)
        hit, miss = -math.log(q), -math.log1p(-q)
        new = 0.0 if correction[i] else 1.0
        worth = 0.0 if math.isnan(bid[i]) else bid[i]
        terms[i, COUNT] = new
        terms[i, CLICKS] = y
        terms[i, EXPECTED] = new * p
        terms[i, EXPECTED_2] = new * p * p
        terms[i, LOSS] = y * hit + (1.0 - y) * miss - (1.0 - new) * miss
        terms[i, BID_EXPECTED] = new * worth * p
        terms[i, BID_CLICKED] = worth * y
        terms[i, CORRECTED] = 1.0 - new
        logit = miss - hit
        at[i, 0] = min(max(int((logit + _EDGE) * fine), 0), bins - 1)
        at[i, 1] = 0 if logit < _LOW else min(int((logit - _LOW) / (_HIGH - _LOW) * 64.0), 63)


@jit
def add_overall(rows: Any, terms: Any, at: Any, sums: Any, histogram: Any) -> None:
    """Add rows to a whole window: its sums, and (clicks, others, p) of its bins."""
    for j in range(len(rows)):
        i = rows[j]
        for c in range(SUMS):
            sums[c] += terms[i, c]
        cell = at[i, 0]
        histogram[cell, 0] += terms[i, CLICKS]
        histogram[cell, 1] += terms[i, COUNT] - terms[i, CLICKS]
        histogram[cell, 2] += terms[i, EXPECTED]


@jit
def add_field(
    rows: Any, codes: Any, slots: Any, terms: Any, at: Any, sums: Any, counts: Any, mass: Any
) -> None:
    """Add rows to the slots of their values of one field; ``slots[code]`` says which."""
    for j in range(len(rows)):
        i = rows[j]
        slot = slots[codes[i]]
        for c in range(SUMS):
            sums[slot, c] += terms[i, c]
        cell = at[i, 1]
        counts[slot, cell, 0] += int(terms[i, CLICKS])
        counts[slot, cell, 1] += int(terms[i, COUNT] - terms[i, CLICKS])
        mass[slot, cell] += terms[i, EXPECTED]
