"""From the states that the store gives to the values of events, and what stood in for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.panes import weight
from features.counters.stored import StoredCounters
from features.errors import ClicktideError
from features.spec import Spec
from serving.feature_kernels import PRIOR, read_values
from serving.store_reader import States

__all__ = ["Layout", "Request"]

_MOST_TOLD = 10_000
Request = tuple[Sequence[Mapping[str, Any]], int]
"""Events, and when their counters are read."""


class Layout:
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
        self._told: dict[bytes, tuple[str, ...]] = {}

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

    def told(self, taken: NDArray[np.int16], head: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Say of each event what stood in for what."""
        size = taken.itemsize * taken.shape[1]
        rows = taken.view(f"S{size}").ravel().tolist()  # without the zeros at the end
        known, keys = map(self._told.get, rows), taken.shape[1]
        told = [
            self._tell(row, keys) if of is None else of for row, of in zip(rows, known, strict=True)
        ]
        return [head + of for of in told] if head else told

    def _tell(self, row: bytes, keys: int) -> tuple[str, ...]:
        taken = np.frombuffer(row.ljust(2 * keys, b"\0"), np.int16).tolist()
        told = tuple(
            f"{self.names[k]}>{'prior' if by == PRIOR else self.names[by]}"
            for k, by in enumerate(taken)
            if by == PRIOR or (by >= 0 and by != k)
        )
        if len(self._told) < _MOST_TOLD:
            self._told[row] = told
        return told


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
