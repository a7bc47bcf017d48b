"""What each scenario changes, when, and what it leaves alone."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from market import (
    SCENARIOS,
    Abrupt,
    Bots,
    CampaignShift,
    Churn,
    Gradual,
    MarketSettings,
    Simulation,
    Stationary,
    parse_sim,
    simulate,
)
from market.impressions import BLOCK, draw_block

SMALL = MarketSettings(users=500, campaigns=50, sites=30)


def rows(scenario, events, columns):
    batches = simulate(scenario, seed=1, events=events, market=SMALL, columns=columns)
    return pa.Table.from_batches(list(batches))


def numbers(names):
    """Give the number at the end of each name."""
    digits = pc.replace_substring_regex(names.cast(pa.string()), r"^\D+", "")
    return digits.cast(pa.int64()).to_numpy()


def logit_change(scenario, block):
    """Logit under the scenario less the stationary one, event by event, and the campaigns."""
    market = Simulation(scenario=scenario, market=SMALL, seed=1).build_market()
    shown, changed = draw_block(market, scenario.bind(market), block)
    _, still = draw_block(market, Stationary().bind(market), block)
    return _logit(changed.p_true) - _logit(still.p_true), shown.campaign


def _logit(p):
    return np.log(p / np.maximum(1 - p, 1e-300))


def test_abrupt_changes_the_odds_of_the_chosen_campaigns_by_the_factor_and_no_others():
    scenario = Abrupt(change_at=BLOCK + 100, factor=3.0)
    market = Simulation(scenario=scenario, market=SMALL, seed=1).build_market()
    chosen = scenario.changed_campaigns(market)
    before, _ = logit_change(scenario, 0)
    assert (before == 0).all()
    change, campaign = logit_change(scenario, 1)
    assert (change[:100] == 0).all()
    after, campaign = change[100:], campaign[100:]
    hit = np.isin(campaign, chosen)
    assert np.abs(after[~hit]).max() == 0.0
    np.testing.assert_allclose(np.abs(after[hit]), math.log(3.0))
    assert {-1.0, 1.0} == set(np.sign(after[hit]))


def test_abrupt_changes_about_the_share_of_traffic_asked_for():
    for share in (0.05, 0.3, 0.8):
        scenario = Abrupt(change_at=0, share=share)
        change, _ = logit_change(scenario, 0)
        assert (change != 0).mean() == pytest.approx(share, abs=0.03)


def test_abrupt_happens_in_the_middle_unless_said_otherwise():
    assert Abrupt().settle(1000) == Abrupt(change_at=500)
    assert Abrupt().settle(None) == Abrupt(change_at=250_000)
    assert Abrupt(change_at=7).settle(1000) == Abrupt(change_at=7)


def test_gradual_never_jumps_but_moves_campaigns_far_within_a_period():
    scenario = Gradual(period_events=20 * BLOCK)
    moved = []
    for block in range(0, 20, 4):
        change, campaign = logit_change(scenario, block)
        moved.append(change[campaign == 0].mean())
        # Two sines, campaign's and segment's: never further than both heights.
        assert np.abs(change).max() <= 2 * 0.5 * math.sqrt(2.0) + 1e-9
    assert max(moved) - min(moved) > 0.5


def test_gradual_is_continuous_in_the_event_number():
    scenario = Gradual(period_events=4 * BLOCK)
    market = Simulation(scenario=scenario, market=SMALL, seed=1).build_market()
    change, campaign = logit_change(scenario, 1)
    shown, _ = draw_block(market, scenario.bind(market), 1)
    fastest = 2 * 0.5 * math.sqrt(2.0) * 2 * math.pi / (4 * BLOCK * 0.5)
    for number in range(5):
        for segment in range(3):
            mine = (campaign == number) & (shown.segment == segment)
            step = np.abs(np.diff(change[mine])) / np.diff(shown.event[mine])
            assert step.max() <= fastest * (1 + 1e-6)


def test_gradual_with_no_drift_is_stationary():
    change, _ = logit_change(Gradual(drift=0.0), 3)
    assert (change == 0).all()


def test_churn_retires_every_ad_and_never_uses_its_name_again():
    lifetime = 40_000
    ads = numbers(rows(Churn(lifetime_events=lifetime), 300_000, ["ad"])["ad"])
    names, first = np.unique(ads, return_index=True)
    _, first_from_end = np.unique(ads[::-1], return_index=True)
    last = len(ads) - 1 - first_from_end
    assert (last - first).max() <= 1.5 * lifetime
    # All the time: between these edges some ads start and some end.
    edges = np.linspace(60_000, 240_000, 7)
    assert (np.histogram(first, edges)[0] > 50).all()
    assert (np.histogram(last, edges)[0] > 50).all()
    # One place is held by its ads in turn, one after the other.
    slot = names % SMALL.ads
    busiest = slot == 0
    order = np.argsort(first[busiest])
    assert busiest.sum() > 4
    assert (first[busiest][order][1:] > last[busiest][order][:-1]).all()


def test_stationary_shows_the_same_ads_for_ever():
    ads = rows(Stationary(), 100_000, ["ad"])["ad"]
    assert len(ads.unique()) <= SMALL.ads


# Incidents change one thing, from one event on.
def change(scenario):
    simulation = Simulation(scenario=scenario, seed=1)
    market = simulation.build_market()
    shown, changed = draw_block(market, scenario.bind(market), 1)
    _, still = draw_block(market, Stationary().bind(market), 1)
    logits = [_logit(outcome.p_true) for outcome in (changed, still)]
    return np.stack([shown.event, shown.campaign, shown.site, logits[0] - logits[1]]), simulation


def test_one_campaign_changes_by_the_factor_and_nothing_else():
    scenario = CampaignShift(change_at=BLOCK + 5_000, factor=0.5)
    (event, campaign, _, moved), simulation = change(scenario)
    hit = (event >= BLOCK + 5_000) & (campaign == scenario.campaign(simulation.build_market()))
    assert 0.03 < hit.sum() / (BLOCK - 5_000) < 0.07
    np.testing.assert_allclose(moved[hit], math.log(0.5))
    assert (moved[~hit] == 0).all()


def test_a_campaign_can_be_named_by_its_number():
    scenario = CampaignShift(change_at=0, number=17)
    (_, campaign, _, moved), _ = change(scenario)
    assert set(campaign[moved != 0]) == {17}


def test_bots_click_everything_on_one_site_only():
    scenario = Bots(change_at=BLOCK, bots=0.5)
    (_, _, site, moved), simulation = change(scenario)
    there = site == scenario.site(simulation.build_market())
    assert 0.35 < (moved[there] > 10).mean() < 0.65
    assert (moved[~there] == 0).all()


def test_incidents_are_scenarios_by_name_and_begin_in_the_middle():
    assert parse_sim("sim:campaign?events=1000&factor=0.5").scenario.change_at == 500
    assert parse_sim("sim:bots").scenario.change_at == 250_000


def test_every_scenario_has_a_line_that_says_what_it_is():
    names = ["stationary", "gradual", "abrupt", "churn", "campaign", "bots"]
    assert list(SCENARIOS) == names
    assert all(kind.summary and "\n" not in kind.summary for kind in SCENARIOS.values())
