"""A slice's click rate that moves is told, though the model follows; other changes are not."""

import numpy as np
import pytest
from detected import scored_of

from monitoring.watch.detect import rate_kernels as panes
from monitoring.watch.detect.change_point import locate_rate
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.detect.kernels import advance
from monitoring.watch.detect.rates import ClickRates
from monitoring.watch.detect.state import Rows, make_limits, make_state, make_tests
from monitoring.watch.settings import DetectSettings

ROWS, AT, RATE = 200_000, 120_000, 0.05
DAY_ROWS = 40_000
SETTINGS = DetectSettings(warmup_clicks=1_000, history_rows=150_000, max_values=1_000)


def alarms(seed, factor, part_of_day=1.0):
    """Of a stream whose model knows the truth at once; one campaign's click rate moves at AT.

    ``part_of_day``: by what device 1 is clicked more, or less, in the first half of each day.
    """
    rng, number = np.random.default_rng(seed), np.arange(ROWS)
    codes = {"campaign": rng.integers(10, size=ROWS), "device": rng.integers(3, size=ROWS)}
    true = np.where((codes["campaign"] == 3) & (number >= AT), factor * RATE, RATE)
    morning = (codes["device"] == 1) & (number % DAY_ROWS < DAY_ROWS // 2)
    true = np.where(morning, part_of_day * true, true)
    codes["hour"] = number * 24 // DAY_ROWS % 24
    y, time_ms = rng.random(ROWS) < true, number * (86_400_000 // DAY_ROWS)
    detector = SequentialDetector(SETTINGS)
    told = detector.update(scored_of(y, true, codes, time_ms=time_ms))
    return [alarm for alarm in told if alarm.status == "open"]


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_a_campaign_whose_click_rate_moves_is_named_dated_and_sized(factor):
    (alarm,) = alarms(8, factor)
    assert (alarm.what, alarm.where) == ("click_rate", "campaign-3")
    assert alarm.size_low < factor < alarm.size_high
    waited = alarm.detected_event - AT
    assert 0 < waited < 40_000
    since = alarm.since_ms // (86_400_000 // DAY_ROWS)
    assert abs(since - AT) < 0.3 * waited
    assert alarm.since_low_ms <= alarm.since_ms <= alarm.since_high_ms


def test_a_change_within_the_band_is_not_told():
    assert alarms(2, 0.93) == []


def test_a_rate_that_comes_and_goes_with_the_time_of_day_is_not_told():
    assert alarms(3, 1.0, part_of_day=1.5) == []


def test_fields_that_go_with_time_are_told_from_others():
    rng, rates = np.random.default_rng(4), ClickRates(SETTINGS, 3)
    hour = np.arange(4096) // 2000 * 3
    rates.tie(np.stack([hour, rng.integers(9, size=4096), np.zeros(4096)], 1).astype(np.int32))
    assert rates.tied.tolist() == [True, False, True]


def test_the_start_lies_in_its_interval_as_often_as_it_says():
    rng, inside = np.random.default_rng(5), 0
    for _ in range(200):
        true = np.where(np.arange(4000) < 3000, 0.1, 0.2)
        found = locate_rate((rng.random(4000) < true).astype(float), np.full(4000, 0.03), band=0.1)
        inside += found.low <= 3000 <= found.high
    assert inside > 165


def test_panes_are_bounded_and_lose_no_click():
    rng, rates = np.random.default_rng(6), ClickRates(SETTINGS, 1)
    state = make_state(SETTINGS, make_tests(SETTINGS), 1, 4)
    clicks = rng.poisson(5.0, 600)
    for n, count in enumerate(clicks.tolist()):
        state.sums[2, 1:3] = 5.0, count
        rates.tick(state, n * 3_600_000)
    _, (known, expected) = rates.usual(2)
    assert int(rates.filled[rates.book[2]]) <= panes.MOST
    assert known == pytest.approx(clicks.sum())
    assert expected == pytest.approx(5.0 * 600, rel=0.05)
    assert state.sums[2, 1:3].tolist() == [0.0, 0.0]


def test_memory_grows_with_slices_that_have_clicks_only():
    rates = ClickRates(SETTINGS, 1)
    state = make_state(SETTINGS, make_tests(SETTINGS), 1, 1_000)
    state.sums[:20, 1] = 5.0
    rates.tick(state, 0)
    assert len(rates.state()["filled"]) == 20
    rates.drop(np.arange(5, 20, dtype=np.int32))
    assert len(rates.state()["filled"]) == 5


def test_evidence_held_back_is_that_of_the_rows_one_by_one():
    settings = DetectSettings(warmup_clicks=0.0)
    tests = make_tests(settings)
    state, limits = make_state(settings, tests, 1, 4), make_limits(settings, 1)
    rng, n = np.random.default_rng(7), 3000
    p = np.clip(0.03 * np.exp(rng.standard_normal(n)), 0.001, 0.9)
    p[-1] = 0.5  # taken at once, and with it what is held
    y = (rng.random(n) < 0.7 * p).astype(float)
    zero = np.zeros(n)
    rows = Rows(
        np.arange(n), p, y, zero, zero, np.zeros(n, np.int64), zero,
        np.full((n, 1), 2, np.int32), np.array([0], np.int32),
    )  # fmt: skip
    assert advance(rows, 0, tests, limits, state, np.zeros(2, np.int64)) == n
    theta, edge, weight = tests.slices[:3]
    literal, fall = np.zeros(len(theta)), tests.slices[0] - tests.slices[1]
    for hazard, clicked in zip(-np.log1p(-p), y, strict=True):
        if clicked:
            likely = np.expm1(-theta * hazard) / np.expm1(-edge * hazard)
            literal = (literal + weight * hazard) * likely
        elif hazard > 0.1:
            literal = (literal + weight * hazard) * np.exp(-fall * hazard)
        else:
            less = np.expm1(-fall * hazard)
            literal = literal * (1.0 + less) - weight * less / fall
    np.testing.assert_allclose(state.slices[2, : len(theta)], literal, rtol=1e-3)
