"""Labels and importance weights of a batch, as numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.values import as_text, text_column, to_number

__all__ = ["MAX_IMPORTANCE", "importance", "labels"]

F64 = NDArray[np.float64]
MAX_IMPORTANCE = 1e6
"""Largest importance weight: more is a mistake, such as a time in its place."""

_LABELS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "0.0": 0.0, "1.0": 1.0}


def _label(text: str) -> float:
    return _LABELS.get(text.strip().lower(), np.nan)


def _weight(text: str) -> float:
    number = to_number(text) if text else None
    return number if number is not None and 0.0 <= number <= MAX_IMPORTANCE else np.nan


def labels(column: pa.Array) -> F64:
    """Clicks of a column: float64 0 or 1, NaN where the value is neither 0/1 nor true/false.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from features.labels import labels
    >>> labels(pa.array(["1", "false", "maybe"])).tolist()
    [1.0, 0.0, nan]
    """
    return _by_distinct_text(column, _label)


def importance(column: pa.Array) -> F64:
    """Importance weights of a column: float64, NaN where it is not from 0 to 1e6."""
    return _by_distinct_text(column, _weight)


def _by_distinct_text(column: pa.Array, read: Callable[[str], float]) -> F64:
    words = text_column(column)
    encoded = words if pa.types.is_dictionary(words.type) else words.dictionary_encode()
    known = np.array([read(as_text(w)) for w in encoded.dictionary.to_pylist()] + [np.nan])
    indices = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    numbers: F64 = known[indices]
    return numbers
