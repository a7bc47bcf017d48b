"""Incidents change one thing, from one event on."""

from __future__ import annotations

import math

import numpy as np

from market import Bots, CampaignShift, Stationary, parse_sim
from market.impressions import BLOCK, draw_block
from market.scenarios import Scenario
from market.simulation import Simulation


def change(scenario: Scenario) -> tuple[np.ndarray, Simulation]:
    simulation = Simulation(scenario=scenario, seed=1)
    market = simulation.build_market()
    shown, changed = draw_block(market, scenario.bind(market), 1)
    _, still = draw_block(market, Stationary().bind(market), 1)
    logits = [np.log(o.p_true / np.maximum(1 - o.p_true, 1e-300)) for o in (changed, still)]
    return np.stack([shown.event, shown.campaign, shown.site, logits[0] - logits[1]]), simulation


def test_one_campaign_changes_by_the_factor_and_nothing_else() -> None:
    scenario = CampaignShift(change_at=BLOCK + 5_000, factor=0.5)
    (event, campaign, _, moved), simulation = change(scenario)
    hit = (event >= BLOCK + 5_000) & (campaign == scenario.campaign(simulation.build_market()))
    assert 0.03 < hit.sum() / (BLOCK - 5_000) < 0.07
    np.testing.assert_allclose(moved[hit], math.log(0.5))
    assert (moved[~hit] == 0).all()


def test_a_campaign_can_be_named_by_its_number() -> None:
    scenario = CampaignShift(change_at=0, number=17)
    (_, campaign, _, moved), _ = change(scenario)
    assert set(campaign[moved != 0]) == {17}


def test_bots_click_everything_on_one_site_only() -> None:
    scenario = Bots(change_at=BLOCK, bots=0.5)
    (_, _, site, moved), simulation = change(scenario)
    there = site == scenario.site(simulation.build_market())
    assert 0.35 < (moved[there] > 10).mean() < 0.65
    assert (moved[~there] == 0).all()


def test_incidents_are_scenarios_by_name_and_begin_in_the_middle() -> None:
    assert parse_sim("sim:campaign?events=1000&factor=0.5").scenario.change_at == 500
    assert parse_sim("sim:bots").scenario.change_at == 250_000
