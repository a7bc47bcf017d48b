"""Event times: in what form a log writes them, and each form into milliseconds since 1970, UTC."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.spec import TIME_WORDS
from features.values import as_text, text_column, to_number

__all__ = [
    "NO_TIME",
    "AmbiguousTimeError",
    "day_of_week",
    "hour_of_day",
    "time_form",
    "time_ms",
    "times_ms",
]

NO_TIME = np.iinfo(np.int64).min
"""Stands for a missing time in an array of times."""

_UNITS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
_EXCEL_EPOCH_DAYS = 25_569
_WHOLE = r"^-?[0-9]{1,18}$"
_DECIMAL = r"^-?[0-9]{1,15}(\.[0-9]*)?$"
_ISO = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
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
        ``iso``; ``s``, ``ms``, ``us`` or ``ns`` since 1970; ``excel`` for days since 1900 as
        spreadsheets count them; or a strptime pattern.

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
    if form == "iso":
        return _datetime_ms(datetime.fromisoformat(text.removesuffix(" UTC")))
    if form not in TIME_WORDS:
        return _datetime_ms(datetime.strptime(text, form))
    number = int(text) if re.match(_WHOLE, text) else to_number(text)
    if number is None or not number == number or not abs(ms := _number_ms(number, form)) < _MAX_MS:
        raise ValueError(f"{text[:40]!r} is not a time in {form}")
    return int(ms)


def _number_ms(number: Any, form: str) -> Any:
    """Milliseconds of a number or an array, exactly where it is whole."""
    if form == "excel":
        return np.floor((number - _EXCEL_EPOCH_DAYS) * 86_400_000.0 + 0.5)
    times, per = _UNITS[form]
    return number * times // per


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
    times = _times_by_arrow(column, form)
    return _by_distinct_text(text_column(column), form) if times is None else times


def _times_by_arrow(
    column: pa.Array, form: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """Read times in bulk; None where Arrow might not read every value as :func:`time_ms` does."""
    if pa.types.is_string(column.type):
        return _iso_column(column) if form == "iso" else _number_texts(column, form)
    if form in _UNITS and pa.types.is_integer(column.type) and column.type != pa.uint64():
        return _number_column(column.cast(pa.int64()), form)
    return None


def _number_texts(words: pa.Array, form: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    if form not in TIME_WORDS:
        return None
    for pattern, kind in ((_WHOLE, pa.int64()), (_DECIMAL, pa.float64())):
        if (form != "excel" or kind == pa.float64()) and _all_match(words, pattern):
            return _number_column(words.cast(kind), form)
    return None


def _all_match(words: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(words, pattern), min_count=0).as_py())


def _number_column(
    column: pa.Array, form: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    numbers = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    if form == "s" and not (numbers.min(initial=0) > -_MAX_MS and numbers.max(initial=0) < _MAX_MS):
        return None  # a product might not fit
    ms = _number_ms(numbers, form)
    bad = ~((ms < _MAX_MS) & (ms > -_MAX_MS))
    times = np.where(bad, NO_TIME, ms).astype(np.int64)
    times[column.is_null().to_numpy(zero_copy_only=False)] = NO_TIME
    return times, bad


def _iso_column(words: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    for ending, zone in (("$", None), (r"(Z|[+-][0-9]{2}:[0-9]{2})$", "UTC")):
        if _all_match(words, _ISO + ending):
            try:
                stamps = words.cast(pa.timestamp("us", zone))
            except pa.ArrowInvalid:
                return None
            us = pc.fill_null(stamps.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
            missing = words.is_null().to_numpy(zero_copy_only=False)
            return np.where(missing, NO_TIME, us // 1000), np.zeros(len(words), np.bool_)
    return None


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


_NUMBERS = {
    "s": (5e8, 2e9),  # 1985 to 2033; from 2e9 up, 2000010100 is a day and an hour
    "ms": (5e11, 2e12),
    "us": (5e14, 2e15),
    "ns": (5e17, 2e18),
    "excel": (3e4, 6e4),  # 1982 to 2064
}
_COMPACT = (
    *("%Y%m%d", "%y%m%d%H", "%Y%m%d%H", "%y%m%d%H%M", "%Y%m%d%H%M", "%y%m%d%H%M%S"),
    "%Y%m%d%H%M%S",
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p")
_DAY_FIRST = tuple(f"%d/%m/%Y{clock}" for clock in _CLOCKS)
_MONTH_FIRST = tuple(f"%m/%d/%Y{clock}" for clock in _CLOCKS)
_WRITTEN = (
    *(f"%Y/%m/%d{clock}" for clock in _CLOCKS),
    *(f"%d.%m.%Y{clock}" for clock in _CLOCKS),
    "%d/%b/%Y:%H:%M:%S %z",  # web servers
    *("%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%d %b %Y %H:%M:%S %z"),  # RFC 2822
    *("%a %b %d %H:%M:%S %Y", "%d-%b-%Y %H:%M:%S", "%d-%b-%y", "%d-%b-%Y"),
)
_FIRST_MS, _LAST_MS = 473_385_600_000, 4_102_444_800_000  # 1985 to 2100


class AmbiguousTimeError(ValueError):
    """Day and month of some dates may stand in either order."""


def time_form(texts: Collection[str], share: float = 1.0) -> str:
    """The form in which texts are times of the years 1985 to 2100; empty if there is none.

    Parameters
    ----------
    texts
        Some different values, none missing.
    share
        How many of them, of 1, have to be times of that form.

    Returns
    -------
    str
        As for :func:`features.times.time_ms`: ``iso``, a unit, ``excel`` or a strptime pattern.

    Raises
    ------
    AmbiguousTimeError
        They are dates of which day and month may stand in either order.

    Examples
    --------
    >>> time_form(["14102100"]), time_form(["20240301"]), time_form(["1413849600"])
    ('%y%m%d%H', '%Y%m%d', 's')
    >>> time_form(["45352.5"]), time_form(["31/12/2024 10:00"]), time_form(["7", "8"])
    ('excel', '%d/%m/%Y %H:%M', '')
    """
    fits = {form: _fitting(texts, form) for form in _candidates(texts)}
    best = max(fits.values(), default=0)
    if not texts or best < max(share * len(texts), 1):
        return ""
    forms = [form for form, fitting in fits.items() if fitting == best]
    if {form[:5] for form in forms} == {"%d/%m", "%m/%d"}:
        raise AmbiguousTimeError("day and month may stand in either order")
    return forms[0]


def _candidates(texts: Iterable[str]) -> Iterable[str]:
    """Forms in the order in which they are preferred."""
    if any(to_number(text) is not None for text in texts):
        yield from (*_NUMBERS, *_COMPACT)
    yield "iso"
    if any(re.search("[/.]|[A-Za-z]{3}", text) for text in texts):
        yield from (*_DAY_FIRST, *_MONTH_FIRST, *_WRITTEN)


def _fitting(texts: Iterable[str], form: str) -> int:
    return sum(_fits(text.strip(), form) for text in texts)


def _fits(text: str, form: str) -> bool:
    if form in _NUMBERS:
        number, (low, high) = to_number(text), _NUMBERS[form]
        return number is not None and low <= number < high
    if form in _COMPACT and len(text) != len(datetime(2024, 12, 31).strftime(form)):
        return False
    if form == "iso" and not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}T", text):
        return False
    try:
        return _FIRST_MS <= time_ms(text, form) < _LAST_MS
    except (ValueError, OverflowError):
        return False
