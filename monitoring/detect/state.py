"""What the kernels are given: rows, tests, thresholds, and what the tests remember."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Limits", "Rows", "State", "Tests"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

HELD, EXPECTED, CLICKED, LATELY = range(4)
"""Columns of ``sums``, of a slot: hazard not yet taken into its tests; clicks expected by the rate
of the whole stream and clicks, since its pane began (:mod:`monitoring.detect.rates`); rows, fading.
"""
CLICKS, LEVEL, EVENTS, DELAYS, COLD, LEVELLED, RECENT_P, RECENT_Y = range(8)
"""Places of ``clock``."""
MARKET_CLICKS = 150.0
"""That the click rate of the whole stream is averaged over."""
BEGUN = 0.25
"""Of the clicks of the warm-up: from then on click rates are learned."""
NONE, OVERALL, SLICE, MOVED, MISSING, DELAY, CLOSED = range(7)
"""What crosses."""


class Tests(NamedTuple):
    """Alternatives of each kind of test: rows are odds ratio, null edge, weight, their ratio."""

    overall: F64
    slices: F64
    missing: F64
    delay: F64


class Limits(NamedTuple):
    """Thresholds, and what the tests wait for."""

    overall: float
    slices: float
    missing: float
    delay: float
    warmup: float
    closing: float


class State(NamedTuple):
    """What the tests remember; plain arrays, changed in place.

    What is kept by slot is small and side by side: most of the time goes to fetching it.
    """

    overall: F64  # (K,)
    slices: F32  # (slots, K and zeros up to a multiple of 4)
    sums: F32  # (slots, 4): HELD, ... above
    open_of: I32  # (slots,): number of the open alarm of this slot, or -1
    missing: F64  # (fields, K)
    steady: F64  # (fields, K): by what evidence of missing values falls with a value that is there
    gone: F64  # (fields, 3): rows, missing rows, whether an alarm is open
    delay: F64  # (quantiles, K)
    quantile: F64  # (quantiles, 3): share, estimate of log delay, whether an alarm is open
    clock: F64  # CLICKS, LEVEL, ... above
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

    def first(self, stop: int) -> Rows:
        """Those before row ``stop``."""
        columns = {name: column[:stop] for name, column in self._asdict().items()}
        return Rows(**(columns | {"absent": self.absent}))
