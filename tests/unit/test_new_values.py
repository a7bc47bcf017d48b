"""A value that begins to come is told once, and moves no click rate of the others."""

import numpy as np
import pytest
from detected import alarms, raised

from monitoring.watch.formatting import headline_of
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings

ROWS, AT = 200_000, 80_000
SETTINGS = DetectSettings(warmup_clicks=1000, history_rows=60_000, max_values=2_000)
OWNERS = 6  # advertisers, of four campaigns each


def stream(seed, *, share=0.06, odds=6.0, rotating=False):
    """A calibrated stream at 5 %; from row AT on a new advertiser with five campaigns.

    Its ads are clicked more; the model knows it. If ``rotating``, sites live for 10,000 rows.
    """
    rng, at = np.random.default_rng(seed), np.arange(ROWS)
    campaign = rng.integers(4 * OWNERS, size=ROWS)
    new = (at >= AT) & (rng.random(ROWS) < share)
    campaign = np.where(new, 4 * OWNERS + campaign % 5, campaign)
    advertiser = np.where(new, OWNERS, campaign // 4)
    site = rng.integers(8, size=ROWS) + (8 * (at // 10_000) if rotating else 0)
    p = np.clip(0.05 * np.exp(0.5 * rng.standard_normal(ROWS)), 0.001, 0.5)
    p = np.where(new, odds * p / (1 - p + odds * p), p)
    fields = {"campaign": campaign, "advertiser": advertiser, "site": site, "day": at // 20_000}
    slices = {name: [f"{name}-{v}" for v in of.tolist()] for name, of in fields.items()}
    y = (rng.random(ROWS) < p).astype(float)
    return Scored.of(y, p, time_ms=at * 1000, slices=slices)


@pytest.mark.parametrize("seed", range(3))
def test_a_new_advertiser_is_told_and_nothing_else(seed):
    scored = stream(seed)
    opened, closed = alarms(scored, SETTINGS)
    assert (opened.what, opened.where, opened.status) == ("new_value", "advertiser-6", "open")
    advertiser = scored.slices["advertiser"]
    first = advertiser.codes.tolist().index(advertiser.values.index("advertiser-6"))
    assert opened.since_low_ms == opened.since_ms == opened.since_high_ms == first * 1000
    assert opened.detected_event - first < 6_000
    assert opened.size == pytest.approx(0.06, abs=0.015)
    assert opened.severity == "info" and "advertiser-6 is new" in opened.cause
    assert (closed.id, closed.status) == (opened.id, "closed")
    assert closed.expected_clicks == pytest.approx(closed.clicks, rel=0.4)
    assert headline_of(opened).startswith("advertiser-6 is new: ")


def test_it_is_new_no_longer_after_a_while_and_then_moves_no_rate_either():
    scored = stream(4, share=0.2, odds=8.0)
    assert [alarm.what for alarm in raised(scored, SETTINGS)] == ["new_value"]


def test_where_values_come_and_go_one_more_is_no_news():
    found = raised(stream(5, share=0.0, rotating=True), SETTINGS)
    assert [a for a in found if a.what == "new_value"] == []


def test_it_can_be_switched_off():
    settings = DetectSettings(
        warmup_clicks=1000, history_rows=60_000, max_values=2_000, new_share=0.0
    )
    assert [a for a in alarms(stream(1), settings) if a.what == "new_value"] == []
