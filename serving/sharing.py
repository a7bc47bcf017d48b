"""Events that share most of their fields, as the candidates of one request do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, overload

__all__ = ["MANY", "Sharing", "together"]

Fields = Mapping[str, Any]
MANY = 24
"""From so many events on, columns are quicker than one event after the other."""


class Sharing(Sequence[Fields]):
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
    >>> rows = Sharing({"site": "s"}, [{"ad": "a"}, {"ad": "b"}])
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
    def __getitem__(self, at: slice) -> Sharing: ...
    def __getitem__(self, at: int | slice) -> Fields | Sharing:
        if isinstance(at, slice):
            return Sharing(self.shared, self.own[at])
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

    def with_shared(self, name: str, value: Any) -> Sharing:
        """The same events, all of which share one more field."""
        out = Sharing({**self.shared, name: value}, self.own)
        out.names = self.names  # found once
        return out


def together(shared: Fields, own: Sequence[Fields]) -> Sequence[Fields]:
    """Give events that share fields in the form that is the quickest for so many."""
    if len(own) >= MANY:
        return Sharing(shared, own)
    return [{**shared, **one} for one in own] if shared else own
