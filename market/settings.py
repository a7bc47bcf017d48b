"""Sizes and strengths of a simulated ad market, as frozen records."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["DEVICES", "MAX_INTERESTS", "PLACEMENTS", "Effects", "MarketSettings"]

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
