"""Values of Arrow columns in the form that an event's ``fields`` hold: the log's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.values import text_column

__all__ = ["column_values", "field_dicts"]

_MS_OF_UNIT = {"s": 1000.0, "ms": 1.0, "us": 0.001, "ns": 0.000_001}


def field_dicts(batch: pa.RecordBatch, time_formats: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Each row as name and value, one at a time; what is null is left out.

    Parameters
    ----------
    batch
        The columns wanted.
    time_formats
        How a spec reads a column of times, by name; for columns of Arrow's timestamps.

    Examples
    --------
    >>> rows = {"user": ["u1", None], "tags": [["a", "b"], []], "age": [30, 31]}
    >>> list(field_dicts(pa.RecordBatch.from_pydict(rows), {}))
    [{'user': 'u1', 'tags': ['a', 'b'], 'age': 30}, {'tags': [], 'age': 31}]
    """
    names: list[str] = batch.schema.names
    if not names:
        return ({} for _ in range(batch.num_rows))
    lists = [
        column_values(column, time_formats.get(name, "iso"))
        for name, column in zip(names, batch.columns, strict=True)
    ]
    rows = zip(*lists, strict=True)
    if any(None in values for values in lists):
        return (
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in rows
        )
    return (dict(zip(names, row, strict=True)) for row in rows)


def column_values(column: pa.Array, time_format: str = "iso") -> list[Any]:
    """Values of a column: text, numbers, booleans, lists of text; None where missing.

    JSON has no infinity: it becomes text, which a feature spec reads as the same number.

    Examples
    --------
    >>> column_values(pa.array([1.5, float("nan"), float("inf")]))
    [1.5, None, 'inf']
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _dictionary_values(column, time_format)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_values(column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _time_values(column, time_format)
    if pa.types.is_floating(kind):
        return _float_values(column)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _python_values(column)
    words = text_column(column)
    return _python_values(words if pa.types.is_string(words.type) else words.cast(pa.string()))


def _python_values(column: pa.Array) -> list[Any]:
    if column.null_count and not pa.types.is_string(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    return column.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def _dictionary_values(column: pa.DictionaryArray, time_format: str) -> list[Any]:
    if len(column.dictionary) > 4 * len(column):
        return column_values(column.dictionary_decode(), time_format)
    words = np.empty(len(column.dictionary) + 1, object)  # one more place, for null
    words[:-1] = column_values(column.dictionary, time_format)
    indices = pc.fill_null(column.indices, len(words) - 1) if column.null_count else column.indices
    return words[indices.to_numpy(zero_copy_only=False)].tolist()  # type: ignore[no-any-return]


def _list_values(column: pa.ListArray) -> list[Any]:
    words = column_values(text_column(column.flatten()))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    if None in words:
        values = [[w for w in words[a:b] if w is not None] for a, b in pairwise(ends)]
    else:
        values = [words[a:b] for a, b in pairwise(ends)]
    if not column.null_count:
        return values
    return [
        v if valid else None for v, valid in zip(values, column.is_valid().to_pylist(), strict=True)
    ]


def _float_values(column: pa.Array) -> list[Any]:
    numbers = column.to_numpy(zero_copy_only=False)
    values: list[Any] = numbers.tolist()
    for i in np.flatnonzero(~np.isfinite(numbers)).tolist():
        values[i] = None if values[i] != values[i] else repr(values[i])
    return values


def _time_values(column: pa.Array, time_format: str) -> list[Any]:
    """Write times so that the spec's own format reads them."""
    if time_format in _MS_OF_UNIT:
        ms = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_pylist()
        scale = _MS_OF_UNIT[time_format]
        return [None if v is None else v if scale == 1 else v / scale for v in ms]
    stamps: Sequence[Any] = column.to_pylist()
    if time_format == "iso":
        return [None if v is None else str(v) for v in stamps]
    return [None if v is None else v.strftime(time_format) for v in stamps]
