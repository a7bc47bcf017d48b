"""What changes in a market while it runs.

A scenario is a frozen record of parameters; bound to a market it becomes :class:`Dynamics`, two
functions of the impressions. To add one: write its record here and list it in ``SCENARIOS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from market.market import Floats, Ints, Market, stream_rng
from market.popularity import zipf_shares
from market.shown import Shown

__all__ = [
    "SCENARIOS",
    "Abrupt",
    "Churn",
    "Dynamics",
    "Gradual",
    "Scenario",
    "Stationary",
    "campaigns_with_share",
]

_Events = Annotated[int, msgspec.Meta(ge=2, le=10**12)]


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


class Abrupt(Scenario, frozen=True):
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
    change_at: Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    factor: Annotated[float, msgspec.Meta(ge=0.001, le=1_000)] = 5.0

    def settle(self, events: int | None) -> Abrupt:
        """See the base class."""
        if self.change_at is not None:
            return self
        return msgspec.structs.replace(self, change_at=250_000 if events is None else events // 2)

    def changed_campaigns(self, market: Market) -> Ints:
        """Numbers of the campaigns that change: the first goes up, the second down, and so on."""
        return campaigns_with_share(market, self.share, stream_rng(market.seed, 4))

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        changed = self.changed_campaigns(market)
        jump = np.zeros(market.settings.campaigns)
        jump[changed[::2]] = math.log(self.factor)
        jump[changed[1::2]] = -math.log(self.factor)
        change_at = self.settle(None).change_at or 0
        return Dynamics(offset=lambda shown: jump[shown.campaign] * (shown.event >= change_at))


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


SCENARIOS: dict[str, type[Scenario]] = {
    kind.name: kind for kind in (Stationary, Gradual, Abrupt, Churn)
}
"""The scenarios by name."""


def campaigns_with_share(market: Market, share: float, rng: np.random.Generator) -> Ints:
    """Random campaigns that together have at most this share of traffic, and nearly all of it."""
    shares = zipf_shares(market.settings.campaigns, market.settings.campaign_zipf)
    chosen, total = [], 0.0
    for campaign in rng.permutation(len(shares)):
        if total + shares[campaign] <= share:
            chosen.append(campaign)
            total += shares[campaign]
    return np.array(chosen, dtype=np.int64)
