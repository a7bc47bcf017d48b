"""Detectors find, date and name a shift; say nothing without one; and do not depend on batches."""

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from detected import alarms, raised

from monitoring.watch.categorical import MISSING, Categorical
from monitoring.watch.detect.alarm import Alarm, ratio_interval
from monitoring.watch.detect.change_point import locate
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.detect.slots import OTHER, SlotTable
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings

ROWS, AT = 120_000, 60_000
SETTINGS = DetectSettings(warmup_clicks=500, history_rows=100_000, max_values=2_000)


def stream(seed, *, campaign_odds=1.0, over=1.0, site_missing=False, delay_factor=1.0, bots=False):
    """A calibrated stream at 5 % click rate, with something wrong from row AT on."""
    rng = np.random.default_rng(seed)
    later = np.arange(ROWS) >= AT
    codes = {name: rng.integers(size, size=ROWS) for name, size in SIZES.items()}
    p = np.clip(0.05 * np.exp(0.5 * rng.standard_normal(ROWS)), 0.001, 0.5)
    odds = np.where(later & (codes["campaign"] == 3), campaign_odds, 1.0)
    true = odds * p / (1 - p + odds * p)
    if bots:
        true = np.where(later & (codes["site"] == 7), 1.0, true)
    y = (rng.random(ROWS) < true).astype(float)
    if site_missing:
        codes["site"][later] = SIZES["site"]
    delay = np.where(y > 0, np.exp(9.0 + rng.standard_normal(ROWS)), np.nan)
    return Scored(
        time_ms=np.arange(ROWS) * 1000,
        probability=np.where(later, np.minimum(p * over, 1.0), p),
        label=y,
        bid=np.full(ROWS, 2.0),
        click_delay_ms=np.where(later, delay * delay_factor, delay),
        correction=np.zeros(ROWS, np.bool_),
        slices={name: Categorical(codes[name].astype(np.int32), words(name)) for name in SIZES},
    )


SIZES = {"campaign": 10, "site": 40, "device": 3}


def words(name):
    return pa.array([f"{name}-{i}" for i in range(SIZES[name])] + [MISSING])


def test_without_a_shift_there_is_no_alarm():
    assert alarms(stream(1), SETTINGS) == []


def test_a_campaign_whose_clicks_halve_is_named_dated_and_priced():
    (alarm,) = raised(stream(2, campaign_odds=0.5), SETTINGS)
    assert (alarm.what, alarm.where) == ("calibration", "campaign-3")
    waited = alarm.detected_ms - AT * 1000
    assert 0 < waited < 45_000_000
    assert abs(alarm.since_ms - AT * 1000) < 0.3 * waited
    assert alarm.size_low < 2.0 < alarm.size_high
    assert alarm.clicks_over_promised == pytest.approx(alarm.expected_clicks - alarm.clicks)
    assert alarm.money_over_promised == pytest.approx(2.0 * alarm.clicks_over_promised)
    assert "hold bids on campaign-3" in alarm.action
    # A tenth of the stream, where half of what is promised does not come.
    assert alarm.share == pytest.approx(0.05, rel=0.3) and alarm.severity == "warning"


def test_the_share_of_an_alarm_is_of_money_where_that_is_more():
    scored = stream(2, campaign_odds=0.5)
    dear = np.where(scored.slices["campaign"].codes == 3, 20.0, 1.0)
    (cheap,), (alarm,) = raised(scored, SETTINGS), raised(replace(scored, bid=dear), SETTINGS)
    assert alarm.clicks_over_promised == cheap.clicks_over_promised
    # 20 of 29 parts of the money are the campaign's.
    assert alarm.share == pytest.approx(0.5 * 20 / 29, rel=0.3) and alarm.severity == "critical"


def test_over_prediction_everywhere_is_one_alarm_and_not_one_a_slice():
    (alarm,) = raised(stream(3, over=1.25), SETTINGS)
    assert (alarm.what, alarm.where) == ("calibration", "everywhere")
    assert alarm.size_low < 1.25 < alarm.size_high
    assert alarm.share == pytest.approx(0.2, rel=0.3) and alarm.severity == "critical"


def test_a_site_where_bots_click_everything_is_named_within_a_few_rows():
    (alarm,) = raised(stream(4, bots=True), SETTINGS)
    assert alarm.where == "site-7"
    assert alarm.events < 20
    assert alarm.clicks_over_promised < 0
    assert "bots" in alarm.action


def test_a_field_that_goes_missing_is_named_and_its_slices_raise_no_alarm():
    (alarm,) = raised(stream(5, site_missing=True), SETTINGS)
    assert (alarm.what, alarm.field, alarm.since_ms) == ("missing", "site", AT * 1000)


def test_click_delays_that_triple_are_dated():
    (alarm,) = raised(stream(6, delay_factor=3.0), SETTINGS)
    assert alarm.what == "click_delay"
    assert alarm.size_low < 3.0 < alarm.size_high
    assert abs(alarm.since_ms - AT * 1000) < 0.3 * (alarm.detected_ms - AT * 1000)


def test_an_alarm_closes_when_its_shift_ends():
    scored = stream(7, over=1.4)
    back = scored.with_probability(
        np.where(np.arange(ROWS) > AT + 25_000, scored.probability / 1.4, scored.probability)
    )
    first, last = alarms(back, SETTINGS)
    assert (first.status, last.status, first.id) == ("open", "closed", last.id)
    assert last.closed_ms is not None and last.closed_ms > (AT + 25_000) * 1000


def test_late_clicks_are_not_impressions():
    late = replace(stream(1), label=np.ones(ROWS), correction=np.ones(ROWS, np.bool_))
    assert alarms(late, SETTINGS) == []


def test_an_alarm_is_plain_json():
    (alarm,) = raised(stream(5, site_missing=True), SETTINGS)
    assert msgspec.json.decode(msgspec.json.encode(alarm), type=Alarm) == alarm


def test_the_start_of_a_shift_lies_in_its_credible_interval_as_often_as_it_says():
    rng, inside = np.random.default_rng(8), 0
    for _ in range(200):
        p = np.full(3000, 0.1)
        y = (rng.random(3000) < np.where(np.arange(3000) < 2000, 0.1, 0.2)).astype(float)
        found = locate(y, p)
        inside += found.low <= 2000 <= found.high
    assert inside > 165


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(9)
    covered = [low < 1.0 < high for _, low, high in (
        ratio_interval(20.0, float(clicks)) for clicks in rng.poisson(20.0, 2000))]  # fmt: skip
    assert 0.93 < np.mean(covered) < 0.97


def test_values_beyond_the_bound_are_watched_as_one():
    values = SlotTable(["ad"], most=12)
    coded = Categorical.of(pa.array([f"ad-{i}" for i in range(50)]))
    slots = values.slots(0, coded)
    assert values.room <= 12
    assert values.named(int(slots[-1])) == (0, OTHER)


def test_endless_values_use_bounded_memory():
    rng, rows = np.random.default_rng(10), 150_000
    ads = [f"ad-{i}" for i in range(rows)]
    clicked = (rng.random(rows) < 0.02).astype(float)
    scored = Scored.of(clicked, np.full(rows, 0.02), slices={"ad": ads})
    detector = SequentialDetector(DetectSettings(max_values=1_000, history_rows=1_000))
    detector.update(scored)
    assert len(detector.state()["values"]["words"][0]) <= 1_000
    assert all(len(a) <= 4_000 for a in detector.state()["tests"].values())


def test_calibrated_streams_raise_no_more_false_alarms_than_stated():
    often = msgspec.structs.replace(SETTINGS, false_alarm_clicks=4_000.0)
    clicks = 3 * 0.05 * ROWS
    count = sum(len(alarms(stream(seed), often)) for seed in (20, 21, 22))
    assert count <= clicks / 4_000.0
