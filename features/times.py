"""Event times: text or numbers of a stated format into milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.values import as_text, text_column, to_number

__all__ = ["NO_TIME", "day_of_week", "hour_of_day", "time_ms", "times_ms"]

NO_TIME = np.iinfo(np.int64).min
"""Stands for a missing time in an array of times."""

_UNITS = {"s": 1000.0, "ms": 1.0, "us": 0.001}
_MAX_MS = 253_402_300_800_000  # the year 10000


def hour_of_day(ms: Any) -> Any:
    """Hour of an event time, 0 to 23 UTC; of an int or an int64 array."""
    return ms // 3_600_000 % 24


def day_of_week(ms: Any) -> Any:
    """Day of an event time, Monday 0 to Sunday 6, UTC; of an int or an int64 array."""
    return (ms // 86_400_000 + 3) % 7


def time_ms(value: Any, form: str) -> int:
    """Milliseconds since 1970 of one value.

    Parameters
    ----------
    value
        Text, a number of the format's unit, or a datetime (without a zone: UTC).
    form
        ``iso``, ``s``, ``ms``, ``us`` or a strptime pattern.

    Returns
    -------
    int
        The time, or :data:`NO_TIME` where missing.

    Raises
    ------
    ValueError
        If the value is not a time of that format.

    Examples
    --------
    >>> from features.times import time_ms
    >>> time_ms("1970-01-01T00:00:01Z", "iso"), time_ms(14102100, "%y%m%d%H")
    (1000, 1413849600000)
    """
    if type(value) is int and form == "ms" and -_MAX_MS < value < _MAX_MS:
        return value  # as the text of it would be read
    if isinstance(value, datetime) and value == value:
        return _datetime_ms(value)
    text = as_text(value)
    return _text_ms(text, form) if text else NO_TIME


@lru_cache(maxsize=65_536)
def _text_ms(text: str, form: str) -> int:
    if form in _UNITS:
        return _unit_ms(text, form)
    if form == "iso":
        return _datetime_ms(datetime.fromisoformat(text))
    return _datetime_ms(datetime.strptime(text, form))


def _unit_ms(text: str, form: str) -> int:
    number = to_number(text)
    if number is None or not abs(number) * _UNITS[form] < _MAX_MS:
        raise ValueError(f"{text[:40]!r} is not a time in {form} since 1970")
    return int(number * _UNITS[form] // 1)


def _datetime_ms(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def times_ms(column: pa.Array, form: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Event times of a column.

    Parameters
    ----------
    column
        Text, numbers or timestamps.
    form
        As for :func:`time_ms`.

    Returns
    -------
    times
        int64 milliseconds, :data:`NO_TIME` where missing.
    bad
        True where the value is not a time.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _timestamp_column(column), np.zeros(len(column), np.bool_)
    if form == "ms" and pa.types.is_integer(column.type) and column.null_count == 0:
        times = column.to_numpy(zero_copy_only=False).astype(np.int64)
        return times, np.abs(times) >= _MAX_MS
    return _by_distinct_text(text_column(column), form)


def _timestamp_column(column: pa.Array) -> NDArray[np.int64]:
    stamps = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return np.asarray(pc.fill_null(stamps, NO_TIME).to_numpy(zero_copy_only=False), np.int64)


def _by_distinct_text(words: pa.Array, form: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Parse each distinct text once: logs repeat their hours."""
    encoded = words if pa.types.is_dictionary(words.type) else words.dictionary_encode()
    # one more place, for null
    known = np.full(len(encoded.dictionary) + 1, NO_TIME, np.int64)
    wrong = np.zeros(len(known), np.bool_)
    for i, word in enumerate(encoded.dictionary.cast(pa.string()).to_pylist()):
        try:
            known[i] = time_ms(word, form)
        except (ValueError, OverflowError):
            wrong[i] = True
    indices = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    return known[indices], wrong[indices]
