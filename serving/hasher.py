"""Hashing what is asked: the same bits for one event as for many, counters served beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.columns import ColumnHasher
from features.errors import RowError
from features.field_plan import FieldPlan
from features.hashed import Hashed
from features.spec import Spec
from features.vectoriser import Vectoriser
from serving.problem import Problem
from serving.row_hasher import RowHasher
from serving.sharing import MANY, Sharing
from streaming.sources.json_values import column_of

__all__ = ["EventHasher"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]
Rows = Sequence[Mapping[str, Any]]
_TEXTS = ({str}, {str, type(None)})


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
        self._counters = Vectoriser(spec).counters
        self._width = len(self._fields.fields)

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
        if len(rows) < MANY:
            return self._few(rows, values)
        return self._many(rows if isinstance(rows, Sharing) else Sharing({}, rows), values)

    def _few(self, rows: Rows, values: F64 | None) -> Hashed:
        """Row by row."""
        try:
            hashed = self._rows.hash(rows, self._counter_tokens(values, len(rows)))
        except RowError:
            hashed = None  # which row it is, the careful way tells
        if hashed is not None:
            return hashed
        hashed = self._carefully(rows)
        return hashed if self._counters is None else self._with_counters(hashed, values)

    def _carefully(self, rows: Rows) -> Hashed:
        return _joined([self._one(rows, i) for i in range(len(rows))], self._width)

    def _many(self, rows: Sharing, values: F64 | None) -> Hashed:
        """Column by column: those of the fields that events have of their own."""
        own = [field for field in self._fields.fields if not rows.is_shared(field.column)]
        lists = any(field.transform == "categories" for field in own)
        names = self._fields.columns if lists else [field.column for field in own]
        batch = _columns(rows, names)
        if batch is not None and not lists:
            return self._spread(rows, batch, own, values)
        hashed = self._carefully(rows) if batch is None else self._at_once(batch)
        return hashed if self._counters is None else self._with_counters(hashed, values)

    def _spread(
        self, rows: Sharing, batch: pa.RecordBatch, own: Sequence[FieldPlan], values: F64 | None
    ) -> Hashed:
        """Hash what is shared once, and spread it over the events; lists are all shared."""
        shared = self._shared(rows)
        count, width = len(rows), len(shared.tokens)
        starts = shared.starts if len(shared.starts) else np.arange(width + 1)
        tokens = self._counter_tokens(values, count)
        table = np.empty((count, width + tokens.shape[1]), np.uint64)
        table[:, :width], table[:, width:] = shared.tokens, tokens
        hasher = ColumnHasher(batch, self._fields.quantiles)
        for field in own:
            table[:, starts[field.number]] = hasher.hash(field).tokens
        self._check(hasher.fault)
        fields = shared.fields + tokens.shape[1]
        if not len(shared.starts):
            return Hashed(table.reshape(-1), shared.starts, count, fields)
        within = np.concatenate([starts[:-1], np.arange(width, table.shape[1])])
        first = np.arange(0, table.size, table.shape[1])[:, None] + within
        return Hashed(table.reshape(-1), np.append(first.reshape(-1), table.size), count, fields)

    def _shared(self, rows: Sharing) -> Hashed:
        """The shared fields' tokens; the others are missing."""
        try:
            return self._fields.hash_event(
                {name: value for name, value in rows.shared.items() if rows.is_shared(name)}
            )
        except RowError:
            raise self._fault(rows, 0) from None

    def _counter_tokens(self, values: F64 | None, rows: int) -> U64:
        if self._counters is None:
            return np.empty((rows, 0), np.uint64)
        if values is None:
            return np.tile(self._counters.missing, (rows, 1))
        return self._counters.tokens(values)

    def _one(self, rows: Rows, row: int) -> Hashed:
        try:
            return self._fields.hash_event(rows[row])
        except RowError:
            raise self._fault(rows, row) from None

    def _at_once(self, batch: pa.RecordBatch) -> Hashed:
        hashed, faults = self._fields.hash_batch(batch)
        self._check(faults.field)
        return hashed

    def _check(self, fault: NDArray[np.int32]) -> None:
        if fault.any():
            row = int(np.flatnonzero(fault)[0])
            field = self._fields.fields[fault[row] - 1]
            raise _misfit(field.column, field.transform, row, len(fault))

    def _fault(self, rows: Rows, row: int) -> Problem:
        """Which field of a row is at fault."""
        for field in self._fields.fields:
            try:
                self._fields.hash_event({field.column: rows[row].get(field.column)})
            except RowError:
                return _misfit(field.column, field.transform, row, len(rows))
        return Problem(422, "a value is not what the spec declares")

    def _with_counters(self, hashed: Hashed, values: F64 | None) -> Hashed:
        return _side_by_side(hashed, self._counter_tokens(values, hashed.rows))


def _misfit(column: str, transform: str, row: int, rows: int) -> Problem:
    place = f"impressions[{row}].fields.{column}" if rows > 1 else f"fields.{column}"
    return Problem(422, f"this value does not suit the field's transform, {transform}", place)


def _columns(rows: Sharing, names: Sequence[str]) -> pa.RecordBatch | None:
    """Columns of some rows; ``None`` where a column cannot hold its values exactly."""
    arrays, all_first = {}, np.zeros(len(rows), np.int64)
    for name in names:
        shared = rows.is_shared(name)
        values = [rows.shared.get(name)] if shared else rows.column(name)
        kinds = {*map(type, values)}
        if dict in kinds or (list in kinds and len(kinds - {type(None)}) > 1):
            return None
        try:
            array = pa.array(values, pa.string()) if kinds in _TEXTS else column_of(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            return None
        arrays[name] = array.take(all_first) if shared else array
    if not arrays:
        return pa.RecordBatch.from_arrays([pa.nulls(len(rows))], names=[""])
    return pa.RecordBatch.from_arrays([*arrays.values()], names=[*arrays])


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
