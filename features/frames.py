"""Columns of pandas frames as Arrow, each value with the text that it has on every other path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from features.errors import RowError
from features.field_plan import FieldPlan
from features.values import ARRAY_TYPES, as_text

__all__ = ["frame_columns"]

_UNIFORM = {"string", "integer", "floating", "boolean", "empty"}
"""Kinds of object columns, in pandas' words, whose values keep their text in an Arrow column."""


def frame_columns(
    frame: pd.DataFrame, columns: Sequence[str], lists: Mapping[str, FieldPlan]
) -> pa.RecordBatch:
    """The wanted columns of a pandas frame as Arrow; those it lacks are left out.

    Parameters
    ----------
    frame, columns
        The frame, and the names.
    lists
        The fields that take lists, by column.

    Raises
    ------
    RowError
        Two columns have one name, or a value is a list or an object where a scalar is due.
    """
    names = [name for name in columns if name in frame.columns]
    arrays = [_frame_column(frame[name], name, lists.get(name)) for name in names]
    if not names:
        return pa.RecordBatch.from_arrays([pa.nulls(len(frame))], names=["\x00none"])
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _frame_column(series: pd.Series[Any], name: str, list_field: FieldPlan | None) -> pa.Array:
    if isinstance(series, pd.DataFrame):
        raise RowError(f"two columns of the frame are named {name!r}. Fix: rename one")
    if series.dtype == object:
        if list_field is not None:
            members = [list_field.members(value) for value in series]
            return pa.array(members, pa.list_(pa.string()))
        if pd.api.types.infer_dtype(series, skipna=True) not in _UNIFORM:
            return _scalar_texts(series, name)
    if isinstance(series.dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        return _scalar_texts(series, name)
    try:
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            return _zoned_times(series)
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _scalar_texts(series, name)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _zoned_times(series: pd.Series[Any]) -> pa.Array:
    """Times of a zone, which pyarrow takes from pandas in a way that pandas deprecates."""
    name = str(series.dt.tz).removeprefix("UTC") or "UTC"  # "UTC+02:00" of a fixed offset
    return pa.array(series.dt.tz_convert(None).to_numpy()).cast(pa.timestamp(series.dt.unit, name))


def _scalar_texts(series: pd.Series[Any], name: str) -> pa.Array:
    """Objects of several types, as their texts."""
    values = series.tolist()
    for i, value in enumerate(values):
        if isinstance(value, (*ARRAY_TYPES, dict)):
            raise RowError(f"row {i}: column {name!r}: a {type(value).__name__} is no single value")
    return pa.array([as_text(value) for value in values], pa.string())
