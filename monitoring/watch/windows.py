"""Windows of event time, of a stream, where they close in order, and of a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ClicktideError
from monitoring.watch import figures as k
from monitoring.watch.drift import Drift, field_drift, prediction_drift
from monitoring.watch.frequent_values import HeavyHitters
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.window import ClosedWindow, Terms, Window, closed_window

__all__ = [
    "MOST_FIXED", "PREDICTION", "ROW_STEPS", "TIME_STEPS_MS", "LogWindows", "WindowSeries",
    "Windows",
]  # fmt: skip

PREDICTION = "(prediction)"
_FIRST_MS, _LONGEST_MS = 60_000, 60_000 << 10
_JUDGED = 4
_HITTERS = 4
_FADE = 0.9


class WindowSeries:
    """Windows of one length by the number of their stretch of time; they may become longer.

    Parameters
    ----------
    width
        Length of a window.
    make
        Makes a window, given its start and end.

    Attributes
    ----------
    floor
        No window begins before this time.

    Examples
    --------
    >>> from monitoring.watch.scored_batch import Scored
    >>> rows = Scored.of([0, 1, 0], [0.1, 0.4, 0.2], time_ms=[0, 900, 1500])
    >>> series = WindowSeries(1000, lambda start, end: Window(start, end, (), room=1))
    >>> series.add(rows, Terms.of(rows))
    >>> [window.figures().count for window in series]
    [2, 1]
    >>> series.widen(5000)
    >>> [(window.end_ms, window.figures().count) for window in series]
    [(5000, 3)]
    """

    def __init__(self, width: int, make: Callable[[int, int], Window]) -> None:
        self.width, self._make = width, make
        self.floor: int | None = None
        self.by_number: dict[int, Window] = {}

    def __iter__(self) -> Iterator[Window]:
        """Oldest first; stretches without rows have none."""
        return (self.by_number[at] for at in sorted(self.by_number))

    def add(self, scored: Scored, terms: Terms, rows: NDArray[np.int64] | None = None) -> None:
        """Count rows of a batch; ``None``: all."""
        rows = np.arange(len(scored)) if rows is None else rows
        number = scored.time_ms[rows] // self.width
        if not len(rows):
            return
        if (number == number[0]).all():
            self._window(int(number[0])).add(scored, terms, rows)
            return
        order = np.argsort(number, kind="stable")
        numbers, starts = np.unique(number[order], return_index=True)
        for at, part in zip(numbers.tolist(), np.split(rows[order], starts[1:]), strict=True):
            self._window(at).add(scored, terms, part)

    def _window(self, at: int) -> Window:
        if at not in self.by_number:
            self.by_number[at] = self._make(*self._stretch(at))
        return self.by_number[at]

    def _stretch(self, at: int) -> tuple[int, int]:
        start = at * self.width
        return start if self.floor is None else max(start, self.floor), start + self.width

    def widen(self, width: int) -> None:
        """Put windows together to such of another length, of which the old one is a part."""
        windows, wider = list(self), dict[int, Window]()
        self.width, self.by_number = width, wider
        for window in windows:
            at = window.start_ms // width
            if at in wider:
                wider[at].merge(window)
            else:
                wider[at] = window
            wider[at].start_ms, wider[at].end_ms = self._stretch(at)


class Windows:
    """Counts batches into windows of event time.

    Rows may come in any order; those of a window that has closed are counted in ``after_close``
    only. Memory is bounded whatever the values are: ``values_per_field`` places a field in each
    open window, and :class:`HeavyHitters` of four times as many values a field between windows.

    Parameters
    ----------
    fields
        Names of the slice fields, which every batch has.
    settings
        Length of a window, and bounds.
    on_close
        Takes each window when it closes, in order of time.

    Attributes
    ----------
    after_close
        Rows that came for windows that had closed, late clicks included.
    time_ms
        The latest event time.

    Examples
    --------
    >>> rows = Scored.of([0, 1, 0], [0.1, 0.4, 0.2], time_ms=[0, 500, 9000])
    >>> closed = []
    >>> windows = Windows([], WindowSettings(window_s=1, lateness_s=5), closed.append)
    >>> windows.update(rows)
    >>> [(window.start_ms, window.overall.count) for window in closed]
    [(0, 2)]
    """

    def __init__(
        self,
        fields: Sequence[str],
        settings: WindowSettings,
        on_close: Callable[[ClosedWindow], None] = lambda _: None,
    ) -> None:
        self.fields, self.settings, self.on_close = list(fields), settings, on_close
        self._open = WindowSeries(round(settings.window_s * 1000) or _FIRST_MS, self._new)
        self.time_ms = 0
        self.after_close = 0
        self.closed_to_ms = 0
        self.reference: Window | None = None
        self._in_reference = 0
        self._shown: dict[tuple[int, ...], ClosedWindow] = {}
        self._judged: list[float] = []
        most = _HITTERS * settings.values_per_field
        self._frequent = {field: HeavyHitters(most) for field in self.fields}

    # ---- counting

    @property
    def window_ms(self) -> int:
        """Present length of a window."""
        return self._open.width

    def update(self, scored: Scored, terms: Terms | None = None) -> None:
        """Count a batch, and close the windows whose time has passed.

        Parameters
        ----------
        scored
            The rows.
        terms
            What they add, if it was worked out already.
        """
        if not len(scored):
            return
        for field, frequent in self._frequent.items():
            coded = scored.slices[field]
            frequent.add(coded.words, coded.counts(), coded.hashes)
        in_time = np.flatnonzero(scored.time_ms >= self.closed_to_ms)
        self.after_close += len(scored) - len(in_time)
        self._open.add(scored, terms or Terms.of(scored), in_time)
        self.time_ms = max(self.time_ms, int(scored.time_ms.max()))
        self.close(self.time_ms - round(self.settings.lateness_s * 1000))

    def close(self, to_ms: int | None = None) -> None:
        """Close the windows that end by then; all, if no time is given."""
        for at in sorted(self._open.by_number):
            window = self._open.by_number.get(at)  # gone, if windows have become longer meanwhile
            if window is not None and (to_ms is None or window.end_ms <= to_ms):
                self._close(at)

    def _new(self, start: int, end: int) -> Window:
        room = self.settings.values_per_field
        # some places are left for values that are new in this window
        expected = {f: values.top(room * 3 // 4) for f, values in self._frequent.items()}
        return Window(start, end, self.fields, room, expected)

    def _close(self, at: int) -> None:
        window = self._open.by_number.pop(at)
        self.closed_to_ms = self._open.floor = window.end_ms
        self.on_close(closed_window(window, self.drift(window)))
        for frequent in self._frequent.values():
            frequent.fade(_FADE)
        if self._in_reference < self.settings.reference_windows:
            if self.reference is None:
                self.reference = Window.restored(window.state())
            else:
                self.reference.merge(window)
            self._in_reference += 1
        self._judge(window)

    def drift(self, window: Window) -> dict[str, Drift]:
        """Each field and the prediction against the reference, once that is whole."""
        reference = self.reference
        if reference is None or self._in_reference < self.settings.reference_windows:
            return {}
        before, after = (w.histogram[:, :2].sum(axis=1) for w in (reference, window))
        drifts = {PREDICTION: prediction_drift(before, after)}
        for field in self.fields:
            drifts[field] = field_drift(
                reference.counts(field), window.counts(field), all_told=not window.is_full(field)
            )
        return {name: drift for name, drift in drifts.items() if drift is not None}

    def _judge(self, window: Window) -> None:
        """Windows become longer while they have too few clicks."""
        if self.settings.window_s or self.window_ms >= _LONGEST_MS:
            return
        self._judged.append(float(window.sums[k.CLICKS]))
        if len(self._judged) < _JUDGED:
            return
        if sum(self._judged) < self.settings.least_clicks * len(self._judged):
            self._open.widen(2 * self.window_ms)
        self._judged.clear()

    # ---- reading and keeping

    def open_windows(self) -> list[ClosedWindow]:
        """Windows that late clicks may still change, oldest first, as they are now."""
        known, self._shown = self._shown, {}
        for window in self._open:
            key = window.start_ms, window.end_ms, window.changes, self._in_reference
            self._shown[key] = known.get(key) or closed_window(
                window, self.drift(window), final=False
            )
        return list(self._shown.values())

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "fields": self.fields,
            "window_ms": self.window_ms,
            "time_ms": self.time_ms,
            "after_close": self.after_close,
            "closed_to_ms": self.closed_to_ms,
            "in_reference": self._in_reference,
            "judged": list(self._judged),
            "reference": None if self.reference is None else self.reference.state(),
            "open": [[at, window.state()] for at, window in self._open.by_number.items()],
            "frequent": {field: values.state() for field, values in self._frequent.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave for the same fields."""
        self._open.width, self.time_ms = state["window_ms"], state["time_ms"]
        self.after_close = state["after_close"]
        self.closed_to_ms = self._open.floor = state["closed_to_ms"]
        self._in_reference, self._judged = state["in_reference"], list(state["judged"])
        reference = state["reference"]
        self.reference = None if reference is None else Window.restored(reference)
        self._open.by_number = {int(at): Window.restored(of) for at, of in state["open"]}
        for field, values in self._frequent.items():
            values.restore(state["frequent"][field])


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
