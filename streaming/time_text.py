"""Times and lengths of time in words that people read, and the wall clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["now_ms", "span", "stamp", "time_text"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_YEAR_10000_MS = 253_402_300_800_000


def now_ms() -> int:
    """Wall-clock time in ms since 1970."""
    return time.time_ns() // 1_000_000


def span(seconds: float | None) -> str:
    """A length of time, in its two largest units.

    Examples
    --------
    >>> span(0.25), span(75), span(90_000), span(-3600)
    ('250 ms', '1 min 15 s', '1 d 1 h', '−1 h')
    """
    if seconds is None:
        return "–"
    if seconds < 0:
        return f"−{span(-seconds)}"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts)


def time_text(ms: float, form: str) -> str:
    """A time of the log in words, UTC; whatever no calendar has, as the number that it is.

    Parameters
    ----------
    ms
        Any int64: logs and their states hold wrong clocks, and marks of "no time yet".
    form
        Of a datetime, for :meth:`str.format`.

    Examples
    --------
    >>> time_text(0, "{0.day} {0:%b %Y}"), time_text(-(1 << 62), "{0.day} {0:%b %Y}")
    ('1 Jan 1970', '-4611686018427387904 ms')
    """
    if not 0 <= ms < _YEAR_10000_MS:
        return f"{ms} ms"
    return form.format(datetime.fromtimestamp(ms // 1000, UTC))


def stamp(ms: float) -> str:
    """A time in full, UTC.

    Examples
    --------
    >>> stamp(0), stamp(1_500)
    ('1970-01-01 00:00:00', '1970-01-01 00:00:01')
    """
    return time_text(ms, "{0:%Y-%m-%d %H:%M:%S}")
