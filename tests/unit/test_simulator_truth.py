"""The truth: clicks follow p_true, popularity is Zipf, interactions are real."""

import numpy as np
import pyarrow as pa
import pytest

from market import Effects, MarketSettings, simulate
from market.effects import build_market
from market.impressions import Dynamics, calibrate, draw_block, zipf_ranks, zipf_shares


@pytest.mark.parametrize("scenario", ["stationary", "gradual", "abrupt", "churn"])
def test_clicks_agree_with_the_true_probabilities_within_sampling_error(scenario):
    batches = simulate(scenario, columns=["p_true", "click"], seed=3, events=200_000)
    rows = pa.Table.from_batches(list(batches))
    p, click = rows["p_true"].to_numpy(), rows["click"].to_numpy()
    assert ((p > 0) & (p < 1)).all()
    # Overall, and apart for small, middling and large probabilities.
    for part in (p >= 0, p < 0.02, (p >= 0.02) & (p < 0.1), p >= 0.1):
        z = (click[part].sum() - p[part].sum()) / np.sqrt((p[part] * (1 - p[part])).sum())
        assert abs(z) < 3.3


@pytest.mark.parametrize("click_rate", [0.005, 0.05, 0.3])
def test_the_mean_probability_is_the_click_rate_asked_for(click_rate):
    batches = simulate("stationary", events=345_600, market=MarketSettings(click_rate=click_rate))
    mean = np.mean(np.concatenate([batch["p_true"].to_numpy() for batch in batches]))
    assert mean == pytest.approx(click_rate, rel=0.03)


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0, 1.4])
def test_ranks_are_drawn_with_the_shares_of_their_law(exponent):
    draws, size = 400_000, 50
    ranks = zipf_ranks(np.random.default_rng(0).random(draws), size, exponent)
    counts, expected = np.bincount(ranks, minlength=size), draws * zipf_shares(size, exponent)
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 49 + 4 * np.sqrt(2 * 49)


def test_shares_fall_with_the_rank_by_the_zipf_exponent():
    for exponent in (0.6, 1.0, 1.4):
        shares = zipf_shares(10_000, exponent)
        slope = np.polyfit(np.log(np.arange(10, 1000)), np.log(shares[10:1000]), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.03)
        assert shares.sum() == pytest.approx(1.0)


INTERACTIONS = [
    "segment_category",
    "site_placement",
    "device_hour_band",
    "interest_category",
    "site_ad",
]


def departure_from_single_effects(effects):
    """Standard deviation of what the best sum of single-field effects leaves of the true logit."""
    sizes = MarketSettings(
        users=40, campaigns=10, ads_per_campaign=2, sites=10, categories=5, impressions_per_s=0.2
    )
    shown, outcome = draw_block(build_market(sizes, effects=effects, seed=5), Dynamics(), 0)
    fields = (shown.user, shown.ad, shown.site, shown.placement, shown.device, shown.hour)
    design = np.hstack([np.eye(values.max() + 1)[values[::8]] for values in fields])
    logit = np.log(outcome.p_true / (1 - outcome.p_true))[::8]
    fit = design @ np.linalg.lstsq(design, logit, rcond=None)[0]
    return float((logit - fit).std())


def test_without_interactions_the_logit_is_a_sum_of_single_effects():
    off = Effects(**dict.fromkeys(INTERACTIONS, 0.0))
    assert departure_from_single_effects(off) < 1e-9


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_each_interaction_alone_departs_from_any_sum_of_single_effects(interaction):
    alone = Effects(**dict.fromkeys(INTERACTIONS, 0.0) | {interaction: 0.4})
    assert departure_from_single_effects(alone) > 0.1


def test_calibration_moves_only_the_base():
    market = build_market(MarketSettings(users=100), seed=2)
    calibrated = calibrate(market)
    assert calibrated.base != market.base
    assert calibrated.user_logit is market.user_logit
