"""Blocks of impressions as plain arrays: when, who and what, the click probability, the clicks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from features.times import hour_of_day
from market.effects import DEVICES, PLACEMENTS, Floats, Ints, Market, stream_rng

__all__ = [
    "BLOCK",
    "DAY_MS",
    "START_MS",
    "Dynamics",
    "Outcome",
    "Shown",
    "calibrate",
    "click_delays",
    "draw_block",
    "event_times",
    "zipf_ranks",
    "zipf_shares",
]


@dataclass(frozen=True, slots=True)
class Shown:
    """Who was shown what, where and when; int64 arrays of one length.

    Parameters
    ----------
    event
        Number of the impression in the stream, from 0.
    timestamp
        ms since 1970, UTC.
    hour
        Of the day, 0 to 23, UTC.
    user, segment, ad, campaign, site, placement, device
        Numbers from 0; ``ad`` has no upper bound where ads are replaced.
    """

    event: Ints
    timestamp: Ints
    hour: Ints
    user: Ints
    segment: Ints
    ad: Ints
    campaign: Ints
    site: Ints
    placement: Ints
    device: Ints


def _same_ads(event: Ints, slot: Ints) -> Ints:
    return slot


def _no_offset(shown: Shown) -> Floats:
    return np.zeros(1)


@dataclass(frozen=True, slots=True)
class Dynamics:
    """A scenario bound to a market.

    Parameters
    ----------
    ad_number
        From event numbers and ad slots (0..ads-1) to the number of the ad in that slot then.
    offset
        What to add to the click logit of each impression (or one number for all).
    """

    ad_number: Callable[[Ints, Ints], Ints] = _same_ads
    offset: Callable[[Shown], Floats] = _no_offset


def zipf_ranks(uniforms: Floats, size: int, exponent: float) -> Ints:
    """Turn uniform numbers into ranks 0..size-1, rank k having about 1/(k+1)**exponent as share.

    The law is a Pareto density on [1, size + 1) cut at the integers: its inverse is a formula,
    so drawing costs the same for ten values and for ten million. Shares are those of
    :func:`zipf_shares`, exactly.

    Parameters
    ----------
    uniforms
        Numbers in [0, 1), any shape.
    size
        How many ranks there are; at least 1.
    exponent
        0 makes all ranks equally popular; higher gives more to the first ones.

    Returns
    -------
    int64 array of the shape of ``uniforms``.

    Examples
    --------
    >>> import numpy as np
    >>> zipf_ranks(np.array([0.0, 0.5, 0.999]), size=100, exponent=1.0)
    array([ 0,  9, 99])
    """
    if exponent == 1.0:
        reach = np.exp(uniforms * np.log(size + 1.0))
    else:
        power = 1.0 - exponent
        reach = (1.0 + uniforms * ((size + 1.0) ** power - 1.0)) ** (1.0 / power)
    # Rounding may push a uniform just below 1 onto the open end.
    ranks: Ints = np.minimum(reach.astype(np.int64) - 1, size - 1)
    return ranks


def zipf_shares(size: int, exponent: float) -> Floats:
    """Share of each rank under :func:`zipf_ranks`; float64 of shape (size,), sums to 1.

    Examples
    --------
    >>> zipf_shares(3, 1.0).round(3)
    array([0.5  , 0.292, 0.208])
    """
    ends = np.arange(1.0, size + 2.0)
    mass = np.log(ends) if exponent == 1.0 else ends ** (1.0 - exponent) / (1.0 - exponent)
    shares: Floats = np.diff(mass) / (mass[-1] - mass[0])
    return shares


START_MS = 1_736_121_600_000
"""Time of event 0: Monday 6 January 2025, 00:00 UTC, in ms since 1970."""

DAY_MS = 86_400_000
_PEAK_HOUR = 20.0
_SWING = 0.6
_STEPS = 4096


def _daily_quantiles() -> Floats:
    """Time of day (fraction) by which a share i/_STEPS of the day's impressions has happened."""
    time = np.linspace(0.0, 1.0, 20 * _STEPS + 1)
    angle = 2.0 * np.pi * (time - _PEAK_HOUR / 24.0)
    share = time + _SWING / (2.0 * np.pi) * (np.sin(angle) - np.sin(angle[0]))
    return np.interp(np.linspace(0.0, 1.0, _STEPS + 1), share, time)


_QUANTILES = _daily_quantiles()
_SLOPES = np.append(np.diff(_QUANTILES), 0.0)


def event_times(positions: Floats, impressions_per_s: float) -> Ints:
    """Time of each event, from its place in the stream.

    The rate over a day is ``1 + 0.6 cos(2 pi (hour - 20) / 24)`` times the mean rate.

    Parameters
    ----------
    positions
        How many events (a real number) come before this one; not falling.
    impressions_per_s
        Mean rate over a day.

    Returns
    -------
    int64 array, ms since 1970, not falling.

    Examples
    --------
    >>> import numpy as np
    >>> event_times(np.array([0.0, 345_600.0]), impressions_per_s=4.0) - START_MS
    array([       0, 86400000])
    """
    days = positions / (impressions_per_s * 86_400.0)
    whole = np.floor(days)
    steps = (days - whole) * _STEPS
    step = steps.astype(np.int64)
    fraction = _QUANTILES[step] + (steps - step) * _SLOPES[step]
    since_start: Ints = ((whole + fraction) * DAY_MS).astype(np.int64)
    return START_MS + since_start


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
    blocks = (
        _draw_shown(market, Dynamics(), np.sort(rng.random(BLOCK)) * day, 0, rng) for _ in range(4)
    )
    logit = np.concatenate([_logit(market, shown) for shown in blocks])
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
