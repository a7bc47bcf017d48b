"""The one text form of a value: what a category is hashed by, whatever type it arrived in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ARRAY_TYPES", "as_text", "text_column", "to_number"]

ARRAY_TYPES = (list, tuple, set, frozenset, np.ndarray, pa.ListScalar)
_EXACT = 2.0**53


def as_text(value: Any) -> str:
    """Text of one scalar; the empty text stands for *missing*.

    ``None`` and NaN are missing; an integral float is its integer (``1.0`` is ``"1"``, so that
    pandas, which turns integers with gaps into floats, changes nothing); any other float is
    its shortest decimal; booleans are ``true`` and ``false``.

    Examples
    --------
    >>> from features.values import as_text
    >>> [as_text(v) for v in ("a", 3, 3.0, 0.5, True, None, float("nan"))]
    ['a', '3', '3', '0.5', 'true', '', '']
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return _float_text(float(value))
    if isinstance(value, bytes):
        return value.decode()
    return "" if _is_missing(value) else str(value)


def _is_missing(value: Any) -> bool:
    """Tell ``pandas.NA`` and ``NaT``, which equal nothing, themselves included."""
    return type(value).__name__ in ("NAType", "NaTType")


def _float_text(value: float) -> str:
    if value != value:
        return ""
    if abs(value) < _EXACT and value == int(value):
        return str(int(value))
    return repr(value)


def to_number(text: str) -> float | None:
    """Read a number as Python does, but without underscores; ``None`` if it is not one.

    Examples
    --------
    >>> from features.values import to_number
    >>> to_number(" 1e3 "), to_number("1_000"), to_number("five")
    (1000.0, None, None)
    """
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _float_column(column: pa.Array) -> pa.Array:
    """Text of floats: only the distinct ones go through Python."""
    encoded = pc.dictionary_encode(column.cast(pa.float64()))
    words = [as_text(v) for v in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(words, pa.string()))


def text_column(column: pa.Array) -> pa.Array:
    """Turn an Arrow column of scalars into text (string, or dictionary of string).

    Parameters
    ----------
    column
        String, binary, dictionary, integer, float, boolean, decimal, temporal or null.

    Returns
    -------
    pyarrow.Array
        Of type string or dictionary<int32, string>, null where missing.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column
    if pa.types.is_dictionary(kind):
        return _dictionary_column(column)
    if pa.types.is_floating(kind):
        return _float_column(column)
    if pa.types.is_large_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    return pa.array([_scalar_text(v) for v in column.to_pylist()], pa.string())


def _scalar_text(value: Any) -> str:
    """Text of a rarer scalar: a decimal or a time."""
    return as_text(float(value)) if hasattr(value, "as_tuple") else as_text(value)


def _dictionary_column(column: pa.DictionaryArray) -> pa.Array:
    words = text_column(column.dictionary)
    if pa.types.is_dictionary(words.type):
        words = words.dictionary_decode()
    return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), words)
