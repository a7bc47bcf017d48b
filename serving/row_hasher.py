"""Hashing events row by row, in one call of a kernel: what they share is hashed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.field_plan import MAX_LIST, FieldPlan
from features.hashed import Hashed
from features.hashing import missing_hash, text_hash
from features.jit import inlined, jit
from features.token_kernels import SEPARATOR, hash_event_texts
from features.transforms import TIME
from features.values import as_text
from features.vectoriser import Vectoriser
from serving.event_batch import SharedFields

__all__ = ["LIST", "SCALAR", "SHARED", "RowHasher", "hash_rows"]

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Fields = Mapping[str, Any]
_JOIN = chr(SEPARATOR)
_SCALARS = frozenset({str, int, float, bool, type(None)})
_HOUR_MS, _MOST_MS, _MOST_HOURS = 3_600_000, 253_402_300_800_000, 1_000
_MOST_PLANS = 100
_NOTHING: Fields = {}


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which fields events have of their own.

    Parameters
    ----------
    columns, values
        Columns of those that are texts and numbers, and what takes them out of an event.
    kinds, which
        Of every field: as ``hash_event_texts`` has them; shared, a scalar or a list.
    lists, times
        Those that are lists, or times.
    numbers
        Of the times.
    """

    columns: list[str]
    values: Callable[[Fields], Any]
    kinds: I64
    which: I64
    lists: list[FieldPlan]
    times: list[FieldPlan]
    numbers: I64

    def scalars(self, rows: Sequence[Fields], shared: Fields) -> list[Any]:
        """Values of all rows but lists and times."""
        try:
            if len(self.columns) > 1:
                return [*chain.from_iterable(map(self.values, rows))]
            return [*map(self.values, rows)] if self.columns else []
        except KeyError:
            return [row.get(name, shared.get(name)) for row in rows for name in self.columns]

    def members(self, rows: Sequence[Fields], shared: Fields) -> tuple[list[Any], list[int]]:
        """Members of the lists of all rows, and how many each list has."""
        if len(self.lists) == 1 and len(rows) > 1:
            found: list[Any] = [row.get(self.lists[0].column) for row in rows]
            if {*map(type, found)} == {list} and max(map(len, found)) <= MAX_LIST:
                return [*chain.from_iterable(found)], [*map(len, found)]
        values: list[Any] = []
        counts: list[int] = []
        for row in rows if self.lists else ():
            for field in self.lists:
                value: Any = row.get(field.column, shared.get(field.column))
                if type(value) is not list or len(value) > MAX_LIST:
                    value = field.members(value)
                values += value  # the kernel passes over empty ones
                counts.append(len(value))
        return values, counts


class RowHasher:
    """As ``Vectoriser.hash_event`` of several events, counters behind, in a third of the time.

    Parameters
    ----------
    vectoriser
        Without counters; its quantile edges are those that hold.

    Examples
    --------
    >>> from features.spec import FieldSpec, SourceSpec, Spec
    >>> spec = Spec(name="x", source=SourceSpec(label="y"), fields=(FieldSpec(names=("a", "b")),))
    >>> vectoriser, event = Vectoriser(spec), {"a": "1", "b": 2}
    >>> mine = RowHasher(vectoriser).hash([event], np.empty((1, 0), np.uint64))
    >>> bool((mine.tokens == vectoriser.hash_event(event).tokens).all())
    True
    """

    def __init__(self, vectoriser: Vectoriser) -> None:
        self._of, times = vectoriser, [f for f in vectoriser.fields if f.is_time]
        self._columns = frozenset(vectoriser.columns)
        self._all = self._plan(self._columns)
        self._plans = {self._columns: self._all}
        clocks = {(f.column, f.time_format) for f in times}
        self._one_clock = next((c for c, form in clocks if form == "ms" and len(clocks) == 1), "")
        self._hours: dict[int, list[np.uint64]] = {}

    def hash(self, rows: Sequence[Fields], counters: U64) -> Hashed | None:
        """Token hashes of events; ``None`` where a value wants the careful way.

        Parameters
        ----------
        rows
            Column name to value.
        counters
            uint64 (events, fields of counters): their tokens.

        Raises
        ------
        RowError
            A time is none, or a shared value is not what its field declares.
        """
        plan, shared, template = self._all, _NOTHING, None
        if isinstance(rows, SharedFields):
            plan, shared = self._planned(rows.names), rows.shared
            template = self._of.hash_event(
                {name: value for name, value in shared.items() if rows.is_shared(name)}
            )
            rows = rows.own
        members, counts = plan.members(rows, shared)
        text, listed = _joined(plan.scalars(rows, shared)), _joined(members)
        if text is None or listed is None:
            return None
        times = np.empty((len(rows), 0), np.uint64)
        if plan.times:
            times = np.array([self._time_tokens(row, plan, shared) for row in rows], np.uint64)
        return self._run(plan, (text, listed, counts), times, template, counters)

    def _run(
        self,
        plan: _Plan,
        texts: tuple[U8, U8, list[int]],
        times: U64,
        template: Hashed | None,
        counters: U64,
    ) -> Hashed | None:
        text, listed, counts = texts
        of, rows, width = self._of, len(counters), len(self._of.fields)
        fields, ragged = width + counters.shape[1], len(of._lists) > 0
        given, starts = _NO_TOKENS, _NO_STARTS
        if template is not None:
            given = template.tokens
            starts = template.starts if len(template.starts) else np.arange(width + 1)
        tokens = np.empty(rows * (fields + len(given)) + sum(counts), np.uint64)
        out = np.zeros(rows * fields + 1 if ragged else 0, np.int64)
        size = hash_rows(
            text, len(plan.columns), listed, np.array(counts, np.int64), plan.which, plan.numbers,
            times, given, starts, plan.kinds, of._on_text, of._seeds, of.quantiles.edges,
            of.quantiles.spans, counters, tokens, out,
        )  # fmt: skip
        return None if size < 0 else Hashed(tokens[:size], out, rows, fields)

    def _planned(self, names: frozenset[str]) -> _Plan:
        own = names & self._columns
        plan = self._plans.get(own)
        if plan is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[own] = self._plan(own)
        return plan

    def _plan(self, own: frozenset[str]) -> _Plan:
        of = self._of
        mine = [f for f in of.fields if f.column in own]
        lists = [f for f in mine if f.transform == "categories"]
        times = [f for f in mine if f.is_time]
        texts = [f for f in mine if f not in lists and f not in times]
        kinds, which = np.full(len(of.fields), TIME), np.full(len(of.fields), SHARED)
        which[[f.number for f in mine]] = SCALAR
        which[[f.number for f in lists]] = LIST
        for f in texts:
            kinds[f.number] = of._kinds[f.number]
        columns = [f.column for f in texts]
        getter = itemgetter(*(columns or ("",)))
        numbers = np.array([f.number for f in times], np.int64)
        return _Plan(columns, getter, kinds, which, lists, times, numbers)

    def _time_tokens(self, row: Fields, plan: _Plan, shared: Fields) -> list[np.uint64]:
        """Tokens of the fields that are times: of hours and days, so those of an hour are alike."""
        if not self._one_clock:
            return self._time_tokens_of(row, plan, shared)
        value = row.get(self._one_clock, shared.get(self._one_clock))
        if type(value) is not int or not 0 < value < _MOST_MS:
            return self._time_tokens_of(row, plan, shared)
        hour = value // _HOUR_MS
        known = self._hours.get(hour)
        if known is None:
            if len(self._hours) >= _MOST_HOURS:
                self._hours.clear()
            known = self._hours[hour] = self._time_tokens_of(row, plan, shared)
        return known

    def _time_tokens_of(self, row: Fields, plan: _Plan, shared: Fields) -> list[np.uint64]:
        values = (row.get(field.column, shared.get(field.column)) for field in plan.times)
        return [self._of._time_token(f, v) for f, v in zip(plan.times, values, strict=True)]


_NO_TOKENS, _NO_STARTS = np.empty(0, np.uint64), np.empty(0, np.int64)


def _joined(values: list[Any]) -> U8 | None:
    """Texts of values in one; ``None`` if they could not be told apart in it."""
    try:
        text = _JOIN.join(values)
    except TypeError:
        if not _SCALARS.issuperset(map(type, values)):
            return None
        text = _JOIN.join(map(as_text, values))
    if text.count(_JOIN) != max(len(values) - 1, 0):
        return None
    return np.frombuffer(text.encode("utf-8", "replace"), np.uint8)


F64 = NDArray[np.float64]
SHARED, SCALAR, LIST = 0, 1, 2
"""What a field is: the same for all events, or of each one's own."""


@inlined
def _next(data: U8, low: int) -> int:
    """Where the value that begins here ends."""
    while low < len(data) and data[low] != SEPARATOR:
        low += 1
    return low


@inlined
def _hash_members(
    data: U8, at: int, count: int, seed: np.uint64, tokens: U64, size: int
) -> tuple[int, int]:
    """Write the tokens of a list; where the next value begins, and the next token."""
    before = size
    for _ in range(count):
        end = _next(data, at)
        if end > at:
            tokens[size] = text_hash(data, at, end, seed)
            size += 1
        at = end + 1
    if size == before:
        tokens[size] = missing_hash(seed)
        size += 1
    return at, size


@inlined
def _hash_scalars(
    data: U8, at: int, count: int, kinds: I64, on_text: I64, seeds: U64, edges: F64, spans: I64,
    own: U64,
) -> int:  # fmt: skip
    """Write the tokens of an event's scalars; where its next value begins, -1: carefully."""
    if count == 0:
        return at
    end = _next(data, at)
    for _ in range(count - 1):
        end = _next(data, end + 1)
    if hash_event_texts(data[at:end], kinds, on_text, seeds, edges, spans, own):
        return -1
    return end + 1


@jit
def hash_rows(
    data: U8, scalars: int, listed: U8, counts: I64, which: I64, time_fields: I64, times: U64,
    given: U64, given_starts: I64, kinds: I64, on_text: I64, seeds: U64, edges: F64, spans: I64,
    counters: U64, tokens: U64, starts: I64,
) -> int:  # fmt: skip
    """Hash events.

    Parameters
    ----------
    data, scalars
        Texts of the events' scalars, and how many an event has.
    listed, counts
        Texts of the members of their lists, and how many there are: int64 (events * lists).
    which
        Of each field: shared, a scalar or a list.
    time_fields, times
        Numbers of the fields that are times, and these ones' tokens (events, time fields).
    given, given_starts
        Tokens of what is shared, and where those of each field start.
    kinds, on_text, seeds, edges, spans
        As for ``hash_event_texts``.
    counters
        Tokens to put behind (events, fields).
    tokens, starts
        Written; as ``Hashed`` has them.

    Returns
    -------
    int
        How many tokens; -1 if a value wants the careful way.
    """
    own, at, size, j = np.empty(len(kinds), np.uint64), 0, 0, 0
    begin, k = 0, 0  # of the next list
    for row in range(len(counters)):
        at = _hash_scalars(data, at, scalars, kinds, on_text, seeds, edges, spans, own)
        if at < 0:
            return -1
        for t in range(len(time_fields)):
            own[time_fields[t]] = times[row, t]
        for field in range(len(kinds)):
            if which[field] == LIST:
                begin, size = _hash_members(listed, begin, counts[k], seeds[field], tokens, size)
                k += 1
            elif which[field] == SCALAR:
                tokens[size] = own[field]
                size += 1
            else:
                for i in range(given_starts[field], given_starts[field + 1]):
                    tokens[size] = given[i]
                    size += 1
            if len(starts) > 0:
                j += 1
                starts[j] = size
        for c in range(counters.shape[1]):
            tokens[size] = counters[row, c]
            size += 1
            if len(starts) > 0:
                j += 1
                starts[j] = size
    return size
