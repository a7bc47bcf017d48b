"""Tells from some values in what form a log writes its times."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime

from features.times import time_ms
from features.values import to_number

__all__ = ["AmbiguousTimeError", "time_form"]

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
