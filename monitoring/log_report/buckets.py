"""Windows that become wider as a log turns out longer: a bounded number of them, whole units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.errors import ClicktideError
from monitoring.scored import Scored
from monitoring.windows.window import Terms, Window

__all__ = ["ROW_STEPS", "TIME_STEPS_MS", "Buckets"]

_SECONDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200)
_DAYS = (1, 7, 28, 84, 336, 3360, 33_600)
TIME_STEPS_MS = tuple(1000 * s for s in (*_SECONDS, *(86_400 * d for d in _DAYS)))
"""Widths in time; each divides the next."""
ROW_STEPS = tuple(int(f"{step}{'0' * zeros}") for zeros in range(2, 15) for step in (1, 5))
"""Widths in rows; each divides the next."""
_MOST_FIXED = 2_000


@dataclass
class Buckets:
    """Windows by number of their stretch.

    Parameters
    ----------
    fields
        Slice fields of each window.
    steps
        Widths to choose from, rising; each divides the next.
    most
        Windows at most; a log of more gets the next width. A single width is fixed.
    room
        Values of a field in a window.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from monitoring.scored import TableColumns, scored_table
    >>> table = pa.table({"y": [0, 1, 0], "p": [0.1, 0.4, 0.2], "t": [0, 900, 60_000]})
    >>> rows, _ = scored_table(table, TableColumns("y", "p", time="t", time_format="ms"))
    >>> buckets = Buckets((), TIME_STEPS_MS, most=20, room=10)
    >>> buckets.add(rows, Terms.of(rows))
    >>> buckets.width, [(w.start_ms, w.figures().count) for w in buckets.windows()]
    (5000, [(0, 2), (60000, 1)])
    """

    fields: Sequence[str]
    steps: Sequence[int]
    most: int
    room: int

    def __post_init__(self) -> None:
        self.width = self.steps[0]
        self._rest = list(self.steps[1:])
        self._at: dict[int, Window] = {}

    def add(self, scored: Scored, terms: Terms) -> None:
        """Count a batch; its slices must be of the fields."""
        if not len(scored):
            return
        self._fit(int(scored.time_ms.min()), int(scored.time_ms.max()))
        number = scored.time_ms // self.width
        if number[0] == number[-1] and (number == number[0]).all():
            self._window(int(number[0])).add(scored, terms, np.arange(len(scored)))
            return
        order = np.argsort(number, kind="stable")
        found, starts = np.unique(number[order], return_index=True)
        for at, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            self._window(at).add(scored, terms, rows)

    def windows(self) -> list[Window]:
        """All of them, oldest first; stretches without rows have none."""
        return [self._at[at] for at in sorted(self._at)]

    def _window(self, at: int) -> Window:
        if at not in self._at:
            start = at * self.width
            self._at[at] = Window(start, start + self.width, self.fields, self.room)
        return self._at[at]

    def _fit(self, low: int, high: int) -> None:
        """Make the windows wide enough for these times too."""
        if self._at:
            low = min(low, min(self._at) * self.width)
            high = max(high, max(self._at) * self.width)
        while high // self.width - low // self.width >= self.most and self._rest:
            self._widen()
        if high // self.width - low // self.width >= max(self.most, _MOST_FIXED):
            raise ClicktideError(
                f"the log has more than {_MOST_FIXED:,} windows of the length given. "
                "Fix: give a longer --window, or leave it out"
            )

    def _widen(self) -> None:
        self.width = self._rest.pop(0)
        wider: dict[int, Window] = {}
        for _, window in sorted(self._at.items()):
            at = window.start_ms // self.width
            if at in wider:
                wider[at].merge(window)
            else:
                wider[at] = window
            wider[at].start_ms, wider[at].end_ms = at * self.width, (at + 1) * self.width
        self._at = wider
