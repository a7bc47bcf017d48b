"""A spec's counters in the store: their keys there, and their half-lives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.counters.keys import CounterKeys
from features.counters.names import half_life_ms
from features.errors import ClicktideError
from features.spec import Spec

__all__ = ["StoredCounters"]

_SPREAD = 0xD1B54A32D192ED03
_PLAIN = (str, int, float, bool)


class StoredCounters:
    """What the counting and the serving process agree on about a spec's counters.

    Parameters
    ----------
    spec
        With at least one table of counters.

    Attributes
    ----------
    plan
        Half-lives in ms by table, for :class:`~features.counters.redis_store.RedisCounters`.
    name
        Of these counters: another declaration has another name, whatever else the spec says.
    numbers
        Table of each key of an event.
    """

    def __init__(self, spec: Spec) -> None:
        if not spec.counters:
            raise ClicktideError(f"spec {spec.name}: it has no counters. Fix: add [[counters]]")
        self._tables = [CounterKeys(spec, one) for one in spec.counters]
        self.plan = {
            i: tuple(half_life_ms(hours) for hours in one.half_lives_h)
            for i, one in enumerate(spec.counters)
        }
        self.numbers = np.repeat(np.arange(len(self._tables)), [t.width for t in self._tables])
        self.columns = tuple(dict.fromkeys(c for table in self._tables for c in table.columns))
        # Tables may have a key in common, such as the overall one: each has its own in the store.
        self._own = self.numbers.astype(np.uint64) * np.uint64(_SPREAD)
        told = [
            (one.keys, table.columns, self.plan[i], table.width)
            for i, (one, table) in enumerate(zip(spec.counters, self._tables, strict=True))
        ]
        self.name = hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]

    def keys(self, events: Sequence[Mapping[str, Any]]) -> NDArray[np.uint64]:
        """Give the keys of events by their raw fields: (events, keys); 0 where one is missing."""
        batch = self._batch(events)
        if batch is None:
            found = [np.concatenate([t.of_event(e) for t in self._tables]) for e in events]
            keys = np.array(found, np.uint64).reshape(len(events), len(self.numbers))
        else:
            keys = np.concatenate([t.of_batch(batch) for t in self._tables], axis=1)
        return np.where(keys == 0, np.uint64(0), keys ^ self._own)

    def _batch(self, events: Sequence[Mapping[str, Any]]) -> pa.RecordBatch | None:
        """Give columns, where each has values of one plain type."""
        if len(events) < 8 or not self.columns:
            return None
        arrays = []
        for name in self.columns:
            column = [event.get(name) for event in events]
            kinds = set(map(type, column)) - {type(None)}
            if len(kinds) != 1 or not kinds <= {*_PLAIN}:
                return None
            try:
                arrays.append(pa.array(column))
            except (pa.ArrowInvalid, OverflowError):
                return None
        return pa.RecordBatch.from_arrays(arrays, names=list(self.columns))
