"""The one text form of a value: what a category is hashed by, whatever type it arrived in."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ARRAY_TYPES", "as_text", "text_column", "to_number"]

ARRAY_TYPES = (list, tuple, set, frozenset, np.ndarray, pa.ListScalar)
_EXACT = 2.0**53


def as_text(value: Any) -> str:
    r"""Text of one scalar; the empty text stands for *missing*.

    Every path, a dict, a frame, Arrow, a request, turns a value into its token by this text.
    ``None``, NaN, ``NA`` and ``NaT`` are missing; an integral float is its integer (``1.0`` is
    ``"1"``, so that pandas, which turns integers with gaps into floats, changes nothing); any
    other float is its shortest decimal, and a decimal is its float where that is the same
    number; booleans are ``true`` and ``false``; dates and times are ISO 8601, with a blank before
    the time of day; bytes are UTF-8, what is not shown as ``\xff``.

    Examples
    --------
    >>> from datetime import date
    >>> from features.values import as_text
    >>> [as_text(v) for v in ("a", 3, 3.0, 0.5, True, None, float("nan"), date(2024, 1, 1))]
    ['a', '3', '3', '0.5', 'true', '', '', '2024-01-01']
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)) and not isinstance(value, np.timedelta64):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return _float_text(float(value))
    return "" if _is_missing(value) else _rare_text(value)


def _rare_text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Decimal):
        return _decimal_text(value)
    if isinstance(value, timedelta):  # pandas writes its own otherwise
        return str(timedelta(value.days, value.seconds, value.microseconds))
    if isinstance(value, np.timedelta64):
        return _rare_text(value.astype("timedelta64[us]").item())
    if isinstance(value, np.datetime64):
        whole = value.astype("datetime64[us]")
        nanoseconds = int((value - whole) / np.timedelta64(1, "ns"))
        return str(whole.item()) if not nanoseconds else f"{whole.item()}{nanoseconds:03d}"
    return str(value)


def _is_missing(value: Any) -> bool:
    """Tell ``pandas.NA`` and ``NaT``, which equal nothing, themselves included."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    return type(value).__name__ in ("NAType", "NaTType")


def _float_text(value: float) -> str:
    if value != value:
        return ""
    if abs(value) < _EXACT and value == int(value):
        return str(int(value))
    return repr(value)


def _decimal_text(value: Decimal) -> str:
    number = float(value)
    if not value.is_finite():
        return _float_text(number)
    if number == value:
        return _float_text(number) if abs(number) < _EXACT else f"{value.normalize():f}"
    shortest = _float_text(number)
    return shortest if Decimal(shortest) == value else f"{value.normalize():f}"


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


def text_column(column: pa.Array) -> pa.Array:
    """Turn an Arrow column of scalars into text: that of :func:`as_text` for each value.

    Parameters
    ----------
    column
        Of any type but a nested one.

    Returns
    -------
    pyarrow.Array
        Of type string or dictionary<int32, string>, null where missing.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_dictionary(kind):
        return _dictionary_column(column)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    return _distinct_column(column)


def _distinct_column(column: pa.Array) -> pa.Array:
    """Only the distinct values go through Python."""
    try:
        encoded = pc.dictionary_encode(column)
    except pa.ArrowNotImplementedError:
        return pa.array([as_text(value) for value in column.to_pylist()], pa.string())
    words = [as_text(value) for value in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(words, pa.string()))


def _dictionary_column(column: pa.DictionaryArray) -> pa.Array:
    words = text_column(column.dictionary)
    if pa.types.is_dictionary(words.type):
        words = words.dictionary_decode()
    return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), words)
