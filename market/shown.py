"""Impressions as arrays of numbers: what scenarios and the truth are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from market.market import Ints

__all__ = ["Shown"]


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
