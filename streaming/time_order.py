"""Whether the times of a log rise: what is told where they do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TimeOrder", "span_text"]

_NEAR = 32  # rows whose median is the time that the log has come to: one fast clock moves nothing
_HOUR_MS = 3_600_000


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
    83
    >>> span_text(order.furthest_ms)
    '1 h 22 min'
    """

    def __init__(self, slack_ms: int = _HOUR_MS) -> None:
        self.slack_ms = slack_ms
        self.rows = self.late = self.furthest_ms = 0
        self._latest: int | None = None

    def add(self, times: NDArray[np.int64]) -> int:
        """Take note of the next rows, in order; how many of them are late."""
        late = 0
        for start in range(0, len(times), _NEAR):
            near = times[start : start + _NEAR]
            middle = int(np.partition(near, len(near) // 2)[len(near) // 2])
            if self._latest is None:
                self._latest = middle
            late += int(np.count_nonzero(near < self._latest - self.slack_ms))
            self.furthest_ms = max(self.furthest_ms, self._latest - middle)
            self._latest = max(self._latest, middle)
        self.rows += len(times)
        self.late += late
        return late


def span_text(ms: int) -> str:
    """A length of time for people.

    Examples
    --------
    >>> span_text(30_000), span_text(90_061_000)
    ('30 s', '1 d 1 h')
    """
    parts, rest = [], ms // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        number, rest = divmod(rest, size)
        parts += [f"{number} {unit}"] if number or (unit == "s" and not parts) else []
    return " ".join(parts[:2])
