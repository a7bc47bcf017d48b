"""Hashing what is asked: the same bits for one event as for many, counters served beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import is_, itemgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import RowError
from features.hashed import Hashed
from features.spec import Spec
from features.vectoriser import Vectoriser
from serving.problem import Problem
from streaming.sources.json_values import column_of

__all__ = ["EventHasher"]

F64 = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]
_MANY = 24
"""From so many events on, a batch of columns is quicker than one event after the other."""


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
        self._counters = Vectoriser(spec).counters
        width = 0 if self._counters is None else len(self._counters.missing)
        self._after = np.arange(1, width + 1)

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
        batch = _columns(rows, self._fields.columns) if len(rows) >= _MANY else None
        if batch is not None:
            hashed = self._at_once(batch)
        else:
            parts = [self._one(rows, i) for i in range(len(rows))]
            hashed = parts[0] if len(parts) == 1 else _joined(parts, len(self._fields.fields))
        return hashed if self._counters is None else self._with_counters(hashed, values)

    def _one(self, rows: Rows, row: int) -> Hashed:
        try:
            return self._fields.hash_event(rows[row])
        except RowError:
            raise self._fault(rows, row) from None

    def _at_once(self, batch: pa.RecordBatch) -> Hashed:
        hashed, faults = self._fields.hash_batch(batch)
        if faults:
            row = int(np.flatnonzero(faults.field)[0])
            field = self._fields.fields[faults.field[row] - 1]
            raise _misfit(field.column, field.transform, row, batch.num_rows)
        return hashed

    def _fault(self, rows: Rows, row: int) -> Problem:
        """Which field of a row is at fault."""
        for field in self._fields.fields:
            try:
                self._fields.hash_event({field.column: rows[row].get(field.column)})
            except RowError:
                return _misfit(field.column, field.transform, row, len(rows))
        return Problem(422, "a value is not what the spec declares")

    def _with_counters(self, hashed: Hashed, values: F64 | None) -> Hashed:
        counters = self._counters
        assert counters is not None
        if hashed.rows == 1:
            tokens = counters.missing if values is None else counters.tokens(values).reshape(-1)
            starts = hashed.starts
            if len(starts):
                starts = np.concatenate([starts, starts[-1] + self._after])
            both = np.concatenate([hashed.tokens, tokens])
            return Hashed(both, starts, 1, hashed.fields + len(tokens))
        if values is None:
            return _side_by_side(hashed, np.tile(counters.missing, (hashed.rows, 1)))
        return _side_by_side(hashed, counters.tokens(values))


def _misfit(column: str, transform: str, row: int, rows: int) -> Problem:
    place = f"impressions[{row}].fields.{column}" if rows > 1 else f"fields.{column}"
    return Problem(422, f"this value does not suit the field's transform, {transform}", place)


def _columns(rows: Rows, names: Sequence[str]) -> pa.RecordBatch | None:
    """Columns of some rows; ``None`` where a column cannot hold its values exactly."""
    arrays, all_first = [], np.zeros(len(rows), np.int64)
    for name in names:
        try:
            values = [*map(itemgetter(name), rows)]
        except KeyError:
            values = [row.get(name) for row in rows]
        # candidates share their context: the very same objects
        shared = all(map(is_, values, repeat(values[0])))
        values = values[:1] if shared else values
        kinds = {*map(type, values)} - {type(None)}
        if dict in kinds or (list in kinds and len(kinds) > 1):
            return None
        try:
            array = column_of(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            return None
        arrays.append(array.take(all_first) if shared else array)
    return pa.RecordBatch.from_arrays(arrays, names=list(names)) if arrays else None


def _joined(parts: Sequence[Hashed], fields: int) -> Hashed:
    """Several events' hashes as those of a batch."""
    tokens = np.concatenate([part.tokens for part in parts])
    if not any(len(part.starts) for part in parts):
        return Hashed(tokens, parts[0].starts, len(parts), fields)
    counts = [
        np.diff(part.starts) if len(part.starts) else np.ones(fields, np.int64) for part in parts
    ]
    starts = np.zeros(len(parts) * fields + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=starts[1:])
    return Hashed(tokens, starts, len(parts), fields)


def _side_by_side(hashed: Hashed, tokens: NDArray[np.uint64]) -> Hashed:
    """Put (events, more) tokens, one a field, behind those of each event."""
    rows, fields, more = hashed.rows, hashed.fields, tokens.shape[1]
    if not len(hashed.starts):
        both = np.concatenate([hashed.tokens.reshape(rows, fields), tokens], axis=1)
        return Hashed(both.reshape(-1), hashed.starts, rows, fields + more)
    ends = hashed.starts[::fields]
    shift = more * np.arange(rows)
    after = (ends[1:] + shift)[:, None] + np.arange(more)
    first = hashed.starts[:-1].reshape(rows, fields) + shift[:, None]
    starts = np.append(np.hstack([first, after]).reshape(-1), ends[-1] + tokens.size)
    out = np.empty(len(hashed.tokens) + tokens.size, np.uint64)
    out[after.reshape(-1)] = tokens.reshape(-1)
    out[np.arange(len(hashed.tokens)) + np.repeat(shift, np.diff(ends))] = hashed.tokens
    return Hashed(out, starts, rows, fields + more)
