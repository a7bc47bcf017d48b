"""What changes in a market while it runs: slow drift, jumps, churn, and single incidents.

A scenario is a frozen record of parameters; bound to a market it becomes :class:`Dynamics`, two
functions of the impressions. To add one: write its record here and list it in ``SCENARIOS``.
What goes wrong in an incident is known by name and by event, so an alarm can be judged: right or
wrong, how late, and how well dated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from market.effects import Floats, Ints, Market, stream_rng
from market.impressions import Dynamics, Shown, zipf_shares

__all__ = [
    "SCENARIOS",
    "Abrupt",
    "Bots",
    "CampaignShift",
    "Churn",
    "Gradual",
    "Scenario",
    "Stationary",
    "campaigns_with_share",
    "nearest_share",
]

_Events = Annotated[int, msgspec.Meta(ge=2, le=10**12)]
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
_CERTAIN = 60.0  # a logit at which float64 has 1 as the probability, nearly always
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the scenario records."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def settle(self, events: int | None) -> Scenario:
        """Fill in parameters whose default depends on how many events there will be."""
        return self

    def bind(self, market: Market) -> Dynamics:
        """Prepare the scenario's functions for this market."""
        return Dynamics()


class Stationary(Scenario, frozen=True):
    """Nothing changes but the hour."""

    name = "stationary"
    summary = "nothing changes but the time of day"


class Gradual(Scenario, frozen=True):
    """Campaign and segment effects wander: each a sine of its own period and phase.

    Parameters
    ----------
    drift
        Standard deviation over time of each effect's wandering, in logits.
    period_events
        Mean period, in events; each effect has its own between half and one and a half of it.
    """

    name = "gradual"
    summary = "effects of campaigns and segments drift slowly and without end"
    drift: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.5
    period_events: _Events = 1_000_000

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        rng = stream_rng(market.seed, 3)
        campaign = self._wander(market.settings.campaigns, rng)
        segment = self._wander(market.settings.segments, rng)
        return Dynamics(
            offset=lambda shown: (
                campaign(shown.event, shown.campaign) + segment(shown.event, shown.segment)
            )
        )

    def _wander(self, size: int, rng: np.random.Generator) -> Callable[[Ints, Ints], Floats]:
        speed = 2.0 * np.pi / (self.period_events * rng.uniform(0.5, 1.5, size))
        phase = rng.uniform(0.0, 2.0 * np.pi, size)
        height = self.drift * math.sqrt(2.0)

        def offset(event: Ints, member: Ints) -> Floats:
            moved: Floats = height * np.sin(event * speed[member] + phase[member])
            return moved

        return offset


class _Incident(Scenario, frozen=True):
    """A scenario with a moment, half of the events if not given."""

    change_at: Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None = None

    def settle(self, events: int | None) -> _Incident:
        """See the base class."""
        if self.change_at is not None:
            return self
        return msgspec.structs.replace(self, change_at=250_000 if events is None else events // 2)

    def started(self, shown: Shown) -> Ints:
        """1 for each impression from the moment on."""
        change_at = self.settle(None).change_at or 0
        return (shown.event >= change_at).astype(np.int64)


class Abrupt(_Incident, frozen=True):
    """From one event on, the click odds of some campaigns are multiplied or divided.

    Parameters
    ----------
    change_at
        Number of the first changed event; absent: half of the events, or 250,000 if without end.
    share
        About this share of all impressions belongs to the campaigns that change.
    factor
        Their odds are multiplied (every other of them: divided) by this.
    """

    name = "abrupt"
    summary = "at event change_at the click odds of some campaigns jump, up or down"
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    factor: Annotated[float, msgspec.Meta(ge=0.001, le=1_000)] = 5.0

    def changed_campaigns(self, market: Market) -> Ints:
        """Numbers of the campaigns that change: the first goes up, the second down, and so on."""
        return campaigns_with_share(market, self.share, stream_rng(market.seed, 4))

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        changed = self.changed_campaigns(market)
        jump = np.zeros(market.settings.campaigns)
        jump[changed[::2]] = math.log(self.factor)
        jump[changed[1::2]] = -math.log(self.factor)
        return Dynamics(offset=lambda shown: jump[shown.campaign] * self.started(shown))


class Churn(Scenario, frozen=True):
    """Every ad retires after its lifetime and a new one, never seen before, takes its place.

    Parameters
    ----------
    lifetime_events
        Mean lifetime of an ad, in events; each place has its own between half and one and a half
        of it, and its own phase, so that ads come and go all the time.
    """

    name = "churn"
    summary = "new ads arrive all the time and old ones retire; ad names are never used again"
    lifetime_events: _Events = 200_000

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        rng, ads = stream_rng(market.seed, 5), market.settings.ads
        lifetime = (self.lifetime_events * rng.uniform(0.5, 1.5, ads)).astype(np.int64)
        phase = (lifetime * rng.random(ads)).astype(np.int64)

        def ad_number(event: Ints, slot: Ints) -> Ints:
            numbers: Ints = slot + ads * ((event + phase[slot]) // lifetime[slot])
            return numbers

        return Dynamics(ad_number=ad_number)


def campaigns_with_share(market: Market, share: float, rng: np.random.Generator) -> Ints:
    """Random campaigns that together have at most this share of traffic, and nearly all of it."""
    shares = zipf_shares(market.settings.campaigns, market.settings.campaign_zipf)
    chosen, total = [], 0.0
    for campaign in rng.permutation(len(shares)):
        if total + shares[campaign] <= share:
            chosen.append(campaign)
            total += shares[campaign]
    return np.array(chosen, dtype=np.int64)


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


SCENARIOS: dict[str, type[Scenario]] = {
    kind.name: kind for kind in (Stationary, Gradual, Abrupt, Churn, CampaignShift, Bots)
}
"""The scenarios by name."""


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
