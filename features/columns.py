"""Hashing the columns of an Arrow batch, field by field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import RowError
from features.field_plan import MAX_LIST, FieldPlan
from features.hashed import Part
from features.jit import read_only
from features.quantiles import QuantileLearner
from features.times import NO_TIME, times_ms
from features.token_kernels import GOOD, UNSURE, hash_number_column, hash_text_column
from features.transforms import CATEGORY
from features.values import as_text, text_column, to_number

__all__ = ["ColumnHasher"]

_NO_BITS = np.empty(0, np.uint8)


class ColumnHasher:
    """Hashes the fields of one batch and notes which rows are at fault.

    Parameters
    ----------
    batch
        The columns; an absent one is missing in every row.
    quantiles
        Edges of all fields.

    Attributes
    ----------
    fault
        int32 per row: 0, or 1 + the number of the first field at fault.
    """

    def __init__(self, batch: pa.RecordBatch, quantiles: QuantileLearner) -> None:
        self.batch = batch
        self.rows = batch.num_rows
        self.quantiles = quantiles
        self.fault = np.zeros(self.rows, np.int32)
        self._names = set(batch.schema.names)

    def hash(self, field: FieldPlan) -> Part:
        """Tokens of one field."""
        column = self._column(field)
        if field.transform == "categories":
            return self._list_part(field, column)
        if _is_nested(column.type):
            self._blame(field, np.ones(self.rows, np.bool_))
            return Part(np.full(self.rows, field.missing))
        if field.is_time:
            return self._time_part(field, column)
        if field.kind != CATEGORY and _is_plain_number(column.type):
            return self._number_part(field, _numbers(column), 0)
        return self._text_part(field, text_column(column))

    def learn_quantiles(
        self, fields: Sequence[FieldPlan], parts: list[Part], good: NDArray[np.bool_]
    ) -> None:
        """Let learning fields gather the good rows; hash anew the rows that come after.

        ``parts`` is changed in place.
        """
        for field in fields:
            if not self.quantiles.is_learning(field.number):
                continue
            column = self._column(field)
            values = _numbers(column) if _is_plain_number(column.type) else _parsed(column)
            live_from = self.quantiles.note(field.number, np.where(good, values, np.nan))
            if live_from < self.rows:
                part = self._text_part(field, text_column(column))
                part.tokens[:live_from] = parts[field.number].tokens[:live_from]
                parts[field.number] = part

    def _column(self, field: FieldPlan) -> pa.Array:
        if field.column in self._names:
            return self.batch.column(field.column)
        return pa.nulls(self.rows)

    def _blame(self, field: FieldPlan, wrong: NDArray[np.bool_]) -> None:
        if wrong.any():
            self.fault[wrong & (self.fault == 0)] = field.number + 1

    def _span(self, field: FieldPlan) -> tuple[int, int]:
        spans = self.quantiles.spans
        return spans[field.number], spans[field.number + 1]

    def _number_part(self, field: FieldPlan, values: NDArray[np.float64], live: int) -> Part:
        out = np.empty(len(values), np.uint64)
        edges = self.quantiles.edges
        hash_number_column(field.kind, values, live, field.seed, edges, *self._span(field), out)
        return Part(out)

    def _time_part(self, field: FieldPlan, column: pa.Array) -> Part:
        times, bad = times_ms(column, field.time_format)
        self._blame(field, bad)
        codes = field.time_code(times)
        table = np.array(field.time_tokens, np.uint64)
        return Part(np.where(times == NO_TIME, field.missing, table[codes]))

    def _text_part(self, field: FieldPlan, words: pa.Array) -> Part:
        if pa.types.is_dictionary(words.type) and len(words.dictionary) > len(words):
            words = words.dictionary_decode()  # hashing what no row uses would cost more
        if not pa.types.is_dictionary(words.type):
            tokens, wrong = self._texts(field, words)
            self._blame(field, wrong)
            return Part(tokens)
        tokens, wrong = self._texts(field, words.dictionary)
        # one more place, for null
        tokens, wrong = np.append(tokens, field.missing), np.append(wrong, False)
        indices = words.indices
        if indices.null_count:
            indices = pc.fill_null(indices, len(tokens) - 1)
        places = indices.to_numpy(zero_copy_only=False)
        if wrong.any():
            self._blame(field, wrong[places])
        return Part(tokens[places])

    def _texts(
        self, field: FieldPlan, words: pa.Array
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Token and fault of each text."""
        out, status = np.empty(len(words), np.uint64), np.empty(len(words), np.uint8)
        low, high = self._span(field)
        hash_text_column(
            field.kind, field.on_text, *_buffers(words), field.seed, self.quantiles.edges,
            low, high, out, status,
        )  # fmt: skip
        if field.kind != CATEGORY:
            for i in np.flatnonzero(status == UNSURE):
                self._ask_python(field, words, int(i), out, status)
        return out, status != GOOD

    def _ask_python(
        self,
        field: FieldPlan,
        words: pa.Array,
        i: int,
        out: NDArray[np.uint64],
        status: NDArray[np.uint8],
    ) -> None:
        value = as_text(words[i].as_py())
        try:
            out[i] = field.scalar_token(value, self.quantiles.edges, *self._span(field))
            status[i] = GOOD
        except RowError:
            pass  # the status says it

    def _list_part(self, field: FieldPlan, column: pa.Array) -> Part:
        lists = column
        if not _is_nested(column.type):
            words = text_column(column)
            if pa.types.is_dictionary(words.type):
                words = words.dictionary_decode()
            lists = pc.split_pattern(words.cast(pa.string()), field.separator)
        words, counts = _members(lists)
        tokens, _ = self._texts(field, words)
        return _fill_empty(tokens, counts, field.missing)


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _is_plain_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """A number column as float64, NaN where null."""
    values = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)


def _parsed(column: pa.Array) -> NDArray[np.float64]:
    """A text column as float64, NaN where it is not a number."""
    numbers = (to_number(as_text(v)) for v in column.to_pylist())
    return np.array([np.nan if v is None else v for v in numbers], np.float64)


def _buffers(
    words: pa.Array,
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8], int]:
    """Arrow's buffers of a string column: bytes, offsets, validity bits and the first of them."""
    bits, offsets, data = words.buffers()
    ends = np.frombuffer(offsets, np.int32)[words.offset : words.offset + len(words) + 1]
    validity = np.frombuffer(bits, np.uint8) if bits and words.null_count else _NO_BITS
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else _NO_BITS
    return read_only(text), read_only(ends), read_only(validity), words.offset


def _members(lists: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """Non-empty members of every list, the first MAX_LIST of each, and how many that is."""
    words = text_column(lists.flatten())
    if pa.types.is_dictionary(words.type):
        words = words.dictionary_decode()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(lists)), lengths)
    said = pc.fill_null(pc.greater(pc.binary_length(words), 0), False)
    kept = np.flatnonzero(said.to_numpy(zero_copy_only=False))
    counts = np.bincount(row[kept], minlength=len(lists)).astype(np.int64)
    rank = np.arange(len(kept)) - np.repeat(np.cumsum(counts) - counts, counts)
    return words.take(pa.array(kept[rank < MAX_LIST])), np.minimum(counts, MAX_LIST)


def _fill_empty(tokens: NDArray[np.uint64], counts: NDArray[np.int64], missing: np.uint64) -> Part:
    """Give every empty list the missing token."""
    filled = np.maximum(counts, 1)
    out = np.full(int(filled.sum()), missing, np.uint64)
    out[np.repeat(counts > 0, filled)] = tokens
    return Part(out, filled)
