"""Scenarios of the drift study that the simulated market does not have by itself."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from market.effects import Floats, Ints, Market
from market.impressions import Dynamics, Shown
from market.scenarios import CampaignShift

__all__ = ["NEW_ADVERTISER", "NewAdvertiser", "Shift", "with_new_advertiser"]

NEW_ADVERTISER = 8
"""Number of the advertiser that begins at the change: the market has those below."""
_CAMPAIGNS, _ADS_EACH = 20, 20  # of the study's market
_NEW_CAMPAIGNS = 5
_ONE_IN = 4  # impressions of five old campaigns that are the new ones' instead


def _is_new(event: Ints, campaign: Ints, change_at: int) -> np.ndarray:
    """The new advertiser's impressions: a quarter of those of five campaigns, 6 % of all."""
    return (event >= change_at) & (campaign < _NEW_CAMPAIGNS) & (event % _ONE_IN == 0)


class NewAdvertiser(CampaignShift, frozen=True):
    """From one event on, a new advertiser's five campaigns, with other click odds than usual."""

    name = "new advertiser"
    summary = "at event change_at a new advertiser begins five campaigns"

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        change_at, jump = self.settle(None).change_at or 0, math.log(self.factor)

        def offset(shown: Shown) -> Floats:
            moved: Floats = jump * _is_new(shown.event, shown.campaign, change_at)
            return moved

        return Dynamics(offset=offset)


def with_new_advertiser(batch: pa.RecordBatch, first: int, change_at: int) -> pa.RecordBatch:
    """Name the new advertiser, its campaigns and its ads: to the learner they are unknown.

    Parameters
    ----------
    batch
        Events of the study's market.
    first
        Number of its first event.
    change_at
        Number of the first event that may be the new advertiser's.
    """
    campaign = batch["campaign"].indices.to_numpy()
    ad = np.array([int(name.lstrip("ad")) for name in batch["ad"].to_pylist()])
    new = _is_new(np.arange(first, first + len(campaign)), campaign, change_at)
    columns = {name: batch[name] for name in batch.schema.names}
    columns["ad"] = pa.array(
        [f"ad{n:012d}" for n in np.where(new, ad + _CAMPAIGNS * _ADS_EACH, ad).tolist()]
    )
    owner = batch["advertiser"].indices.to_numpy()
    for name, number in (
        ("campaign", np.where(new, campaign + _CAMPAIGNS, campaign)),
        ("advertiser", np.where(new, NEW_ADVERTISER, owner)),
    ):
        known = batch[name].dictionary.to_pylist()
        words = known + [f"{name}-{n}" for n in range(len(known), int(number.max()) + 1)]
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(number, pa.int32()), words)
    return pa.RecordBatch.from_pydict(columns)


class Shift(CampaignShift, frozen=True):
    """From one event on, all click odds are multiplied."""

    name = "shift"
    summary = "at event change_at all click odds are multiplied by factor"

    def bind(self, market: Market) -> Dynamics:
        """See the base class."""
        jump = math.log(self.factor)
        return Dynamics(offset=lambda shown: jump * self.started(shown))
