"""Blocks of impressions as plain arrays: drawn, given their click probability, and clicked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from market.market import Floats, Ints, Market, stream_rng
from market.popularity import zipf_ranks
from market.scenarios import Dynamics
from market.settings import DEVICES, PLACEMENTS
from market.shown import Shown
from market.traffic import event_times, hour_of_day

__all__ = ["BLOCK", "Outcome", "calibrate", "click_delays", "draw_block"]

BLOCK = 16_384
"""Events drawn from one seed: what a resume may have to draw again, at most."""

_QUICK_SHARE = 0.8
_QUICK_MEDIAN_MS, _QUICK_SIGMA = 6_000.0, 1.0
_SLOW_MEDIAN_MS, _SLOW_SIGMA = 600_000.0, 1.4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the impressions of a block.

    Parameters
    ----------
    p_true
        The probability each click was drawn with; float64.
    click
        0 or 1; int64.
    delay_ms
        From impression to click, 0 without a click; int64.
    """

    p_true: Floats
    click: Ints
    delay_ms: Ints


def draw_block(market: Market, dynamics: Dynamics, block: int) -> tuple[Shown, Outcome]:
    """Draw events ``block * BLOCK`` to ``(block + 1) * BLOCK - 1``; the same at every call."""
    rng = stream_rng(market.seed, 1, block)
    first = block * BLOCK
    shown = _draw_shown(market, dynamics, first + _arrivals(rng), first, rng)
    p_true = _probability(_logit(market, shown) + dynamics.offset(shown))
    clicked = rng.random(BLOCK) < p_true
    delay_ms = np.zeros(BLOCK, dtype=np.int64)
    delay_ms[clicked] = click_delays(int(clicked.sum()), market.settings.max_click_delay_ms, rng)
    return shown, Outcome(p_true, clicked.astype(np.int64), delay_ms)


def calibrate(market: Market) -> Market:
    """Set ``base`` so that the market's mean click probability over a day is its click rate."""
    rng = stream_rng(market.seed, 2)
    day = market.settings.impressions_per_s * 86_400.0
    shown = [
        _draw_shown(market, Dynamics(), np.sort(rng.random(BLOCK)) * day, 0, rng) for _ in range(4)
    ]
    logit = np.concatenate([_logit(market, block) for block in shown])
    low, high = -30.0, 30.0
    for _ in range(50):
        shift = (low + high) / 2.0
        if _probability(logit + shift).mean() < market.settings.click_rate:
            low = shift
        else:
            high = shift
    return dataclasses.replace(market, base=market.base + low)


def click_delays(clicks: int, max_delay_ms: int, rng: np.random.Generator) -> Ints:
    """Delays of ``clicks`` clicks, int64 in 1..max_delay_ms.

    80 % are log-normal around 6 s, the others around 10 min with a heavy tail into hours.

    Examples
    --------
    >>> click_delays(1000, 5_000, np.random.default_rng(0)).max()
    np.int64(5000)
    """
    quick = rng.random(clicks) < _QUICK_SHARE
    scale = np.where(quick, np.log(_QUICK_MEDIAN_MS), np.log(_SLOW_MEDIAN_MS))
    sigma = np.where(quick, _QUICK_SIGMA, _SLOW_SIGMA)
    delays = np.exp(scale + sigma * rng.standard_normal(clicks))
    return np.clip(delays, 1, max_delay_ms).astype(np.int64)


def _arrivals(rng: np.random.Generator) -> Floats:
    """Places of a block's events within it: a Poisson process, given that BLOCK events fell."""
    gaps = rng.standard_exponential(BLOCK + 1)
    reached = np.cumsum(gaps)
    places: Floats = reached[:-1] * (BLOCK / reached[-1])
    return places


def _draw_shown(
    market: Market, dynamics: Dynamics, positions: Floats, first: int, rng: np.random.Generator
) -> Shown:
    settings, size = market.settings, len(positions)
    event = np.arange(first, first + size)
    timestamp = event_times(positions, settings.impressions_per_s)
    campaign = zipf_ranks(rng.random(size), settings.campaigns, settings.campaign_zipf)
    within = zipf_ranks(rng.random(size), settings.ads_per_campaign, settings.ad_zipf)
    user = zipf_ranks(rng.random(size), settings.users, settings.user_zipf)
    return Shown(
        event=event,
        timestamp=timestamp,
        hour=hour_of_day(timestamp),
        user=user,
        segment=market.user_segment[user],
        ad=dynamics.ad_number(event, campaign * settings.ads_per_campaign + within),
        campaign=campaign,
        site=zipf_ranks(rng.random(size), settings.sites, settings.site_zipf),
        placement=zipf_ranks(rng.random(size), len(PLACEMENTS), 1.0),
        device=zipf_ranks(rng.random(size), len(DEVICES), 1.0),
    )


def _logit(market: Market, shown: Shown) -> Floats:
    category = market.campaign_category[shown.campaign]
    logit = market.user_logit[shown.user, category]
    logit += market.base
    logit += market.campaign_logit[shown.campaign]
    logit += market.site_logit[shown.site, shown.placement]
    logit += market.device_logit[shown.device, shown.hour]
    logit += market.ad_logit(shown.ad)
    logit += market.site_ad_logit(shown.site, shown.ad)
    return logit


def _probability(logit: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(-logit))
    return probability
