"""Whether the event times of a log rise: how many rows are older than those before them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TimeOrder"]

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
    >>> order.furthest_ms // 60_000
    80
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
