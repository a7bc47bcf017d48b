"""Arrow columns of decoded JSON values, and the one text of each value.

In a column of mixed scalars a number is its shortest text: an int its digits, an integral float
below 2**53 the integer, another float as Python writes it; true and false by name. So a value
has the same text whichever column type its block gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = ["EXACT", "column_of", "kinds_of", "scalar_text"]

EXACT = 2**53  # below it, a float64 holds every integer
_INT64 = 2**63
_NONE = type(None)


def scalar_text(value: str | int | float | bool) -> str:
    """Write a scalar as text.

    Examples
    --------
    >>> [scalar_text(value) for value in ("1.0", 1.0, 12, 0.5, True)]
    ['1.0', '1', '12', '0.5', 'true']
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    return str(value)


def kinds_of(values: Sequence[Any]) -> set[type]:
    """Types that occur among ``values``, None's left out."""
    return set(map(type, values)) - {_NONE}


def column_of(values: Sequence[Any]) -> pa.Array:
    """Make a column of scalars, or of lists of scalars, with None as null.

    The type is bool, int64 or float64 where all values fit it exactly, else string.
    """
    if kinds_of(values) != {list}:
        kind = _scalar_type(values)
        return pa.array(_as(kind, values), kind)
    members = [member for value in values if value is not None for member in value]
    kind = _scalar_type(members)
    if _as(kind, members) is not members:
        values = [None if value is None else _as(kind, value) for value in values]
    return pa.array(values, pa.list_(kind))


def _scalar_type(values: Sequence[Any]) -> pa.DataType:
    kinds = kinds_of(values)
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int} and all(v is None or -_INT64 <= v < _INT64 for v in values):
        return pa.int64()
    if kinds == {float}:
        return pa.float64()
    if kinds == {int, float} and all(v is None or -EXACT < v < EXACT for v in values):
        return pa.float64()
    return pa.string()


def _as(kind: pa.DataType, values: Sequence[Any]) -> Sequence[Any]:
    if kind != pa.string() or kinds_of(values) == {str}:
        return values
    return [None if value is None else scalar_text(value) for value in values]
