"""Labels and importance weights of a batch, as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ClicktideError
from features.values import as_text, text_column, to_number

__all__ = [
    "MAX_IMPORTANCE",
    "OTHER",
    "clicks_of_views",
    "guess_label_values",
    "importance",
    "labels",
    "labels_due",
    "parse_label_values",
]

F64 = NDArray[np.float64]
MAX_IMPORTANCE = 1e6
"""Largest importance weight: more is a mistake, such as a time in its place."""
OTHER = "*"
"""Key of a label mapping that stands for every value that is there and not named."""

_WORDS = {"0": 0, "1": 1, "false": 0, "true": 1}
_PAIRS = (("-1", "1"), ("no", "yes"), ("n", "y"), ("f", "t"), ("1", "2"))
"""Pairs of values that mean no click and a click only where it is said."""


def _plain(text: str) -> str:
    """The form in which values are compared: ``+1``, ``1.0`` and ``1`` are one."""
    text = text.strip().lower()
    number = to_number(text)
    return text if number is None or not math.isfinite(number) else as_text(number)


def labels(column: pa.Array, values: Mapping[str, int] | None = None) -> F64:
    """Clicks of a column: float64 0 or 1, NaN where the value is no label.

    Parameters
    ----------
    column
        Texts, numbers or booleans.
    values
        What each value means, such as ``{"-1": 0, "1": 1}``; ``"*"`` is any other value. Empty:
        0/1 and true/false. Case does not count, and 1, +1 and 1.0 are one.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from features.labels import labels
    >>> labels(pa.array(["1", "false", "maybe"])).tolist()
    [1.0, 0.0, nan]
    >>> labels(pa.array([-1.0, 1.0, 0.0]), {"-1": 0, "1": 1}).tolist()
    [0.0, 1.0, nan]
    """
    meant = {_plain(word): float(value) for word, value in (values or _WORDS).items()}
    other = meant.get(OTHER, math.nan)

    def read(text: str) -> float:
        return meant.get(_plain(text), other) if text.strip() else math.nan

    return _by_distinct_text(column, read)


def labels_due(values: Mapping[str, int] | None = None) -> str:
    """What a label must be, for messages.

    Examples
    --------
    >>> labels_due(), labels_due({"won": 1, "*": 0})
    ('0, 1, true or false', "one of the label_values ('won')")
    """
    if not values:
        return "0, 1, true or false"
    return f"one of the label_values ({', '.join(repr(word) for word in values if word != OTHER)})"


def parse_label_values(text: str) -> dict[str, int]:
    """Read a label mapping from a command line.

    Raises
    ------
    ClicktideError
        It is not of the form ``VALUE=0,VALUE=1``.

    Examples
    --------
    >>> parse_label_values("-1=0,1=1")
    {'-1': 0, '1': 1}
    """
    pairs = [part.rpartition("=") for part in text.split(",")]
    if not all(word.strip() and value.strip() in ("0", "1") for word, _, value in pairs):
        raise ClicktideError(
            f"{text!r} does not say which label is a click. Fix: VALUE=0 or 1 for each value, "
            "such as -1=0,1=1 or won=1,*=0"
        )
    return {word.strip(): int(value) for word, _, value in pairs}


def guess_label_values(texts: Iterable[str]) -> dict[str, int] | None:
    """Guess the mapping of a column from its different values; None: it does not look like a label.

    An empty mapping means that :func:`labels` reads the values without one. Of a pair, one value
    is enough.

    Examples
    --------
    >>> guess_label_values({"0", "1"}), guess_label_values({"N", "Y"}), guess_label_values({"-1"})
    ({}, {'N': 0, 'Y': 1}, {'-1': 0, '1': 1})
    >>> guess_label_values({"a0", "a1"}) is None
    True
    """
    words = {_plain(text): text for text in texts}
    if not words or "" in words:
        return None
    if words.keys() <= {"0", "1"} or words.keys() <= {"false", "true"}:
        return {}
    pair = next((pair for pair in _PAIRS if words.keys() <= set(pair)), None)
    return pair and {words.get(word, word): value for value, word in enumerate(pair)}


def clicks_of_views(clicks: pa.Array, views: pa.Array) -> tuple[F64, F64]:
    """Clicks and views of rows that stand for many impressions each; NaN where they are none.

    Both are whole numbers, views from 1 to 1e6, clicks from 0 to the views.

    Examples
    --------
    >>> import pyarrow as pa
    >>> clicks, views = clicks_of_views(pa.array(["3", "2", "x"]), pa.array(["10", "1", "1"]))
    >>> clicks.tolist(), views.tolist()
    ([3.0, nan, nan], [10.0, nan, nan])
    """
    number, of = (_by_distinct_text(column, _count) for column in (clicks, views))
    with np.errstate(invalid="ignore"):
        bad = ~((number >= 0) & (number <= of) & (of >= 1) & (of <= MAX_IMPORTANCE))
    return np.where(bad, np.nan, number), np.where(bad, np.nan, of)


def importance(column: pa.Array) -> F64:
    """Importance weights of a column: float64, NaN where it is not from 0 to 1e6."""
    return _by_distinct_text(column, _weight)


def _weight(text: str) -> float:
    number = to_number(text) if text else None
    return number if number is not None and 0.0 <= number <= MAX_IMPORTANCE else np.nan


def _count(text: str) -> float:
    number = to_number(text) if text else None
    return number if number is not None and number.is_integer() else np.nan


def _by_distinct_text(column: pa.Array, read: Callable[[str], float]) -> F64:
    words = text_column(column)
    encoded = words if pa.types.is_dictionary(words.type) else words.dictionary_encode()
    known = np.array([read(as_text(w)) for w in encoded.dictionary.to_pylist()] + [np.nan])
    indices = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    numbers: F64 = known[indices]
    return numbers
