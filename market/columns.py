"""Drawn impressions as Arrow columns, with the names that a click log would have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.impressions import Outcome
from market.market import Ints, Market
from market.settings import DEVICES, MAX_INTERESTS, PLACEMENTS
from market.shown import Shown

__all__ = ["COLUMNS", "ColumnWriter", "numbered"]

COLUMNS = (
    "impression_id",
    "timestamp",
    "user",
    "segment",
    "interests",
    "ad",
    "campaign",
    "advertiser",
    "ad_category",
    "site",
    "placement",
    "device",
    "click",
    "click_delay_ms",
    "p_true",
)
"""Names of all columns, in order."""

_GROUP = 10_000
_DIGITS = np.array([b"%04d" % i for i in range(_GROUP)], dtype="S4")


def numbered(prefix: str, numbers: Ints, groups: int) -> pa.Array:
    """Names such as ``u00000042``: a prefix and ``4 * groups`` digits.

    Built as one block of bytes, some nanoseconds a name.

    Parameters
    ----------
    prefix
        ASCII text before the digits.
    numbers
        int64 (n,), each in 0..10**(4 * groups) - 1.
    groups
        How many groups of four digits.

    Returns
    -------
    pyarrow string array of length n.

    Examples
    --------
    >>> numbered("u", np.array([42]), groups=2).to_pylist()
    ['u00000042']
    """
    parts = [f"d{group}" for group in range(groups)]
    layout = np.dtype([("prefix", f"S{len(prefix)}"), *((part, "S4") for part in parts)])
    names = np.empty(len(numbers), dtype=layout)
    names["prefix"] = prefix.encode()
    rest = numbers
    for part in reversed(parts):
        higher = rest // _GROUP
        names[part] = _DIGITS.take(rest - higher * _GROUP)
        rest = higher
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * np.int32(layout.itemsize)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(names))


def _vocabulary(prefix: str, size: int) -> pa.Array:
    width = len(str(size - 1))
    return pa.array([f"{prefix}{number:0{width}}" for number in range(size)], pa.string())


def _of(vocabulary: pa.Array, numbers: Ints) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), vocabulary)


class ColumnWriter:
    """Turns blocks of a market into record batches.

    Few-valued columns are dictionary arrays that share one dictionary over all batches.

    Parameters
    ----------
    market
        Whose names are written.
    columns
        The wanted columns, in the wanted order, each of :data:`COLUMNS`.
    """

    def __init__(self, market: Market, columns: Sequence[str] = COLUMNS) -> None:
        self._market = market
        settings = market.settings
        self._interest_names = _vocabulary("interest-", settings.interests)
        make = self._builders()
        self._wanted = [(name, make[name]) for name in columns]

    def batch(self, shown: Shown, outcome: Outcome) -> pa.RecordBatch:
        """Give the wanted columns of a block."""
        arrays = [build(shown, outcome) for _, build in self._wanted]
        return pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in self._wanted])

    def _builders(self) -> dict[str, Callable[[Shown, Outcome], pa.Array]]:
        market, settings = self._market, self._market.settings
        segments = _vocabulary("segment-", settings.segments)
        campaigns = _vocabulary("campaign-", settings.campaigns)
        advertisers = _vocabulary("advertiser-", settings.advertisers)
        categories = _vocabulary("category-", settings.categories)
        sites = _vocabulary("site-", settings.sites)
        placements, devices = pa.array(PLACEMENTS), pa.array(DEVICES)
        return {
            "impression_id": lambda s, o: numbered("imp-", s.event, 3),
            "timestamp": lambda s, o: pa.array(s.timestamp),
            "user": lambda s, o: numbered("u", s.user, 2),
            "segment": lambda s, o: _of(segments, s.segment),
            "interests": lambda s, o: self._interests(s.user),
            "ad": lambda s, o: numbered("ad", s.ad, 3),
            "campaign": lambda s, o: _of(campaigns, s.campaign),
            "advertiser": lambda s, o: _of(advertisers, market.campaign_advertiser[s.campaign]),
            "ad_category": lambda s, o: _of(categories, market.campaign_category[s.campaign]),
            "site": lambda s, o: _of(sites, s.site),
            "placement": lambda s, o: _of(placements, s.placement),
            "device": lambda s, o: _of(devices, s.device),
            "click": lambda s, o: pa.array(o.click),
            "click_delay_ms": lambda s, o: pa.array(o.delay_ms),
            "p_true": lambda s, o: pa.array(o.p_true),
        }

    def _interests(self, user: Ints) -> pa.Array:
        count = self._market.user_interest_count[user]
        held: npt.NDArray[np.bool_] = np.arange(MAX_INTERESTS) < count[:, None]
        members = self._market.user_interests[user][held]
        ends = np.zeros(len(user) + 1, dtype=np.int32)
        np.cumsum(count, out=ends[1:])
        return pa.ListArray.from_arrays(
            pa.array(ends), self._interest_names.take(pa.array(members))
        )
