"""The keys of events' counters, hashed at serving speed: the same ones as the counting has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.keys import OVERALL, CounterKeys, counter_name, key_parts
from features.counters.stored import StoredCounters
from features.hashing import field_seed
from features.spec import Spec
from features.values import ARRAY_TYPES, as_text
from serving.feature_kernels import event_keys, find_ends
from serving.sharing import Sharing

__all__ = ["EventKeys"]

_NO_VALUE = (*ARRAY_TYPES, dict)
_JOIN = "\x1f"


class EventKeys:
    """As ``StoredCounters.keys``, which looks at one value at a time: 40 times as fast.

    Parameters
    ----------
    spec
        With counters.

    Attributes
    ----------
    names
        Of the keys' counters, in order, table after table.

    Examples
    --------
    >>> from features.spec import CounterSpec, SourceSpec
    >>> spec = Spec(name="x", source=SourceSpec(label="y"), fields=(),
    ...             counters=(CounterSpec(keys=("ad", ("user", "ad")), half_lives_h=(24,)),))
    >>> keys = EventKeys(spec)
    >>> keys.names
    ['ad', 'user+ad', 'overall']
    >>> events = [{"ad": "a", "user": 1}, {"ad": "b"}]
    >>> bool((keys(events) == StoredCounters(spec).keys(events)).all())
    True
    """

    def __init__(self, spec: Spec) -> None:
        stored = StoredCounters(spec)
        self.names: list[str] = []
        parts: dict[tuple[str, str], int] = {}  # by column and the name it is hashed under
        pairs: list[list[int]] = []
        named = {name: f.column or name for f in spec.fields for name in f.names}
        for table in spec.counters:
            for key in table.keys:
                name = counter_name(key)
                self.names.append(name)
                own = [
                    parts.setdefault((named.get(p, p), f"counter {name} {i}"), len(parts))
                    for i, p in enumerate(key_parts(key))
                ]
                pairs.append([*own, -1, -1][:2])
            if table.prior_rate is None:
                self.names.append(OVERALL)
                pairs.append([-1, -1])
        self._columns = [column for column, _ in parts]
        # two of them at least, so that it gives a tuple
        self._parts_of = itemgetter(*self._columns) if len(parts) > 1 else self._one_part
        self._first, self._step = np.arange(len(parts)), np.full(len(parts), len(parts))
        self._seeds = np.array([field_seed(name, 0) for _, name in parts], np.uint64)
        self._pairs = np.array(pairs, np.int64)
        self._own = stored._own
        self._overall = _overall_key(spec)
        self._tokens = np.empty(len(parts), np.uint64)

    def _one_part(self, event: Mapping[str, Any]) -> list[Any]:
        return [event.get(column) for column in self._columns]

    def __call__(self, events: Sequence[Mapping[str, Any]]) -> NDArray[np.uint64]:
        """Keys of events by their raw fields: (events, keys); 0 where one is missing."""
        if isinstance(events, Sharing):
            values, first, step = self._by_column(events)
        else:
            values, first, step = self._by_event(events), self._first, self._step
        data, ends = _joined(values)
        out = np.empty((len(events), len(self.names)), np.uint64)
        event_keys(
            data, ends, first, step, self._seeds, self._pairs, self._overall, self._own,
            self._tokens, out,
        )  # fmt: skip
        return out

    def _by_event(self, events: Sequence[Mapping[str, Any]]) -> list[Any]:
        try:
            return [*chain.from_iterable(map(self._parts_of, events))]
        except KeyError:
            return [event.get(column) for event in events for column in self._columns]

    def _by_column(self, events: Sharing) -> tuple[list[Any], NDArray[np.int64], NDArray[np.int64]]:
        """The values of each column once, and where each part finds its own."""
        values: list[Any] = []
        at: dict[str, tuple[int, int]] = {}
        for column in self._columns:
            if column in at:
                continue
            shared = events.is_shared(column)
            at[column] = len(values), not shared
            values += [events.shared.get(column)] if shared else events.column(column)
        places = np.array([at[column] for column in self._columns], np.int64).reshape(-1, 2)
        return values, places[:, 0].copy(), places[:, 1].copy()


def _joined(values: list[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts of values, a separator between any two, and where each ends."""
    try:
        text = _JOIN.join(values)
    except TypeError:
        values = [_text(value) for value in values]
        text = _JOIN.join(values)
    data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    ends = np.empty(len(values), np.int64)
    if find_ends(data, ends) != len(values):  # one of them holds a separator
        lengths = [len(value.encode("utf-8", "replace")) for value in values]
        ends = np.cumsum(np.array(lengths, np.int64)) + np.arange(len(lengths))
    return data, ends


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    return "" if isinstance(value, _NO_VALUE) else as_text(value)


def _overall_key(spec: Spec) -> np.uint64:
    return np.uint64(CounterKeys(spec, spec.counters[0])._overall[0])
