"""The market: its sizes, who exists, what belongs to what, and every effect on the click logit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "DEVICES",
    "MAX_INTERESTS",
    "PLACEMENTS",
    "Effects",
    "Floats",
    "Ints",
    "Market",
    "MarketSettings",
    "build_market",
    "stream_rng",
]

DEVICES = ("phone", "desktop", "tablet", "tv")
"""Device names, most frequent first."""

PLACEMENTS = ("top", "side", "feed", "middle", "bottom", "popup", "video", "footer")
"""Placement names, most frequent first."""

MAX_INTERESTS = 4
"""A user has 0 to this many interests."""

# Upper bounds keep the market's tables within memory and its times within int64.
_Size = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
_Few = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
_Exponent = Annotated[float, msgspec.Meta(ge=0, le=5)]


class MarketSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large a market is and how fast it runs.

    Parameters
    ----------
    users, segments, interests
        How many there are; each user is in one segment and has 0 to 4 interests.
    advertisers, campaigns, ads_per_campaign, categories
        Each campaign has one advertiser, one ad category and ``ads_per_campaign`` ads.
    sites
        How many sites show ads.
    user_zipf, campaign_zipf, ad_zipf, site_zipf
        Zipf exponents of popularity (of an ad: within its campaign); 0 makes all equal, higher
        gives more of the traffic to fewer.
    impressions_per_s
        Mean traffic over a day; higher packs the same events into less event time.
    click_rate
        Mean true click probability of the market before its scenario changes anything.
    max_click_delay_ms
        No click comes later than this after its impression.
    """

    users: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    segments: _Few = 12
    interests: Annotated[int, msgspec.Meta(ge=MAX_INTERESTS, le=1_000)] = 24
    advertisers: _Size = 60
    campaigns: _Size = 200
    ads_per_campaign: _Few = 10
    categories: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    sites: _Size = 500
    user_zipf: _Exponent = 0.6
    campaign_zipf: _Exponent = 0.8
    ad_zipf: _Exponent = 1.0
    site_zipf: _Exponent = 1.0
    impressions_per_s: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] = 4.0
    click_rate: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05
    max_click_delay_ms: Annotated[int, msgspec.Meta(ge=1, le=30 * 86_400_000)] = 86_400_000

    @property
    def ads(self) -> int:
        """How many ads run at any time."""
        return self.campaigns * self.ads_per_campaign


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """Standard deviation of each effect on the logit; 0 switches an effect off.

    The last five are interactions: what they add cannot be written as a sum over single fields.
    """

    user: float = 0.5
    segment: float = 0.3
    ad: float = 0.35
    campaign: float = 0.35
    advertiser: float = 0.2
    category: float = 0.3
    site: float = 0.4
    placement: float = 0.4
    device: float = 0.2
    hour: float = 0.15
    segment_category: float = 0.4
    site_placement: float = 0.3
    device_hour_band: float = 0.25
    interest_category: float = 0.4
    site_ad: float = 0.25


Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_HOURS_PER_BAND = 6
_NORMALS = 1 << 16
_AT_ONCE = 1 << 12  # users; of all at once, two more tables would be made beside theirs
# splitmix64 (Steele, Lea, Flood 2014)
_GAMMA, _MIX1, _MIX2 = (
    np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def stream_rng(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of one purpose: streams of different keys are independent."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


@dataclass(frozen=True, slots=True)
class Market:
    """A market's tables. All effects are on the logit; their sum plus ``base`` is the truth.

    Parameters
    ----------
    settings, effects, seed
        What it was built from.
    user_segment
        Segment of each user; int64 (users,).
    user_interests
        Interests of each user, the first ``user_interest_count`` of each row; int64 (users, 4).
    user_interest_count
        int64 (users,), 0 to 4.
    campaign_advertiser, campaign_category
        int64 (campaigns,).
    user_logit
        Effects of user, segment, segment x category and interests x category; (users, categories).
    campaign_logit
        Effects of campaign, advertiser and category; (campaigns,).
    site_logit
        Effects of site, placement and site x placement; (sites, placements).
    device_logit
        Effects of device, hour and device x hour band; (devices, 24).
    normals
        Standard normal numbers from which effects of unbounded things are picked by hash.
    base
        Intercept that makes the mean click probability ``settings.click_rate``.
    """

    settings: MarketSettings
    effects: Effects
    seed: int
    user_segment: Ints
    user_interests: Ints
    user_interest_count: Ints
    campaign_advertiser: Ints
    campaign_category: Ints
    user_logit: Floats
    campaign_logit: Floats
    site_logit: Floats
    device_logit: Floats
    normals: Floats
    base: float

    def ad_logit(self, ad: Ints) -> Floats:
        """Effect of each ad number itself, whichever ads may ever exist."""
        return self.effects.ad * self._hashed_normal(ad)

    def site_ad_logit(self, site: Ints, ad: Ints) -> Floats:
        """Effect of each pair of a site and an ad."""
        return self.effects.site_ad * self._hashed_normal(ad + (site + 1 << 40))

    def _hashed_normal(self, key: Ints) -> Floats:
        mixed = key.astype(np.uint64) * _GAMMA
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX2
        return self.normals.take((mixed >> np.uint64(48)).view(np.int64))


def build_market(
    settings: MarketSettings | None = None, *, effects: Effects | None = None, seed: int = 0
) -> Market:
    """Draw a market; ``base`` stays at logit(click_rate) until the caller calibrates it.

    Examples
    --------
    >>> build_market(MarketSettings(users=100), seed=1).user_logit.shape
    (100, 20)
    """
    settings, effects = settings or MarketSettings(), effects or Effects()
    rng = stream_rng(seed, 0)
    segment = rng.integers(settings.segments, size=settings.users)
    interests, count = _draw_interests(settings, rng)
    advertiser = _spread(settings.campaigns, settings.advertisers, rng)
    category = _spread(settings.campaigns, settings.categories, rng)
    return Market(
        settings=settings,
        effects=effects,
        seed=seed,
        user_segment=segment,
        user_interests=interests,
        user_interest_count=count,
        campaign_advertiser=advertiser,
        campaign_category=category,
        user_logit=_user_logit(settings, effects, segment, interests, count, rng),
        campaign_logit=_campaign_logit(settings, effects, advertiser, category, rng),
        site_logit=_site_logit(settings, effects, rng),
        device_logit=_device_logit(effects, rng),
        normals=rng.standard_normal(_NORMALS),
        base=math.log(settings.click_rate / (1.0 - settings.click_rate)),
    )


def _spread(members: int, groups: int, rng: np.random.Generator) -> Ints:
    """Group of each member: groups of equal size (to within one) in random order."""
    return rng.permutation(np.arange(members) % groups)


def _draw_interests(settings: MarketSettings, rng: np.random.Generator) -> tuple[Ints, Ints]:
    count = rng.integers(MAX_INTERESTS + 1, size=settings.users)
    drawn = np.empty((settings.users, MAX_INTERESTS), dtype=np.int64)
    # Robert Floyd's sampling without replacement, all users at once.
    for k, last in enumerate(range(settings.interests - MAX_INTERESTS, settings.interests)):
        pick = rng.integers(last + 1, size=settings.users)
        taken = (drawn[:, :k] == pick[:, None]).any(axis=1)
        drawn[:, k] = np.where(taken, last, pick)
    # Its sets are uniform, its order is not, and only the first `count` are used.
    return rng.permuted(drawn, axis=1), count


def _user_logit(
    settings: MarketSettings,
    effects: Effects,
    segment: Ints,
    interests: Ints,
    count: Ints,
    rng: np.random.Generator,
) -> Floats:
    user = rng.normal(0.0, effects.user, settings.users)
    segments = rng.normal(0.0, effects.segment, settings.segments)
    shape = settings.segments, settings.categories
    table = rng.normal(0.0, effects.segment_category, shape)[segment]
    table += (user + segments[segment])[:, None]
    affinity = rng.normal(0.0, effects.interest_category, (settings.interests, settings.categories))
    for first in range(0, len(table), _AT_ONCE):
        users = slice(first, first + _AT_ONCE)
        for slot in range(MAX_INTERESTS):
            table[users] += affinity[interests[users, slot]] * (slot < count[users])[:, None]
    return table


def _campaign_logit(
    settings: MarketSettings,
    effects: Effects,
    advertiser: Ints,
    category: Ints,
    rng: np.random.Generator,
) -> Floats:
    campaigns = rng.normal(0.0, effects.campaign, settings.campaigns)
    advertisers = rng.normal(0.0, effects.advertiser, settings.advertisers)
    categories = rng.normal(0.0, effects.category, settings.categories)
    return campaigns + advertisers[advertiser] + categories[category]


def _site_logit(settings: MarketSettings, effects: Effects, rng: np.random.Generator) -> Floats:
    shape = settings.sites, len(PLACEMENTS)
    sites = rng.normal(0.0, effects.site, (shape[0], 1))
    placements = rng.normal(0.0, effects.placement, (1, shape[1]))
    return sites + placements + rng.normal(0.0, effects.site_placement, shape)


def _device_logit(effects: Effects, rng: np.random.Generator) -> Floats:
    devices = rng.normal(0.0, effects.device, (len(DEVICES), 1))
    hours = rng.normal(0.0, effects.hour, (1, 24))
    bands = rng.normal(0.0, effects.device_hour_band, (len(DEVICES), 24 // _HOURS_PER_BAND))
    return devices + hours + np.repeat(bands, _HOURS_PER_BAND, axis=1)
