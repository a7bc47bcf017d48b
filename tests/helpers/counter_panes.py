"""Views and clicks of counters, pane by pane, as a table or a store holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.counters.panes import PANES, decayed
from features.counters.redis_format import ENTRY
from features.counters.stored import StoredCounters
from features.counters.table import CounterTable

Panes = dict[int, dict[int, tuple[int, int]]]
"""Views and clicks by half-life and pane."""


def state_panes(state: bytes | None, halves: Sequence[int]) -> Panes:
    """What a stored state says."""
    panes: Panes = {}
    for slot, pane, views, high, clicks, high_clicks in np.frombuffer(state or b"", ENTRY).tolist():
        sums = (views + (high << 32), clicks + (high_clicks << 32))
        panes.setdefault(halves[slot], {})[pane] = sums
    return panes


def table_panes(table: CounterTable) -> dict[int, Panes]:
    """What a table holds, by key."""
    dump, halves = table.dump(), table.half_lives.tolist()
    rows = zip(dump["keys"].tolist(), dump["newest"].tolist(), dump["sums"].tolist(), strict=True)
    return {
        key: {
            half: {
                pane: tuple(ring[pane % PANES])
                for pane in range(last - PANES + 1, last + 1)
                if any(ring[pane % PANES])
            }
            for half, last, ring in zip(halves, newest, sums, strict=True)
        }
        for key, newest, sums in rows
    }


def stored_values(
    counters: StoredCounters, states: Sequence[bytes | None], keys: NDArray[np.uint64], at_ms: int
) -> NDArray[np.float64]:
    """Values of events by the definition, :func:`decayed`; NaN where a key is missing."""
    numbers = np.broadcast_to(counters.numbers, keys.shape).ravel().tolist()
    values: list[float] = []
    for key, number, state in zip(keys.ravel().tolist(), numbers, states, strict=True):
        panes = state_panes(state, counters.plan[number])
        for half in counters.plan[number]:
            for which in (0, 1):
                sums = {pane: pair[which] for pane, pair in panes.get(half, {}).items()}
                values.append(decayed(sums, at_ms, half) if key else np.nan)
    return np.array(values).reshape(len(keys), -1)
