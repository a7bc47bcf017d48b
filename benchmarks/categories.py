"""What the peers are given: every field of an event as one category, by the same spec.

Written apart from Clicktide's own vectoriser, so that equal log losses mean something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from features.spec import Spec

__all__ = ["MISSING", "NAMESPACES", "category_reader", "vw_line"]

NAMESPACES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Vowpal Wabbit tells namespaces apart, in ``-q``, by their first letter."""

MISSING = "%"
"""Its word for a missing value: no escaped text is a lone ``%``."""

Reader = Callable[[str], str]


def category_reader(spec: Spec) -> Callable[[Mapping[str, str]], dict[str, str]]:
    """How to turn a row of texts into field name → category, by a spec.

    Parameters
    ----------
    spec
        With the transforms ``category``, ``log_squared`` and ``hour_of_day``.

    Returns
    -------
    Callable
        A missing value is the empty text, a category like any other.

    Examples
    --------
    >>> from features.spec_file import load_spec
    >>> read = category_reader(load_spec("criteo_dac80k"))
    >>> event = read(dict.fromkeys(load_spec("criteo_dac80k").fields[0].names, "20"))
    >>> event["I1"], event["C1"]
    ('11', '')
    """
    readers = [
        (name, fields.column or name, _reader(fields.transform, spec.source.timestamp_format))
        for fields in spec.fields
        for name in fields.names
    ]
    return lambda row: {name: read(row.get(column, "")) for name, column, read in readers}


def vw_line(event: Mapping[str, str], clicked: bool) -> str:
    """One event in Vowpal Wabbit's text format, each field in a namespace of its own.

    Blanks, ``:`` and ``|`` mean something there, so they are written as in a URL.

    Examples
    --------
    >>> vw_line({"site": "a:b", "ad": ""}, True)
    '1 |a a%3Ab |b %'
    """
    fields = zip(NAMESPACES, event.values(), strict=False)
    said = " ".join(f"|{letter} {_vw_text(value)}" for letter, value in fields)
    return f"{'1' if clicked else '-1'} {said}"


def _vw_text(value: str) -> str:
    if value.isascii() and value.isalnum():  # nearly all
        return value
    return quote(value, safe="") or MISSING


def _reader(transform: str, time_format: str) -> Reader:
    if transform == "category":
        return str
    if transform == "log_squared":
        return _log_squared
    if transform == "hour_of_day":
        return lambda text: _hour(text, time_format)
    raise NotImplementedError(f"no peer is given fields by {transform!r}. Fix: add it here")


def _log_squared(text: str) -> str:
    """Bucket of a count; what is no number is missing."""
    try:
        count = float(text)
    except ValueError:
        return ""
    return str(math.floor(count) if count < 3 else int(math.log(count) ** 2) + 3)


def _hour(text: str, time_format: str) -> str:
    if time_format == "ms":
        return str(int(text) // 3_600_000 % 24)
    return str(datetime.strptime(text, time_format).replace(tzinfo=UTC).hour)
