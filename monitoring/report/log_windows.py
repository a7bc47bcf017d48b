"""Windows of a log: as long as it needs, in whatever order its rows are, however far some are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.errors import ClicktideError
from monitoring.watch import figures as k
from monitoring.watch.closed_window import ClosedWindow, closed_window
from monitoring.watch.scored_batch import Scored
from monitoring.watch.window import Terms, Window
from monitoring.watch.windows import WindowSeries

__all__ = ["MOST_FIXED", "ROW_STEPS", "TIME_STEPS_MS", "LogWindows"]

_SECONDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200)
_DAYS = (1, 7, 28, 84, 336, 3360, 33_600)
TIME_STEPS_MS = tuple(1000 * s for s in (*_SECONDS, *(86_400 * d for d in _DAYS)))
"""Widths in time; each divides the next."""
ROW_STEPS = tuple(int(f"{step}{'0' * zeros}") for zeros in range(2, 15) for step in (1, 5))
"""Widths in rows; each divides the next."""
MOST_FIXED = 2_000
"""Windows of a length that the user gave."""
_LEAST_WINDOWS = 8
_FAR = 3.0


class LogWindows:
    """Windows that become longer as a log turns out longer: a bounded number, of whole units.

    Parameters
    ----------
    fields
        Slice fields of each window.
    steps
        Lengths to choose from, rising; each divides the next.
    most
        Windows at most; a log of more gets the next length. A single length is fixed.
    room
        Values of a field in a window.

    Examples
    --------
    >>> rows = Scored.of([0, 1, 0], [0.1, 0.4, 0.2], time_ms=[0, 900, 60_000])
    >>> windows = LogWindows((), TIME_STEPS_MS, most=20, room=10)
    >>> windows.add(rows, Terms.of(rows))
    >>> windows.settle(*windows.usual_times())
    0
    >>> [(window.start_ms, window.end_ms, window.overall.count) for window in windows.closed()]
    [(0, 5000, 2), (60000, 65000, 1)]
    """

    def __init__(self, fields: Sequence[str], steps: Sequence[int], most: int, room: int) -> None:
        self.most, self._longer = most, list(steps[1:])
        self.series = WindowSeries(steps[0], lambda start, end: Window(start, end, fields, room))

    def add(self, scored: Scored, terms: Terms) -> None:
        """Count a batch; its slices must be of the fields."""
        self._fit(scored.time_ms)
        self.series.add(scored, terms)

    def closed(self) -> list[ClosedWindow]:
        """All of them, oldest first; stretches without rows have none."""
        return [closed_window(window) for window in self.series]

    def _fit(self, times: NDArray[np.int64]) -> None:
        """Make the windows long enough for these times too.

        Only windows with rows count, so one time far from all others makes none longer.
        """
        count = self._with(times)
        while count > self.most and self._longer:
            self.series.widen(self._longer.pop(0))
            count = self._with(times)
        if count > max(self.most, MOST_FIXED):
            raise ClicktideError(
                f"the log has more than {MOST_FIXED:,} windows of the length given. "
                "Fix: give a longer --window, or leave it out"
            )

    def _with(self, times: NDArray[np.int64]) -> int:
        """How many windows have rows, with those of some times."""
        numbers = np.unique(times // self.series.width).tolist()
        return len(self.series.by_number.keys() | set(numbers))

    def usual_times(self) -> tuple[int, int]:
        """Where the log is: what is further from its middle 98 % than three times as long as that.

        Returns
        -------
        start, end
            Of the first window that is usual, and of the last.
        """
        windows = list(self.series)
        rows = np.cumsum([window.sums[k.COUNT] for window in windows])
        first, last = np.searchsorted(rows, (0.01 * rows[-1], 0.99 * rows[-1]))
        low, high = windows[first].start_ms, windows[min(last, len(windows) - 1)].end_ms
        room = _FAR * (high - low)
        usual = [w for w in windows if w.end_ms >= low - room and w.start_ms <= high + room]
        return usual[0].start_ms, usual[-1].end_ms

    def settle(self, start: int, end: int, least_clicks: float = 0.0) -> int:
        """Set aside the windows of other times, and have few enough, of clicks enough.

        Returns
        -------
        aside
            Rows set aside.
        """
        series, aside = self.series, 0
        for at, window in list(series.by_number.items()):
            if window.end_ms <= start or window.start_ms >= end:
                aside += int(series.by_number.pop(at).sums[k.COUNT])
        clicks = sum(float(window.sums[k.CLICKS]) for window in series)
        while self._longer:
            long = (end - 1) // series.width - start // series.width >= self.most
            poor = clicks < least_clicks * len(series.by_number)
            poor = poor and (end - start) // self._longer[0] >= _LEAST_WINDOWS
            if not (long or poor):
                break
            series.widen(self._longer.pop(0))
        return aside
