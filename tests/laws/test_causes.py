"""No cause is named where nothing but chance moves, nor one that has nothing to do with a shift;
and of nested slices the one that shifted is named.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from detected import raised

from monitoring.watch.categorical import MISSING, Categorical
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings

NONE = "no cause found"


def scored(codes, p, y, seconds=1.0, version=None):
    rows, slices = len(p), {}
    for name, numbers in codes.items():
        values, code = np.unique(numbers, return_inverse=True)
        words = [MISSING if v < 0 else f"{name}-{v}" for v in values.tolist()]
        slices[name] = Categorical(code.astype(np.int32), pa.array(words))
    known = {"slices": slices, "bid": np.full(rows, 2.0), "version": version}
    return replace(Scored.of(y, p, time_ms=np.arange(rows) * 1000 * seconds), **known)


def busy_stream(seed, shift):
    """Up to 20 fields: steady, drifting with the hour, with ever new values, with endless ones.

    Predictions are right, but for one value of one field from half-way on, if ``shift`` is not 1.
    """
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([3_000, 10_000, 30_000]))
    at, seconds = np.arange(rows), float(rng.choice([2.0, 10.0, 60.0]))
    wave = 0.5 + 0.45 * np.sin(2 * np.pi * at * seconds / 86_400)
    kinds = (
        lambda: rng.integers(rng.choice([2, 5, 20, 200]), size=rows),
        lambda: (rng.random(rows) < wave) + 2 * rng.integers(3, size=rows),
        lambda: at // rng.integers(200, 3_000) * 10 + rng.integers(10, size=rows),
        lambda: rng.integers(rows, size=rows),
    )
    codes = {f"f{n}": rng.choice(kinds)() for n in range(rng.integers(3, 21))}
    codes["hour"] = (at * seconds / 3_600 % 24).astype(int)
    p = np.clip(0.05 * np.exp(0.5 * rng.standard_normal(rows)), 0.001, 0.5)
    of = codes[f"f{rng.integers(len(codes) - 1)}"]
    odds = np.where((at >= rows // 2) & (of == of[rows // 2]), shift, 1.0)
    version = rng.choice(["live-0a-{}", "{}"])
    every = 100 if version.startswith("live") else 4_000
    names = pa.array([version.format(n // every * every + 1) for n in at.tolist()])
    y = rng.random(rows) < odds * p / (1 - p + odds * p)
    return scored(codes, p, y, seconds, Categorical.of(names))


@pytest.mark.parametrize("shift", [1.0, 0.3, 2.5])
def test_where_only_chance_moves_no_cause_is_named(shift):
    """Of a real shift too: nothing that is logged explains it.

    Thresholds are so low that chance raises many alarms.
    """
    settings = DetectSettings(warmup_clicks=40, false_alarm_clicks=20, moved_margin=-1)
    found = [a for seed in range(8) for a in raised(busy_stream(seed, shift), settings)]
    asked = [a for a in found if a.what in ("calibration", "click_rate")]
    assert len(asked) > 20
    assert [a.cause for a in asked if not a.cause.startswith(NONE)] == []


SETTINGS = DetectSettings(warmup_clicks=500, history_rows=100_000)
ROWS, AT = 80_000, 40_000
ADVERTISER = {"advertiser": 2}
CAMPAIGN = {"campaign": 10}
AD = {"ad": 40}


def nested_stream(seed, where, odds):
    """Four advertisers with five campaigns of four ads, the first of each with most traffic."""
    rng = np.random.default_rng(seed)
    share, within = np.tile(1 / np.arange(1, 6), 4), 1 / np.arange(1, 5)
    campaign = rng.choice(20, ROWS, p=share / share.sum())
    codes = {
        "advertiser": campaign // 5,
        "campaign": campaign,
        "ad": campaign * 4 + rng.choice(4, ROWS, p=within / within.sum()),
        "site": rng.integers(40, size=ROWS),
    }
    hit = np.arange(ROWS) >= AT
    for name, value in where.items():
        hit &= codes[name] == value
    p = np.clip(0.1 * np.exp(0.5 * rng.standard_normal(ROWS)), 0.001, 0.5)
    odds = np.where(hit, odds, 1.0)
    return scored(codes, p, rng.random(ROWS) < odds * p / (1 - p + odds * p))


@pytest.mark.parametrize("odds", [0.4, 2.0])
@pytest.mark.parametrize("where", [ADVERTISER, CAMPAIGN, AD], ids=lambda where: next(iter(where)))
def test_of_nested_slices_the_one_that_shifted_is_named_and_its_start_lies_in_the_interval(
    where, odds
):
    """Of 8 streams, one may be named otherwise first; a campaign never by its advertiser."""
    ((field, value),) = where.items()
    right = covered = 0
    for seed in range(8):
        first = raised(nested_stream(seed, where, odds), SETTINGS)[0]
        right += first.where == f"{field}-{value}"
        covered += first.since_low_ms <= AT * 1000 + 60_000 and first.since_high_ms >= AT * 1000
        assert field == "advertiser" or first.field != "advertiser"
        assert first.cause.startswith(NONE)
    assert right >= 7 and covered >= 7


def test_a_new_advertiser_is_named_and_not_its_five_campaigns():
    for seed in range(4):
        stream = nested_stream(seed, ADVERTISER, 0.1)
        was = stream.slices["advertiser"].codes == 2
        stays = ~was | (np.arange(ROWS) >= AT)
        new, off = raised(stream.take(stays), SETTINGS)[:2]
        assert (new.what, off.what) == ("new_value", "calibration")
        assert new.where == off.where == "advertiser-2"
        assert new.cause.startswith("advertiser-2 is new: first seen 1970-01-01 1")
        assert off.cause.startswith("advertiser-2 is new: first seen 1970-01-01 1")


def shifted(p_factor=1.0, odds=None, seed=1, **of):
    """A stream of three sites whose predictions or odds change from row AT on."""
    rng = np.random.default_rng(seed)
    later = np.arange(ROWS) >= AT
    codes = {"site": rng.integers(3, size=ROWS), "device": rng.integers(4, size=ROWS)}
    p = np.clip(0.1 * np.exp(0.2 * rng.standard_normal(ROWS)), 0.001, 0.5)
    odds = np.where(later, 1.0 if odds is None else odds(codes, rng), 1.0)
    y = rng.random(ROWS) < odds * p / (1 - p + odds * p)
    return scored(codes, np.where(later, p_factor * p, p), y, **of)


def versions(later, live=True):
    """Weights that advance every 20 rows, and what is served from row AT on."""
    names = [f"live-0a-{n // 20 * 20 + 1}" if live else "7" for n in range(ROWS)]
    return Categorical.of(pa.array(names[:AT] + [later] * (ROWS - AT)))


def test_weights_that_stand_still_are_named():
    (alarm,) = raised(shifted(1.3, version=versions(f"live-0a-{AT - 20}")), SETTINGS)
    assert alarm.cause.startswith("stale weights: the predictions' weights were up to")
    assert "the trainer" in alarm.action
    (alarm,) = raised(shifted(1.3, version=versions("live-0a-999999")), SETTINGS)
    assert alarm.where == "everywhere" and "stale" in alarm.cause


def test_a_new_version_that_predicts_otherwise_is_named_and_one_that_does_not_is_not():
    (alarm,) = raised(shifted(1.3, version=versions("8", live=False)), SETTINGS)
    assert alarm.cause.startswith("a new model version (8) took over, and predictions went up by")
    fewer = shifted(odds=lambda codes, rng: 0.7, version=versions("8", live=False))
    assert raised(fewer, SETTINGS)[0].cause.startswith(NONE)


def test_clicks_that_stop_are_named():
    def none_for_long(codes, rng):
        at = np.arange(ROWS)
        return np.where((at < AT + 2_000), 0.0, 1.0)

    (alarm, *_) = raised(shifted(odds=none_for_long), SETTINGS)
    assert alarm.where == "everywhere"
    assert alarm.cause.startswith("no click came from 1970-01-01 11:0")


def test_rows_with_other_values_hold_a_shift_by_their_number():
    """A field goes missing in three rows of ten, and they are not clicked: its rows are named."""
    stream = shifted()
    rng = np.random.default_rng(5)
    lost = (np.arange(ROWS) >= AT) & (rng.random(ROWS) < 0.3)
    y = np.where(lost, rng.random(ROWS) < 0.03, stream.label)
    codes = {name: coded.codes.astype(int) for name, coded in stream.slices.items()}
    seen = {**codes, "placement": np.where(lost, 7, rng.integers(3, size=ROWS))}
    (alarm, *_) = raised(scored(seen, stream.probability, y), SETTINGS)
    assert alarm.where == "placement-7"
    assert alarm.cause.startswith("placement-7 is new")


def test_a_campaign_that_begins_does_not_make_the_others_seem_to_fall():
    """Its clicks raise the rate of all; predicted rightly, nothing is wrong anywhere."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        campaign = rng.integers(10, size=ROWS)
        later = np.arange(ROWS) >= AT
        campaign = np.where(later & (campaign > 7), campaign, campaign % 8)
        p = np.where(campaign > 7, 0.2, 0.05)
        stream = scored({"campaign": campaign}, p, rng.random(ROWS) < p)
        assert raised(stream, SETTINGS) == []
