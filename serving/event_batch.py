"""Events to score, the fields that they share, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from monitoring.watch.repair.table import Repair

__all__ = ["MANY", "EventBatch", "ScoredEvents", "SharedFields", "shared_fields"]

F64 = NDArray[np.float64]


@dataclass(slots=True)
class EventBatch:
    """Events to score.

    Parameters
    ----------
    fields
        Of each event, column name to value; those that share some may be a
        :class:`~serving.event_batch.SharedFields`.
    times
        Of each event, ms since 1970.
    counters
        Of each event, values to use instead of the store's, by name; ``None``: of none.
    """

    fields: Sequence[Mapping[str, Any]]
    times: Sequence[int]
    counters: Sequence[Mapping[str, float] | None] | None = None


@dataclass(slots=True)
class ScoredEvents:
    """What came out, one place an event.

    Parameters
    ----------
    probability, logit
        float64 (events,).
    uncertainty
        float64 (events,): standard deviation of the logit; ``None`` if it is not known.
    version
        Of the weights.
    weights_age_s
        Since an event was last learned.
    counters
        float64 (events, values); NaN where missing. ``None``: the spec has no counters, or there
        was nothing to read them from.
    counters_age_s
        Since the store was read.
    fallbacks
        What each event lacked.
    lacked
        What the whole request lacked.
    model_probability
        float64 (events,): before repairs; ``None``: nothing was repaired.
    repairs
        Of each event; as :attr:`model_probability`.
    """

    probability: F64
    logit: F64
    uncertainty: F64 | None
    version: str
    weights_age_s: float | None
    counters: F64 | None
    counters_age_s: float | None
    fallbacks: Sequence[tuple[str, ...]]
    lacked: tuple[str, ...]
    model_probability: F64 | None = None
    repairs: Sequence[tuple[Repair, ...]] | None = None

    def part(self, start: int, stop: int, counters_age_s: float | None) -> ScoredEvents:
        """Those of some events, whose counters are so old."""
        sd, counters = self.uncertainty, self.counters
        return ScoredEvents(
            self.probability[start:stop],
            self.logit[start:stop],
            None if sd is None else sd[start:stop],
            self.version,
            self.weights_age_s,
            None if counters is None else counters[start:stop],
            counters_age_s,
            self.fallbacks[start:stop],
            self.lacked,
            None if self.model_probability is None else self.model_probability[start:stop],
            None if self.repairs is None else self.repairs[start:stop],
        )


Fields = Mapping[str, Any]
MANY = 24
"""From so many events on, columns are quicker than one event after the other."""


class SharedFields(Sequence[Fields]):
    """Fields of events, with those that all of them share kept once.

    As a sequence it has each event's fields, its own before the shared ones; but a copy of the
    shared ones for each of a thousand candidates is a tenth of what ranking them costs, so who
    reads many asks for columns.

    Parameters
    ----------
    shared
        Fields of every event that has no such field of its own.
    own
        Each event's.

    Attributes
    ----------
    names
        Fields that at least one event has of its own.

    Examples
    --------
    >>> rows = SharedFields({"site": "s"}, [{"ad": "a"}, {"ad": "b"}])
    >>> rows[1]
    {'site': 's', 'ad': 'b'}
    >>> rows.column("ad"), rows.is_shared("ad"), rows.is_shared("site")
    (['a', 'b'], False, True)
    """

    def __init__(self, shared: Fields, own: Sequence[Fields]) -> None:
        self.shared, self.own = shared, own

    def __len__(self) -> int:
        return len(self.own)

    @overload
    def __getitem__(self, at: int) -> Fields: ...
    @overload
    def __getitem__(self, at: slice) -> SharedFields: ...
    def __getitem__(self, at: int | slice) -> Fields | SharedFields:
        if isinstance(at, slice):
            return SharedFields(self.shared, self.own[at])
        return {**self.shared, **self.own[at]}

    def __iter__(self) -> Iterator[Fields]:
        return ({**self.shared, **one} for one in self.own)

    @cached_property
    def names(self) -> frozenset[str]:
        """Fields that at least one event has of its own."""
        return frozenset().union(*self.own)

    @property
    def all_names(self) -> frozenset[str]:
        """Fields that at least one event has."""
        return self.names.union(self.shared)

    def is_shared(self, name: str) -> bool:
        """Whether all events have the same value there; it may be missing."""
        return name not in self.names

    def column(self, name: str) -> list[Any]:
        """The values of a field that events have of their own, ``None`` where there is none."""
        try:
            return [*map(itemgetter(name), self.own)]
        except KeyError:
            of_all = self.shared.get(name)
            return [one.get(name, of_all) for one in self.own]

    def with_shared(self, name: str, value: Any) -> SharedFields:
        """The same events, all of which share one more field."""
        out = SharedFields({**self.shared, name: value}, self.own)
        out.names = self.names  # found once
        return out


def shared_fields(shared: Fields, own: Sequence[Fields]) -> Sequence[Fields]:
    """Give events that share fields in the form that is the quickest for so many."""
    if len(own) >= MANY:
        return SharedFields(shared, own)
    return [{**shared, **one} for one in own] if shared else own
