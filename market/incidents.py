"""Incidents: scenarios in which one thing goes wrong at one event, for monitoring to find.

What goes wrong is known by name and by event, so an alarm can be judged: right or wrong, how
late, and how well dated.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np

from market.market import Floats, Ints, Market
from market.popularity import zipf_shares
from market.scenarios import SCENARIOS, Dynamics, Scenario
from market.shown import Shown

__all__ = ["Bots", "CampaignShift", "nearest_share"]

_At = Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
_CERTAIN = 60.0  # a logit at which float64 has 1 as the probability, nearly always
_MIX = np.uint64(0x9E3779B97F4A7C15)


class _Incident(Scenario, frozen=True):
    """A scenario with a moment, half of the events if not given."""

    change_at: _At = None

    def settle(self, events: int | None) -> _Incident:
        """See the base class."""
        if self.change_at is not None:
            return self
        return msgspec.structs.replace(self, change_at=250_000 if events is None else events // 2)

    def started(self, shown: Shown) -> Ints:
        """1 for each impression from the moment on."""
        change_at = self.settle(None).change_at or 0
        return (shown.event >= change_at).astype(np.int64)


class CampaignShift(_Incident, frozen=True):
    """From one event on, the click odds of one campaign are multiplied.

    Parameters
    ----------
    change_at
        Number of the first changed event; absent: half of the events, or 250,000 if without end.
    share
        The campaign whose share of the traffic is nearest to this.
    factor
        Its odds are multiplied by this.
    number
        The campaign's number instead of its share; -1: by share.
    """

    name = "campaign"
    summary = "at event change_at the click odds of one campaign are multiplied by factor"
    share: _Share = 0.05
    factor: Annotated[float, msgspec.Meta(ge=0.001, le=1_000)] = 0.5
    number: Annotated[int, msgspec.Meta(ge=-1, lt=100_000)] = -1

    def campaign(self, market: Market) -> int:
        """Number of the campaign that changes."""
        settings = market.settings
        if self.number >= 0:
            return self.number
        return nearest_share(settings.campaigns, settings.campaign_zipf, self.share)

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        campaign, jump = self.campaign(market), math.log(self.factor)

        def offset(shown: Shown) -> Floats:
            moved: Floats = jump * (self.started(shown) * (shown.campaign == campaign))
            return moved

        return Dynamics(offset=offset)


class Bots(_Incident, frozen=True):
    """From one event on, part of one site's impressions go to bots, which click everything.

    Parameters
    ----------
    change_at
        Number of the first event with bots; absent: half of the events, or 250,000 if without end.
    share
        The site whose share of the traffic is nearest to this.
    bots
        This share of the site's impressions is shown to bots.
    """

    name = "bots"
    summary = "from event change_at on, bots on one site click everything they are shown"
    share: _Share = 0.015
    bots: _Share = 0.5

    def site(self, market: Market) -> int:
        """Number of the site that the bots visit."""
        settings = market.settings
        return nearest_share(settings.sites, settings.site_zipf, self.share)

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        site = self.site(market)

        def offset(shown: Shown) -> Floats:
            visited = self.started(shown) * (shown.site == site)
            moved: Floats = _CERTAIN * (visited * (_uniform(shown.event) < self.bots))
            return moved

        return Dynamics(offset=offset)


SCENARIOS.update({kind.name: kind for kind in (CampaignShift, Bots)})


def nearest_share(size: int, exponent: float, share: float) -> int:
    """Rank whose share of a Zipf law is nearest to ``share``.

    Examples
    --------
    >>> nearest_share(200, 0.8, 0.05)
    1
    """
    return int(np.abs(zipf_shares(size, exponent) - share).argmin())


def _uniform(event: Ints) -> Floats:
    """A number in [0, 1) for each event number, the same at every call."""
    mixed = event.astype(np.uint64) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX
    out: Floats = (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return out
