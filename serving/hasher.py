"""Hashing what is asked: the same bits for one event as for many, counters served beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.counters.names import COLUMN_PREFIX
from features.errors import RowError
from features.hashed import Hashed
from features.spec import Spec
from features.vectoriser import Vectoriser
from serving.problem import Problem
from serving.row_hasher import RowHasher

__all__ = ["EventHasher"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]
Rows = Sequence[Mapping[str, Any]]


class EventHasher:
    """Token hashes of events and of the counter values served with them.

    A vectoriser would look for those values in each event, by name; here they come as an array.

    Parameters
    ----------
    spec
        The feature spec.

    Examples
    --------
    >>> from features.spec import FieldSpec, SourceSpec
    >>> spec = Spec(name="x", source=SourceSpec(label="y"), fields=(FieldSpec(names=("a", "b")),))
    >>> vectoriser = Vectoriser(spec)
    >>> mine = EventHasher(spec).hash(vectoriser, [{"a": "1", "b": 2}], None)
    >>> bool((mine.tokens == vectoriser.hash_event({"a": "1", "b": 2}).tokens).all())
    True
    """

    def __init__(self, spec: Spec) -> None:
        self._fields = Vectoriser(msgspec.structs.replace(spec, counters=()))
        self._rows = RowHasher(self._fields)
        self._whole = Vectoriser(spec)
        self._counters = self._whole.counters
        self._names: dict[str, None] = {}
        if self._counters is not None:
            self._names = dict.fromkeys(COLUMN_PREFIX + n for n in self._counters.value_names)
        self._width = self._whole.hash_event({}).fields

    def hash(self, vectoriser: Vectoriser, rows: Rows, values: F64 | None) -> Hashed:
        """Token hashes of events with these counter values.

        Parameters
        ----------
        vectoriser
            That of the learner: its quantile edges hold.
        rows
            Column name to value.
        values
            float64 (events, values); ``None``: all missing.

        Raises
        ------
        Problem
            A value is not what the spec declares.
        """
        self._fields.quantiles = vectoriser.quantiles
        try:
            hashed = self._rows.hash(rows, self._counter_tokens(values, len(rows)))
        except RowError:
            hashed = None  # which row it is, the careful way tells
        if hashed is not None:
            return hashed
        self._whole.quantiles = vectoriser.quantiles
        return _joined([self._hash_event(rows, i, values) for i in range(len(rows))], self._width)

    def _counter_tokens(self, values: F64 | None, rows: int) -> U64:
        if self._counters is None:
            return np.empty((rows, 0), np.uint64)
        if values is None:
            return np.tile(self._counters.missing, (rows, 1))
        return self._counters.tokens(values)

    def _hash_event(self, rows: Rows, row: int, values: F64 | None) -> Hashed:
        """Hash an event as a vectoriser does, its counter values among its fields."""
        event = {name: value for name, value in rows[row].items() if name not in self._names}
        if values is not None:
            event |= {
                n: v for n, v in zip(self._names, values[row].tolist(), strict=True) if v == v
            }
        try:
            return self._whole.hash_event(event)
        except RowError:
            raise self._fault(rows, row) from None

    def _fault(self, rows: Rows, row: int) -> Problem:
        """Which field of a row is at fault."""
        for field in self._fields.fields:
            try:
                self._fields.hash_event({field.column: rows[row].get(field.column)})
            except RowError:
                return _misfit(field.column, field.transform, row, len(rows))
        return Problem(422, "a value is not what the spec declares")


def _misfit(column: str, transform: str, row: int, rows: int) -> Problem:
    place = f"impressions[{row}].fields.{column}" if rows > 1 else f"fields.{column}"
    return Problem(422, f"this value does not suit the field's transform, {transform}", place)


def _joined(parts: Sequence[Hashed], fields: int) -> Hashed:
    """Several events' hashes as those of a batch."""
    if len(parts) == 1:
        return parts[0]
    tokens = np.concatenate([part.tokens for part in parts])
    if not any(len(part.starts) for part in parts):
        return Hashed(tokens, parts[0].starts, len(parts), fields)
    counts = [
        np.diff(part.starts) if len(part.starts) else np.ones(fields, np.int64) for part in parts
    ]
    starts = np.zeros(len(parts) * fields + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=starts[1:])
    return Hashed(tokens, starts, len(parts), fields)
