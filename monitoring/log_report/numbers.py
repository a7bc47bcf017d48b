"""A column of numbers or texts as numbers, in bulk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.values import as_text, text_column, to_number

__all__ = ["numbers"]

F64 = NDArray[np.float64]


def numbers(column: pa.Array, *, empty_is_bad: bool = True) -> tuple[F64, NDArray[np.bool_]]:
    """Float64 of a column, NaN where there is none; and where a value is not a number.

    Parameters
    ----------
    column
        Numbers or texts.
    empty_is_bad
        Whether a missing value is one that is not a number.

    Examples
    --------
    >>> values, bad = numbers(pa.array(["0.5", "", "x"]), empty_is_bad=False)
    >>> values.tolist(), bad.tolist()
    ([0.5, nan, nan], [False, False, True])
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        values = _floats(column.cast(pa.float64()))
        empty = np.isnan(values)
        return values, empty if empty_is_bad else np.zeros(len(values), np.bool_)
    return _of_text(text_column(column), empty_is_bad)


def _of_text(words: pa.Array, empty_is_bad: bool) -> tuple[F64, NDArray[np.bool_]]:
    plain = words.dictionary_decode() if pa.types.is_dictionary(words.type) else words
    try:
        values = _floats(plain.cast(pa.float64()))
    except pa.ArrowInvalid:
        return _one_by_one(plain, empty_is_bad)
    missing = np.isnan(values)
    return values, missing if empty_is_bad else np.zeros(len(values), np.bool_)


def _one_by_one(words: pa.Array, empty_is_bad: bool) -> tuple[F64, NDArray[np.bool_]]:
    """Slower: some value is empty, has a space around it, or is no number."""
    texts = [as_text(word).strip() for word in words.to_pylist()]
    read = [to_number(text) if text else None for text in texts]
    values = np.array([np.nan if number is None else number for number in read], np.float64)
    bad = np.isnan(values)
    if not empty_is_bad:
        bad &= np.array([bool(text) for text in texts], np.bool_)
    return values, bad


def _floats(column: pa.Array) -> F64:
    filled = pc.fill_null(column, float("nan"))
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.float64)
