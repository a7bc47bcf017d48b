"""Columns of a log as numbers, probabilities and times, in bulk; how to mend a bad value."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import SourceError
from features.time_forms import AmbiguousTimeError, time_form
from features.times import times_ms
from features.values import as_text, text_column, to_number

__all__ = ["TimeReader", "numbers", "prediction_fix", "predictions"]

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


_ROUNDING = 1e-6
"""How far beyond 0 or 1 a probability may be: sums and float32 round by less."""


def predictions(column: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities, rounding clipped; and where a value is none.

    Examples
    --------
    >>> p, bad = predictions(pa.array(["1.0000001", "-1e-9", "1.5", "", "0.5"]))
    >>> p.tolist(), bad.tolist()
    ([1.0, 0.0, 1.5, nan, 0.5], [False, False, True, True, False])
    """
    p, bad = numbers(column)
    with np.errstate(invalid="ignore"):
        near = (p >= -_ROUNDING) & (p <= 1.0 + _ROUNDING)
    return np.where(near, np.clip(p, 0.0, 1.0), p), bad | ~near


def prediction_fix(value: str, others: NDArray[np.float64]) -> str:
    """What to do about a value that is no probability.

    Parameters
    ----------
    value
        As it stands in the log.
    others
        The column's numbers thereabouts: percentages and log-odds are told by all of them.

    Examples
    --------
    >>> prediction_fix("1.5", np.array([0.2, 1.5, 2.5, 37.0]))
    'a prediction is a probability from 0 to 1; these look like percentages: divide them by 100'
    >>> prediction_fix("1.0002", np.array([0.2, 1.0002]))
    'a prediction is a probability from 0 to 1; this one is a little above 1: clip it'
    """
    due = "a prediction is a probability from 0 to 1"
    known = others[np.isfinite(others)]
    try:
        number = float(value.strip().removesuffix("%"))
    except ValueError:
        return f"{due}; name the right column with --prediction"
    if value.strip().endswith("%"):
        return f"{due}; divide percentages by 100"
    if math.isnan(number):
        return f"{due}; leave out rows that were not predicted"
    if math.isinf(number):
        return f"{due}; it overflowed"
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    if (number > 1.0 and high <= 1.1) or (number < 0.0 and low >= -0.1):
        return f"{due}; this one is a little {'above 1' if number > 1 else 'below 0'}: clip it"
    if low < -0.1 and low >= -50.0 and high <= 50.0:
        return f"{due}; these look like log-odds: turn each x into 1 / (1 + exp(-x))"
    if low >= -0.1 and high <= 100.1:
        return f"{due}; these look like percentages: divide them by 100"
    return f"{due}; name the right column with --prediction"


_LOOKED_AT = 200
_HOW = (
    "say how they are written with --time-format: iso, s, ms, us, ns, excel or a pattern "
    "such as '%y%m%d%H'"
)


class TimeReader:
    """Reads a column of times, batch by batch.

    Parameters
    ----------
    form
        As for :func:`features.times.time_ms`; empty: told from the first values.
    name
        Of the column, for messages.

    Examples
    --------
    >>> times, bad = TimeReader()(pa.array(["1413849600", "1413849601.5"]))
    >>> times.tolist(), bad.tolist()
    ([1413849600000, 1413849601500], [False, False])
    >>> TimeReader()(pa.array(["14102100"]))[0].tolist()
    [1413849600000]
    """

    def __init__(self, form: str = "", name: str = "time") -> None:
        self._form, self._name = form, name

    def __call__(self, column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Times in ms, and where a value is none.

        Raises
        ------
        SourceError
            The form of the first values cannot be told.
        """
        if not self._form and not pa.types.is_temporal(column.type):
            self._form = self._told(text_column(column))
        return times_ms(column, self._form or "iso")

    def fix(self, value: str) -> str:
        """What to do about a value that is not a time."""
        if not value or value == "None":
            return "every row needs a time"
        return f"times are read as {self._form!r} here; {_HOW}"

    def _told(self, words: pa.Array) -> str:
        texts = [text for text in map(as_text, words.unique().to_pylist()) if text.strip()]
        texts = texts[:: len(texts) // _LOOKED_AT + 1]
        if not texts:
            return ""
        shown = ", ".join(repr(text[:40]) for text in texts[:3])
        try:
            form = time_form(texts, share=0.5)
        except AmbiguousTimeError as error:
            raise SourceError(f"column {self._name!r}: {shown}: {error}. Fix: {_HOW}") from error
        if not form:
            raise SourceError(
                f"column {self._name!r}: {shown}: no times of the years 1985 to 2100 in a form "
                f"that is known. Fix: {_HOW}"
            )
        return form
