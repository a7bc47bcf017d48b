"""What the kernels are given: rows, tests, thresholds, and what the tests remember."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.watch.settings import DetectSettings

__all__ = [
    "DetectorState", "Rows", "Tests", "Thresholds", "make_limits", "make_state", "make_tests",
    "muted", "with_room",
]  # fmt: skip

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]

HELD, EXPECTED, CLICKED, LATELY = range(4)
"""Columns of ``sums``, of a slot: hazard not yet taken into its tests; clicks expected by the rate
of the whole stream and clicks, since its pane began (:mod:`.rates`); rows, fading.
"""
CLICKS, LEVEL, EVENTS, DELAYS, COLD, LEVELLED, RECENT_P, RECENT_Y = range(8)
"""Places of ``clock``."""
MARKET_CLICKS = 150.0
"""That the click rate of the whole stream is averaged over."""
BEGUN = 0.25
"""Of the clicks of the warm-up: from then on click rates are learned."""
NONE, OVERALL, SLICE, MOVED, MISSING, DELAY, CLOSED, NEW = range(8)
"""What crosses."""


class Tests(NamedTuple):
    """Alternatives of each kind of test: rows are odds ratio, null edge, weight, their ratio."""

    overall: F64
    slices: F64
    missing: F64
    delay: F64


class Thresholds(NamedTuple):
    """Thresholds, and what the tests wait for."""

    overall: float
    slices: float
    missing: float
    delay: float
    warmup: float
    closing: float


class DetectorState(NamedTuple):
    """What the tests remember; plain arrays, changed in place.

    What is kept by slot is small and side by side: most of the time goes to fetching it.
    """

    overall: F64  # (K,)
    slices: F32  # (slots, K and zeros up to a multiple of 4)
    sums: F32  # (slots, 4): HELD, ... above
    open_of: I32  # (slots,): number of the open alarm of this slot, or -1
    apart: I32  # (slots,): 1 while its rows are no part of the click rate of the whole stream
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
    model: I64  # a number for each model: see :mod:`.model_versions`
    age: F64  # seconds that the weights of the prediction had been in use
    slots: I32  # (n, fields); of a missing value: that field's own slot for it
    absent: I32  # (fields,): the slot of a missing value

    def first(self, stop: int) -> Rows:
        """Those before row ``stop``."""
        columns = {name: column[:stop] for name, column in self._asdict().items()}
        return Rows(**(columns | {"absent": self.absent}))


NEVER = 1e300
_ALARMS = 64


def make_tests(settings: DetectSettings) -> Tests:
    """Alternatives of every kind of test."""
    return Tests(
        overall=_tests(settings.overall_ratios, settings.overall_band),
        slices=_tests(settings.slice_ratios, settings.slices_band),
        missing=_tests(settings.missing_ratios, settings.missing_band),
        delay=_tests(settings.delay_ratios, settings.delay_band),
    )


def _tests(ratios: Sequence[float], band: float) -> NDArray[np.float64]:
    theta = np.array(ratios, np.float64)
    edge = np.where(theta > 1.0, math.exp(band), math.exp(-band))
    # Rare, strong shifts show at once: most of the budget goes to the weak ones.
    weight = 1.0 / (0.5 + np.abs(np.log(theta)))
    return np.array([theta, edge, weight / max(weight.sum(), 1e-9), theta / edge])


def make_limits(settings: DetectSettings, fields: int) -> Thresholds:
    """Thresholds: budget of the kind of test, over the number of its tests a row takes part in."""
    clicks = settings.false_alarm_clicks

    def threshold(share: float, tests: int) -> float:
        return clicks * tests / share if share > 0.0 else NEVER

    return Thresholds(
        overall=threshold(settings.overall_share, 1),
        slices=threshold(settings.slices_share, fields),
        missing=threshold(settings.missing_share, fields),
        delay=threshold(settings.delay_share, len(settings.delay_quantiles)),
        warmup=settings.warmup_clicks,
        closing=settings.closing_evidence,
    )


def muted(limits: Thresholds) -> Thresholds:
    """The same without alarms of calibration: one is being looked at."""
    return limits._replace(overall=NEVER, slices=NEVER)


def make_state(settings: DetectSettings, tests: Tests, fields: int, slots: int) -> DetectorState:
    """Nothing seen yet."""
    quantile = np.zeros((len(settings.delay_quantiles), 3))
    quantile[:, 0] = settings.delay_quantiles
    return DetectorState(
        overall=np.zeros(tests.overall.shape[1]),
        slices=np.zeros((slots, -(-tests.slices.shape[1] // 4) * 4), np.float32),
        sums=np.zeros((slots, 4), np.float32),
        open_of=np.full(slots, -1, np.int32),
        apart=np.zeros(slots, np.int32),
        missing=np.zeros((fields, tests.missing.shape[1])),
        steady=np.ones((fields, tests.missing.shape[1])),
        gone=np.zeros((fields, 3)),
        delay=np.zeros((len(quantile), tests.delay.shape[1])),
        quantile=quantile,
        clock=np.array([0.0] * 6 + [MARKET_CLICKS, MARKET_CLICKS]),
        tilt=np.zeros(2),
        closing=np.zeros((_ALARMS, 5)),
    )


def with_room(state: DetectorState, slots: int) -> DetectorState:
    """The same with room for so many slots."""
    have = len(state.slices)
    if slots <= have:
        return state
    room = max(slots, 2 * have) - have
    grown = {
        name: np.concatenate([array, np.zeros((room, *array.shape[1:]), array.dtype)])
        for name in ("slices", "sums", "apart")
        for array in [getattr(state, name)]
    }
    open_of = np.concatenate([state.open_of, np.full(room, -1, np.int32)])
    return state._replace(open_of=open_of, **grown)
