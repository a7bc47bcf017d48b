"""Checks of what the estimators are given, before anything of it is learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.errors import RowError
from features.labels import MAX_IMPORTANCE, labels
from features.values import as_text, to_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_frame", "label_column", "label_of", "numbers_of", "weight_column", "weight_of"]

F64 = NDArray[np.float64]
MAX_FEATURE = 1e50
"""Largest numeric feature: the square of a larger one's gradient may overflow."""
_LABELS = {True: 1.0, False: 0.0}  # 1, 1.0 and numpy's are the same keys
_MAP = "Fix: map it first, such as y = y == 1"


def label_of(y: Any) -> float:
    """A label as 0.0 or 1.0.

    Raises
    ------
    RowError
        It is neither 0/1 nor false/true.

    Examples
    --------
    >>> label_of(True), label_of(0), label_of("1")
    (1.0, 0.0, 1.0)
    """
    with suppress(KeyError, TypeError, ValueError):
        return _LABELS[y]
    return float(label_column([y], 1, "")[0])


def weight_of(w: Any) -> float:
    """An importance weight as a float.

    Raises
    ------
    RowError
        It is not from 0 to 1e6.
    """
    if type(w) is float and 0.0 <= w <= MAX_IMPORTANCE:
        return w
    return float(_weights([w], "")[0])


def label_column(y: Any, rows: int, row: str = "row {}: ") -> F64:
    """Labels of a frame's rows, float64 (rows,), as :func:`label_of` has each.

    Parameters
    ----------
    y
        A series, an array or a list.
    rows
        How many there must be.
    row
        How a message names the row.
    """
    values = _column("labels", y, rows)
    if isinstance(values, np.ndarray) and values.dtype == np.bool_:
        return values.astype(np.float64)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        out = values.astype(np.float64)
        bad = np.flatnonzero((out != 0.0) & (out != 1.0))
    else:
        out = labels(pa.array([as_text(value) for value in values], pa.string()))
        bad = np.flatnonzero(np.isnan(out))
    if len(bad):
        at = int(bad[0])
        found = f"{row.format(at)}label {values[at]!r}"
        raise RowError(f"{found} is neither 0/1 nor false/true. {_MAP}")
    return out


def weight_column(w: Any, rows: int) -> F64 | None:
    """Importance weights of rows, float64 (rows,), or one for all; ``None``: all are 1."""
    if w is None:
        return None
    if np.ndim(w) == 0:
        return np.full(rows, weight_of(w))
    return _weights(_column("weights", w, rows), "row {}: ")


def _weights(values: Sequence[Any], row: str) -> F64:
    numbers = (to_number(as_text(value)) for value in values)
    out = np.array([math.nan if number is None else number for number in numbers])
    bad = np.flatnonzero(~((out >= 0.0) & (out <= MAX_IMPORTANCE)))
    if len(bad):
        at = int(bad[0])
        raise RowError(
            f"{row.format(at)}importance weight {values[at]!r} is not from 0 to {MAX_IMPORTANCE:g}"
        )
    return out


def _column(what: str, given: Any, rows: int) -> Any:
    """An array if the values are plain numbers or booleans, else a list of them."""
    values = getattr(given, "to_numpy", lambda: given)()
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise RowError(f"{what}: one value for {rows} rows. Fix: a series or an array")
    if getattr(values, "ndim", 1) > 1:
        raise RowError(f"{what}: an array of shape {values.shape}. Fix: one value a row")
    if len(values) != rows:
        raise RowError(f"{len(values)} {what} for {rows} rows. Fix: one a row")
    return values if isinstance(values, np.ndarray) else list(values)


def numbers_of(x: Mapping[Any, Any]) -> dict[Any, float]:
    """Numeric features of an event; one that is missing (None, NaN, NA) is left out.

    Raises
    ------
    RowError
        A value is no number, or none of a size that can be squared.
    """
    out = {}
    for key, value in x.items():
        number = value if type(value) is float else _number(value)
        if number != number:
            continue
        if number is None or not abs(number) <= MAX_FEATURE:
            raise RowError(f"feature {key!r}: {value!r:.60} is not a number up to {MAX_FEATURE:g}")
        out[key] = number
    return out


def _number(value: Any) -> float | None:
    """A value as a float; NaN if it is missing, ``None`` if it is no number."""
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    text = as_text(value)
    return to_number(text) if text else math.nan


def as_frame(X: Any) -> pd.DataFrame:
    """A frame of another library (polars, pyarrow), which Arrow can read, as pandas'.

    Raises
    ------
    RowError
        It is no frame.
    """
    import pandas as pd

    if isinstance(X, pd.DataFrame):
        return X
    if not hasattr(X, "__arrow_c_stream__"):
        raise RowError(f"a {type(X).__name__} is no frame. Fix: pandas.DataFrame(...)")
    frame: pd.DataFrame = pa.table(X).to_pandas(types_mapper=pd.ArrowDtype)
    return frame
