"""The tests as settings ask for them, and their state before the first row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.detect.settings import DetectSettings
from monitoring.detect.state import MARKET_CLICKS, Limits, State, Tests

__all__ = ["make_limits", "make_state", "make_tests", "muted", "with_room"]

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


def make_limits(settings: DetectSettings, fields: int) -> Limits:
    """Thresholds: budget of the kind of test, over the number of its tests a row takes part in."""
    clicks = settings.false_alarm_clicks

    def threshold(share: float, tests: int) -> float:
        return clicks * tests / share if share > 0.0 else NEVER

    return Limits(
        overall=threshold(settings.overall_share, 1),
        slices=threshold(settings.slices_share, fields),
        missing=threshold(settings.missing_share, fields),
        delay=threshold(settings.delay_share, len(settings.delay_quantiles)),
        warmup=settings.warmup_clicks,
        closing=settings.closing_evidence,
    )


def muted(limits: Limits) -> Limits:
    """The same without alarms of calibration: one is being looked at."""
    return limits._replace(overall=NEVER, slices=NEVER)


def make_state(settings: DetectSettings, tests: Tests, fields: int, slots: int) -> State:
    """Nothing seen yet."""
    quantile = np.zeros((len(settings.delay_quantiles), 3))
    quantile[:, 0] = settings.delay_quantiles
    return State(
        overall=np.zeros(tests.overall.shape[1]),
        slices=np.zeros((slots, -(-tests.slices.shape[1] // 4) * 4), np.float32),
        sums=np.zeros((slots, 4), np.float32),
        open_of=np.full(slots, -1, np.int32),
        missing=np.zeros((fields, tests.missing.shape[1])),
        steady=np.ones((fields, tests.missing.shape[1])),
        gone=np.zeros((fields, 3)),
        delay=np.zeros((len(quantile), tests.delay.shape[1])),
        quantile=quantile,
        clock=np.array([0.0] * 6 + [MARKET_CLICKS, MARKET_CLICKS]),
        tilt=np.zeros(2),
        closing=np.zeros((_ALARMS, 5)),
    )


def with_room(state: State, slots: int) -> State:
    """The same with room for so many slots."""
    have = len(state.slices)
    if slots <= have:
        return state
    room = max(slots, 2 * have) - have
    grown = {
        name: np.concatenate([array, np.zeros((room, *array.shape[1:]), array.dtype)])
        for name in ("slices", "sums")
        for array in [getattr(state, name)]
    }
    open_of = np.concatenate([state.open_of, np.full(room, -1, np.int32)])
    return state._replace(open_of=open_of, **grown)
