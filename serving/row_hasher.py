"""Hashing a few events at once, row by row, in one call of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.field_plan import MAX_LIST
from features.hashed import Hashed
from features.hashing import missing_hash, text_hash
from features.jit import inlined, jit
from features.token_kernels import SEPARATOR, hash_event_texts
from features.values import as_text
from features.vectoriser import Vectoriser

__all__ = ["RowHasher"]

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
_JOIN = chr(SEPARATOR)
_SCALARS = frozenset({str, int, float, bool, type(None)})
_HOUR_MS, _MOST_MS, _MOST_HOURS = 3_600_000, 253_402_300_800_000, 1_000


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
        self._of, fields = vectoriser, vectoriser.fields
        self._lists = vectoriser._lists
        self._list_fields = np.array([f.number for f in self._lists], np.int64)
        self._times = [f for f in fields if f.is_time]
        self._time_fields = np.array([f.number for f in self._times], np.int64)
        self._columns = vectoriser._text_columns
        # one column more, for an itemgetter of one gives no tuple
        self._values: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter(
            *self._columns, *self._columns[:1]
        )
        clocks = {(f.column, f.time_format) for f in self._times}
        self._one_clock = next((c for c, form in clocks if form == "ms" and len(clocks) == 1), "")
        self._hours: dict[int, list[np.uint64]] = {}

    def hash(self, rows: Sequence[Mapping[str, Any]], counters: U64) -> Hashed | None:
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
            A time is none.
        """
        if not self._columns:
            return None
        values, counts = self._texts(rows)
        text = _joined(values)
        if text is None:
            return None
        times = np.array([self._time_tokens(row) for row in rows], np.uint64)
        of, width = self._of, len(self._of.fields)
        most = len(rows) * (width + counters.shape[1]) + sum(counts)
        tokens = np.empty(most, np.uint64)
        fields = width + counters.shape[1]
        starts = np.zeros(len(rows) * fields + 1 if self._lists else 0, np.int64)
        size = _hash_rows(
            np.frombuffer(text.encode("utf-8", "replace"), np.uint8), len(self._columns),
            np.array(counts, np.int64), self._list_fields, self._time_fields, times, of._kinds,
            of._on_text, of._seeds, of.quantiles.edges, of.quantiles.spans, counters, tokens,
            starts,
        )  # fmt: skip
        return None if size < 0 else Hashed(tokens[:size], starts, len(rows), fields)

    def _texts(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[int]]:
        """Values of all rows, the members of lists behind those of the other fields."""
        values: list[Any] = []
        counts: list[int] = []
        for row in rows:
            try:
                values += self._values(row)[:-1]
            except KeyError:
                values += map(row.get, self._columns)
            for field in self._lists:
                value: Any = row.get(field.column)
                short = type(value) is list and len(value) <= MAX_LIST
                members: list[Any] = value if short else field.members(value)
                values += members
                counts.append(len(members))
        return values, counts

    def _time_tokens(self, row: Mapping[str, Any]) -> list[np.uint64]:
        """Tokens of the fields that are times: of hours and days, so those of an hour are alike."""
        if not self._one_clock:
            return self._time_tokens_of(row)
        value = row.get(self._one_clock)
        if type(value) is not int or not 0 < value < _MOST_MS:
            return self._time_tokens_of(row)
        hour = value // _HOUR_MS
        known = self._hours.get(hour)
        if known is None:
            if len(self._hours) >= _MOST_HOURS:
                self._hours.clear()
            known = self._hours[hour] = self._time_tokens_of(row)
        return known

    def _time_tokens_of(self, row: Mapping[str, Any]) -> list[np.uint64]:
        return [self._of._time_token(field, row.get(field.column)) for field in self._times]


def _joined(values: list[Any]) -> str | None:
    """Texts of values in one; ``None`` if they could not be told apart in it."""
    try:
        text = _JOIN.join(values)
    except TypeError:
        if not _SCALARS.issuperset(map(type, values)):
            return None
        text = _JOIN.join(map(as_text, values))
    return text if text.count(_JOIN) == len(values) - 1 else None


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


@jit
def _hash_rows(
    data: U8, scalars: int, counts: I64, lists: I64, time_fields: I64, times: U64, kinds: I64,
    on_text: I64, seeds: U64, edges: F64, spans: I64, counters: U64, tokens: U64, starts: I64,
) -> int:  # fmt: skip
    """Hash events.

    Parameters
    ----------
    data
        Texts of all values: of an event its scalars, then the members of its lists.
    scalars, counts
        How many scalars an event has; int64 (events * lists), how many members.
    lists, time_fields, times
        Numbers of the fields that are lists, of those that are times; these ones' tokens
        (events, time fields).
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
    for row in range(len(counters)):
        end = _next(data, at)
        for _ in range(scalars - 1):
            end = _next(data, end + 1)
        if hash_event_texts(data[at:end], kinds, on_text, seeds, edges, spans, own):
            return -1
        at = end + 1
        for t in range(len(time_fields)):
            own[time_fields[t]] = times[row, t]
        k = 0
        for field in range(len(kinds)):
            if k < len(lists) and lists[k] == field:
                count = counts[row * len(lists) + k]
                at, size = _hash_members(data, at, count, seeds[field], tokens, size)
                k += 1
            else:
                tokens[size] = own[field]
                size += 1
            if len(lists) > 0:
                j += 1
                starts[j] = size
        for c in range(counters.shape[1]):
            tokens[size] = counters[row, c]
            size += 1
            if len(lists) > 0:
                j += 1
                starts[j] = size
    return size
