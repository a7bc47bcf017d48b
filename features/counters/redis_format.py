"""How counters travel to the store and back: arrays on this side, bytes on that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.counters.panes import PANES, weights_at

__all__ = [
    "ENTRY",
    "ROW",
    "SHARDS",
    "Plan",
    "Updates",
    "faded",
    "pack_rows",
    "shard_of",
    "tags_of",
]

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_ENTRY = [
    ("slot", "u1"),
    ("pane", "<u4"),
    ("views", "<u4"),
    ("views_high", "<u2"),
    ("clicks", "<u4"),
    ("clicks_high", "<u2"),
]
ENTRY = np.dtype(_ENTRY)
"""Of a stored counter: the sums of one pane; ``slot`` is its half-life's place in the plan."""
ROW = np.dtype([("key", "<u8"), ("counter", "u1"), *_ENTRY])
"""On the way to the script: one entry, and whose it is."""


class Updates(NamedTuple):
    """Views and clicks to count, one element of each array to an update.

    Parameters
    ----------
    keys
        Key of the counter.
    counters
        Number of the counter in the plan: which half-lives it has.
    at_ms
        Event time.
    impressions
        Offset of the impression.
    clicks
        Offset of the click, -1 for a view.
    """

    keys: Keys
    counters: Ints
    at_ms: Ints
    impressions: Ints
    clicks: Ints

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int, int]] = ()) -> Updates:
        """Make arrays of ``(key, counter, at_ms, impression, click)`` rows."""
        columns = list(zip(*rows, strict=True)) or [()] * 5
        counters, at_ms, impressions, clicks = (np.array(c, dtype=np.int64) for c in columns[1:])
        return cls(np.array(columns[0], dtype=np.uint64), counters, at_ms, impressions, clicks)

    def where(self, chosen: NDArray[np.bool_]) -> Updates:
        """Give those of a mask."""
        keys, *others = self
        return Updates(keys[chosen], *(column[chosen] for column in others))

    def plus(self, other: Updates) -> Updates:
        """Give these and others."""
        pairs = zip(self, other, strict=True)
        return Updates(*(np.concatenate(pair) for pair in pairs))


class Plan:
    """Which half-lives each counter has.

    Parameters
    ----------
    half_lives_ms
        By the counter's number, 0 to 255: at most 255 half-lives of at least a second.

    Examples
    --------
    >>> plan = Plan({0: (3_600_000,), 1: (3_600_000, 86_400_000)})
    >>> plan.lives_ms(grace_ms=0)
    {0: 28800000, 1: 691200000}
    """

    def __init__(self, half_lives_ms: Mapping[int, Sequence[int]]) -> None:
        self.half_lives_ms = {number: tuple(half) for number, half in half_lives_ms.items()}
        for number, halves in self.half_lives_ms.items():
            if not 0 <= number < 256 or not 0 < len(halves) < 256 or min(halves) < 1000:
                raise ValueError(
                    f"counter {number}: half-lives {halves}. Fix: numbers 0 to 255, each with 1 to"
                    " 255 half-lives of 1000 ms or more"
                )
        size = max(self.half_lives_ms, default=-1) + 1
        self.width = max((len(h) for h in self.half_lives_ms.values()), default=0)
        self.table = np.zeros((size, self.width), dtype=np.int64)
        """Half-life by counter and place; 0: it has fewer."""
        for number, halves in self.half_lives_ms.items():
            self.table[number, : len(halves)] = halves

    def lives_ms(self, grace_ms: int) -> dict[int, int]:
        """Say how long after its last event each counter can still count."""
        return {n: PANES * max(h) + grace_ms for n, h in self.half_lives_ms.items()}


SHARDS = 16
"""Scripts that share a large batch, and nodes that a cluster may spread it over; fixed for good."""


def tags_of(name: str) -> list[bytes]:
    """What the keys of each shard of some counters begin with: all of one are on one node."""
    return [f"{{{name}:{shard}}}".encode() for shard in range(SHARDS)]


def shard_of(keys: Keys) -> Ints:
    """Give the shard of each key; it grows with the key, so sorting by key sorts by shard.

    Examples
    --------
    >>> shard_of(np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)).tolist()
    [0, 8, 15]
    """
    high = keys >> np.uint64(32)
    return ((high * np.uint64(SHARDS)) >> np.uint64(32)).astype(np.int64)


def pack_rows(updates: Updates, plan: Plan) -> NDArray[np.void]:
    """Sum updates by key, half-life and pane, in the order of keys."""
    place, slot = np.nonzero(plan.table[updates.counters])
    halves = plan.table[updates.counters[place], slot]
    at_ms, keys = updates.at_ms[place], updates.keys[place]
    head = (slot << 32) | (at_ms // halves)
    order = np.lexsort((head, keys))
    keys, head, place = keys[order], head[order], place[order]
    first = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]) | (head[1:] != head[:-1])])
    added, clicked = weights_at(at_ms, halves)[order], updates.clicks[place] >= 0
    rows = np.zeros(len(first), dtype=ROW)
    rows["key"], rows["counter"] = keys[first], updates.counters[place[first]]
    rows["slot"], rows["pane"] = head[first] >> 32, head[first] & 0xFFFFFFFF
    for name, own in (("views", ~clicked), ("clicks", clicked)):
        sums = np.add.reduceat(np.where(own, added, 0), first)
        rows[name], rows[f"{name}_high"] = sums & 0xFFFFFFFF, sums >> 32
    return rows


def faded(states: Sequence[bytes], halves: Ints, at_ms: Ints) -> tuple[Floats, Floats]:
    """Read views and clicks of many states, to the bit as :func:`~features.counters.decayed`.

    Parameters
    ----------
    states
        Entries of each key; empty where there is none.
    halves
        Half-lives in ms, one row to a state; 0 where its counter has no more.
    at_ms
        When each is read.
    """
    shape = halves.shape
    entries = np.frombuffer(b"".join(states), dtype=ENTRY)
    lengths = np.fromiter(map(len, states), dtype=np.int64, count=len(states)) // ENTRY.itemsize
    row, slot = np.repeat(np.arange(len(states)), lengths), entries["slot"].astype(np.int64)
    known = slot < shape[1]
    row, slot, entries = row[known], slot[known], entries[known]
    safe = np.maximum(halves, 1)
    back = (at_ms[:, None] // safe)[row, slot] - entries["pane"]
    counted = (back >= 0) & (back < PANES) & (halves[row, slot] > 0)
    where = (back[counted], row[counted], slot[counted])
    scale = np.where(halves > 0, weights_at(at_ms[:, None], safe), 1)
    return tuple(
        _total(entries[counted], name, where, shape) / scale for name in ("views", "clicks")
    )  # type: ignore[return-value]


def _total(
    entries: NDArray[np.void], name: str, where: tuple[Ints, Ints, Ints], shape: tuple[int, ...]
) -> Floats:
    sums = np.zeros((PANES, *shape))
    sums[where] = entries[name] + entries[f"{name}_high"] * 2.0**32
    total = np.zeros(shape)
    for back in range(PANES - 1, -1, -1):  # oldest first, as decayed() does: the same bits
        total += sums[back] * 2.0**-back
    return total
