"""The counters of events: their keys, where their values are, and what stands in for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.keys import CounterKeys
from features.counters.names import OVERALL, counter_name, key_parts
from features.counters.panes import weight
from features.counters.stored import StoredCounters
from features.errors import ClicktideError
from features.hashing import field_seed
from features.spec import Spec
from features.values import ARRAY_TYPES, as_text
from serving.event_batch import SharedFields
from serving.feature_kernels import PRIOR, event_keys, find_ends, read_values
from serving.store_reader import States

__all__ = ["CounterLayout", "EventKeys", "Request"]

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
        self._parts_of = itemgetter(*self._columns) if len(parts) > 1 else self._key_values
        self._first, self._step = np.arange(len(parts)), np.full(len(parts), len(parts))
        self._seeds = np.array([field_seed(name, 0) for _, name in parts], np.uint64)
        self._pairs = np.array(pairs, np.int64)
        self._own = stored._own
        self._overall = _overall_key(spec)
        self._tokens = np.empty(len(parts), np.uint64)

    def _key_values(self, event: Mapping[str, Any]) -> list[Any]:
        return [event.get(column) for column in self._columns]

    def __call__(self, events: Sequence[Mapping[str, Any]]) -> NDArray[np.uint64]:
        """Keys of events by their raw fields: (events, keys); 0 where one is missing."""
        if isinstance(events, SharedFields):
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

    def _by_column(
        self, events: SharedFields
    ) -> tuple[list[Any], NDArray[np.int64], NDArray[np.int64]]:
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


_MOST_FALLBACKS = 10_000
Request = tuple[Sequence[Mapping[str, Any]], int]
"""Events, and when their counters are read."""


class CounterLayout:
    """Where the values of each key are, how long its half-lives are, and who stands in for it.

    Parameters
    ----------
    spec
        With counters.
    stored
        Of that spec.
    names
        Of the keys' counters.
    parents
        Chains, such as ``ad>campaign>advertiser``.
    """

    def __init__(
        self, spec: Spec, stored: StoredCounters, names: list[str], parents: Sequence[str]
    ) -> None:
        self.names, numbers = names, stored.numbers.tolist()
        halves = [stored.plan[number] for number in numbers]
        self.counts = np.array([len(h) for h in halves])
        self.starts = np.concatenate([[0], np.cumsum(2 * self.counts)[:-1]])
        self.width = int(2 * self.counts.sum())
        self.halves = np.ones((len(names), int(self.counts.max())), np.int64)
        for row, own in zip(self.halves, halves, strict=True):
            row[: len(own)] = own
        self.distinct = sorted({*self.halves.ravel().tolist()})
        self.which = np.searchsorted(self.distinct, self.halves)
        self.most_views = np.array([spec.counters[n].prior_views for n in numbers])
        self.chains = _chains(names, halves, parents)
        self._fallbacks: dict[bytes, tuple[str, ...]] = {}

    def read(
        self,
        states: States,
        place: NDArray[np.int64],
        keys: NDArray[np.uint64],
        requests: Sequence[Request],
    ) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
        """Values, and where they are from."""
        kept = [state or b"" for state in states]
        ends = np.array([*accumulate(map(len, kept))], np.int64)
        at_ms = np.array([at for _, at in requests], np.int64)
        weights = [[weight(at, half) for half in self.distinct] for _, at in requests]
        scales = np.array(weights, np.float64).take(self.which, axis=1)  # always contiguous
        if len(requests) == 1:
            request = np.zeros(len(keys), np.int64)
        else:
            lengths = [len(events) for events, _ in requests]
            request = np.repeat(np.arange(len(requests)), lengths)
        out, taken = np.empty((len(keys), self.width)), np.empty(keys.shape, np.int16)
        data = np.frombuffer(b"".join(kept), np.uint8)
        read_values(
            data, ends, place, keys, request, at_ms, scales, self.halves, self.counts,
            self.starts, self.chains, self.most_views, out, taken,
        )  # fmt: skip
        return out, taken

    def fallbacks(self, taken: NDArray[np.int16], head: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Say of each event what stood in for what."""
        size = taken.itemsize * taken.shape[1]
        rows = taken.view(f"S{size}").ravel().tolist()  # without the zeros at the end
        known, keys = map(self._fallbacks.get, rows), taken.shape[1]
        fallbacks = [
            self._fallbacks_of(row, keys) if of is None else of
            for row, of in zip(rows, known, strict=True)
        ]
        return [head + of for of in fallbacks] if head else fallbacks

    def _fallbacks_of(self, row: bytes, keys: int) -> tuple[str, ...]:
        taken = np.frombuffer(row.ljust(2 * keys, b"\0"), np.int16).tolist()
        fallbacks = tuple(
            f"{self.names[k]}>{'prior' if by == PRIOR else self.names[by]}"
            for k, by in enumerate(taken)
            if by == PRIOR or (by >= 0 and by != k)
        )
        if len(self._fallbacks) < _MOST_FALLBACKS:
            self._fallbacks[row] = fallbacks
        return fallbacks


def _chains(
    names: list[str], halves: list[tuple[int, ...]], parents: Sequence[str]
) -> NDArray[np.int64]:
    """Who stands in for each key, in order, of those with the same half-lives."""
    chains: list[list[int]] = [[] for _ in names]
    for text in parents:
        chain = [name.strip() for name in text.split(">")]
        if len(chain) < 2 or not all(chain):
            raise ClicktideError(f"parents {text!r}. Fix: such as 'ad>campaign>advertiser'")
        for k, name in enumerate(names):
            if name in chain:
                above = chain[chain.index(name) + 1 :]
                found = [_first(p, names, halves, halves[k]) for p in above]
                chains[k] += [p for p in found if p >= 0]
    out = np.full((len(names), max(map(len, chains)) + 1), -1, np.int64)
    for row, chained in zip(out, chains, strict=True):
        row[: len(chained)] = chained
    return out


def _first(
    name: str, names: list[str], halves: list[tuple[int, ...]], wanted: tuple[int, ...]
) -> int:
    same = [k for k, own in enumerate(names) if own == name and halves[k] == wanted]
    return same[0] if same else -1
