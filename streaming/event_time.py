"""Event time: times and spans in words that people read, and whether the times of a log rise."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

__all__ = ["TimeOrder", "span", "stamp", "time_text"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_YEAR_10000_MS = 253_402_300_800_000


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


_NEAR = 16  # rows whose median is the time that the log has come to: one fast clock moves nothing
_HOUR_MS = 3_600_000
_NEVER = -(2**62)


class TimeOrder:
    """Counts the rows that are older than those before them.

    Parameters
    ----------
    slack_ms
        A row may be so much older, as of servers whose rows are collected.

    Attributes
    ----------
    rows, late
        Rows so far, and how many of them are older than that.
    furthest_ms
        By how much the log has gone back at most.

    Examples
    --------
    >>> order = TimeOrder(slack_ms=60_000)
    >>> order.add(np.arange(100, 0, -1) * 60_000)
    87
    >>> span(order.furthest_ms / 1000)
    '1 h 20 min'
    """

    def __init__(self, slack_ms: int = _HOUR_MS) -> None:
        self.slack_ms = slack_ms
        self.rows = self.late = self.furthest_ms = 0
        self._latest = _NEVER
        self._pending: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, times: NDArray[np.int64]) -> int:
        """Take note of the next rows, in order; how many more are known to be late."""
        self.rows += len(times)
        times = np.concatenate([self._pending, times])
        count = len(times) // _NEAR
        near, self._pending = times[: count * _NEAR].reshape(count, _NEAR), times[count * _NEAR :]
        if not count:
            return 0
        middles = np.partition(near, _NEAR // 2, axis=1)[:, _NEAR // 2]
        latest = np.maximum.accumulate(np.append(max(self._latest, middles[0]), middles))
        late = int(np.count_nonzero(near < latest[:-1, None] - self.slack_ms))
        self.furthest_ms = max(self.furthest_ms, int((latest[:-1] - middles).max()))
        self._latest = int(latest[-1])
        self.late += late
        return late
