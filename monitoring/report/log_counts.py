"""Counts any log for a report: windows of all, periods by slice, and model versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from features.errors import SourceError
from monitoring.report.attribution import faults_in
from monitoring.report.build import ReportCounts
from monitoring.report.model import FieldDrift, Share, VersionChange, VersionRow, with_figures
from monitoring.report.row_sample import RowSample
from monitoring.report.slices import OFF_NOTE, Period, periods_of
from monitoring.watch import formatting
from monitoring.watch.categorical import Categorical, cut_texts
from monitoring.watch.detect.alarm import Alarm, newest_alarms
from monitoring.watch.drift import Drift, field_drift, prediction_drift
from monitoring.watch.figures import figures_of
from monitoring.watch.formatting import WORDS, Words
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings
from monitoring.watch.slices import OTHER
from monitoring.watch.window import Terms, Window, closed_window
from monitoring.watch.windows import MOST_FIXED, ROW_STEPS, TIME_STEPS_MS, LogWindows
from streaming.sources.reader import ordered_map

__all__ = ["LogCounts", "LogDetector", "Places"]

_DETECTION = DetectSettings(
    overall_share=0.15, slices_share=0.75, moved_share=0.0, missing_share=0.1, delay_share=0.0,
    new_share=0.0, warmup_clicks=1000.0,
)  # fmt: skip
"""A model in a log need not learn on: what matters is whether it is calibrated."""
_WINDOWS, _PERIODS, _SHARES = 130, 14, 6
_LEAST_CLICKS = 50.0
_FREQUENT = 100
_LONGEST = 200


class Places:
    """Gives each value of a field a place for good, while there are any; the rest share one.

    A value that comes when all are taken gets one of as many more if it is frequent: it has a
    share of a batch's rows of which so many places would hold all.

    Parameters
    ----------
    room
        How many places.

    Attributes
    ----------
    full
        Whether some value found no place.

    Examples
    --------
    >>> places = Places(1)
    >>> codes, values = places(Categorical.of(pa.array(["a", "b", "a"])))
    >>> [values[code] for code in codes]
    ['a', '(other)', 'a']
    """

    def __init__(self, room: int) -> None:
        self.room, self.full = room, False
        self._words = pa.array([OTHER], pa.string())

    def __call__(self, coded: Categorical) -> Categorical:
        """The same rows, by the values that have places."""
        words = cut_texts(coded.words, _LONGEST)
        place = self._places_of(words)
        if (place < 0).any():
            self._add(words, coded, place)
            place = self._places_of(words)
            self.full |= bool((place < 0).any())
        return Categorical(np.maximum(place, 0)[coded.codes], self._words)

    @property
    def count(self) -> int:
        """Values that have a place."""
        return len(self._words) - 1

    def _places_of(self, words: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Place of each word, or -1."""
        found = pc.fill_null(pc.index_in(words, value_set=self._words), -1)
        return np.array(found.to_numpy(zero_copy_only=False), np.int32)

    def _add(
        self, words: pa.Array, coded: Categorical, place: np.ndarray[tuple[int], np.dtype[np.int32]]
    ) -> None:
        free = max(0, self.room + 1 - len(self._words))
        counts = np.where(place < 0, coded.counts(), 0)
        order = np.argsort(-counts, kind="stable")[: 2 * self.room + 1 - len(self._words)]
        frequent = max(_FREQUENT, len(coded.codes) / self.room)
        order = np.append(order[:free], [at for at in order[free:] if counts[at] >= frequent])
        order = order.astype(np.int64)
        new = words.take(pa.array(order[counts[order] > 0])).to_pylist()
        fresh = pa.array(list(dict.fromkeys(new)), pa.string())
        self._words = pa.concat_arrays([self._words, fresh])


_MOST = 16
_OTHERS = "(other versions)"
_END = 2**62


class Versions:
    """Counts by model version; the first :data:`_MOST` have figures of their own.

    Parameters
    ----------
    fields
        Slice fields.
    room
        Values of a field.
    """

    def __init__(self, fields: Sequence[str], room: int) -> None:
        self._fields, self._room = fields, room
        self._windows: dict[str, Window] = {}

    @property
    def names(self) -> list[str]:
        """By the time when each was first seen."""
        return sorted(self._windows, key=lambda name: self._windows[name].start_ms)

    def add(self, scored: Scored, terms: Terms) -> None:
        """Count a batch; nothing is done where its rows have no version."""
        version = scored.version
        if version is None:
            return
        for code in np.unique(version.codes).tolist():
            rows = np.flatnonzero(version.codes == code)
            window = self._window(version, code)
            window.add(scored, terms, rows)
            times = scored.time_ms[rows]
            window.start_ms = min(window.start_ms, int(times.min()))
            window.end_ms = max(window.end_ms, int(times.max()))

    def _window(self, version: Categorical, code: int) -> Window:
        name = version.words[code].as_py()
        if name not in self._windows and len(self._windows) >= _MOST:
            name = _OTHERS
        if name not in self._windows:
            self._windows[name] = Window(_END, 0, self._fields, self._room)
        return self._windows[name]

    def periods(self) -> list[Period]:
        """Rows of the slice grid."""
        windows = ((name, closed_window(self._windows[name])) for name in self.names)
        return [
            Period.of([window], window.start_ms, window.end_ms, name) for name, window in windows
        ]

    def changes(self, start: int) -> list[VersionChange]:
        """When each but the first began; none before a time."""
        names = [name for name in self.names if name != _OTHERS]
        return [
            VersionChange(max(start, self._windows[name].start_ms), name, before)
            for before, name in pairwise(names)
        ]

    def rows(self) -> list[VersionRow]:
        """Rows of the version table, the newest first."""
        names = reversed(self.names)
        return [with_figures(VersionRow, self._windows[n].figures(), name=n) for n in names]


def field_drifts(
    reference: Sequence[Window], current: Sequence[Window], fields: Sequence[str]
) -> list[FieldDrift]:
    """Drift of each field and of the predictions.

    Parameters
    ----------
    reference, current
        Windows from which, and to which.
    fields
        Their slice fields.
    """
    parts = reference, current
    was, now = (np.sum([w.histogram[:, :2].sum(1) for w in part], axis=0) for part in parts)
    drifts: list[tuple[str, Drift | None, float, float, tuple[Share, ...]]] = []
    drifts.append(("predictions", prediction_drift(was, now), was.sum(), now.sum(), ()))
    for field in fields:
        one, two = (_counts(part, field) for part in parts)
        drifts.append((field, field_drift(one, two), one.total(), two.total(), _shares(one, two)))
    return [
        FieldDrift(name, drift.psi, drift.jensen_shannon, int(before), int(after), shares)
        for name, drift, before, after, shares in drifts
        if drift is not None
    ]


def _counts(windows: Sequence[Window], field: str) -> Counter[str]:
    counts = Counter[str]()
    for window in windows:
        counts.update({value: int(n) for value, n in window.counts(field).items()})
    return counts


def _shares(before: Counter[str], after: Counter[str]) -> tuple[Share, ...]:
    """Values whose share moved most."""
    n, m = before.total() or 1, after.total() or 1
    shares = [Share(value, before[value] / n, after[value] / m) for value in before | after]
    shares.sort(key=lambda share: (-abs(share.after - share.before), share.value))
    return tuple(share for share in shares[:_SHARES] if share.before or share.after)


class LogCounts:
    """Counts batches in bounded memory; they may come in any order of time.

    Parameters
    ----------
    fields
        Slice fields.
    axis
        ``time``, or ``row`` where times are row numbers.
    window
        Length of a window, in ms or rows; chosen if not given.
    room
        Values of a field that are counted by themselves; later ones share ``(other)``.

    Examples
    --------
    >>> counts = LogCounts((), "row")
    >>> counts.update(Scored.of([0, 1], [0.1, 0.4]))
    >>> counts.gathered("a log").windows[0].end
    100
    """

    def __init__(
        self,
        fields: Sequence[str],
        axis: Literal["time", "row"],
        *,
        window: int | None = None,
        room: int = 1000,
    ) -> None:
        self.fields, self.axis = tuple(fields), axis
        steps = TIME_STEPS_MS if axis == "time" else ROW_STEPS
        self._windows = LogWindows((), (window,) if window else steps, _WINDOWS, 1)
        self._periods = LogWindows(self.fields, steps, _PERIODS, room)
        self._places = {field: Places(room) for field in self.fields}
        self._sample = RowSample(self.fields, np.random.default_rng(0))
        self._versions = Versions(self.fields, room)

    def update(self, scored: Scored) -> None:
        """Count a batch."""
        if not len(scored):
            return
        terms = Terms.of(scored)
        placed = {field: self._places[field](scored.slices[field]) for field in self.fields}
        rows = replace(scored, slices=placed)
        self._windows.add(rows, terms)
        self._periods.add(rows, terms)
        self._versions.add(rows, terms)
        self._sample.add(scored, placed)

    def gathered(self, source: str, reference: LogCounts | None = None) -> ReportCounts:
        """Everything counted.

        Parameters
        ----------
        source
            Name of the log.
        reference
            Counts of what fields are compared with; by default the first third of the log is
            compared with the last.

        Raises
        ------
        SourceError
            There was no row.
        """
        if self.is_empty:
            raise SourceError(f"{source}: no row can be used. Fix: give a log with at least one")
        start, end, aside = self._settled()
        if reference is not None:
            reference._settled()
        windows, periods = list(self._windows.series), list(self._periods.series)
        return ReportCounts(
            source=source,
            windows=periods_of(self._windows.closed(), MOST_FIXED, self.axis),
            histogram=np.sum([window.histogram for window in windows], axis=0),
            axis=self.axis,
            periods=periods_of(self._periods.closed(), MOST_FIXED, self.axis),
            by_version=self._versions.periods(),
            faults=faults_in(self._sample.rows(start, end)),
            drift=self._drift(periods, reference),
            compared_with="" if reference is None else reference._as_reference(),
            version_changes=self._versions.changes(start),
            versions=self._versions.rows(),
            notes=self._notes(aside, start, end),
        )

    def _settled(self) -> tuple[int, int, int]:
        """Where the log is, by its usual times, and how many rows were set aside for theirs."""
        start, end = self._windows.usual_times()
        aside = self._windows.settle(start, end, _LEAST_CLICKS)
        self._periods.settle(start, end)
        return start, end, aside

    def _drift(self, periods: list[Window], reference: LogCounts | None) -> list[FieldDrift]:
        if reference is not None:
            return field_drifts(list(reference._periods.series), periods, self.fields)
        third = max(1, len(periods) // 3)
        few = len(periods) < 2
        return [] if few else field_drifts(periods[:third], periods[-third:], self.fields)

    @property
    def is_empty(self) -> bool:
        """Whether no row was counted."""
        return not self._windows.series.by_number

    def _as_reference(self) -> str:
        """How many rows it has, and how they were calibrated."""
        figures = figures_of(np.sum([window.sums for window in self._windows.series], axis=0))
        span = formatting.interval(figures.calibration_low, figures.calibration_high)
        ratio = formatting.ratio(figures.calibration_ratio)
        return f"{figures.count:,} rows of reference (calibration ratio {ratio}, {span})"

    def _notes(self, aside: int, start: int, end: int) -> list[str]:
        notes = [
            f"{field}: {places.count:,} values are counted by themselves; the others are (other)."
            for field, places in self._places.items()
            if places.full
        ]
        notes += [OFF_NOTE] if self.fields else []
        if aside:
            rows = "1 row has a time" if aside == 1 else f"{aside:,} rows have times"
            span = f"{formatting.day_and_time(start)} to {formatting.day_and_time(end)} UTC"
            notes.append(f"{rows} far from all others ({span}), and no part in windows and slices.")
        return notes


class LogDetector:
    """The stream's own detectors, told of a log row by row in the thread beside the counting one.

    Parameters
    ----------
    words
        That alarms are told in.

    Examples
    --------
    >>> LogDetector().alarms()
    []
    """

    def __init__(self, words: Words = WORDS["click"]) -> None:
        from monitoring.watch.detect.detector import SequentialDetector  # kernels load slowly

        self._detector, self._words = SequentialDetector(_DETECTION, words), words
        self._alarms: list[Alarm] = []
        self._newest = np.iinfo(np.int64).min
        self.in_order = True

    def beside(self, batches: Generator[tuple[Scored, int]]) -> Generator[tuple[Scored, int]]:
        """The same batches, once they have been looked at."""
        with closing(ordered_map(self._look, batches, workers=1, in_flight=3)) as looked:
            yield from looked

    def _look(self, batch: tuple[Scored, int]) -> tuple[Scored, int]:
        times = batch[0].time_ms
        if len(times) and self.in_order:
            self.in_order = bool(times[0] >= self._newest and (np.diff(times) >= 0).all())
            self._newest = times[-1]
        if len(times) and self.in_order:
            self._alarms += self._detector.update(batch[0])
        return batch

    def alarms(self) -> list[Alarm]:
        """What was found; nothing where the log is not in order of time."""
        alarms = newest_alarms(self._alarms) if self.in_order else []
        return [structs.replace(alarm, number=n, opening=n) for n, alarm in enumerate(alarms)]

    def note(self) -> str:
        """What is to be said of it in the report."""
        if not self.in_order:
            return "Alarms were not looked for: the log is not in order of time."
        clicks = f"{_DETECTION.false_alarm_clicks:,.0f} {self._words.clicks}"
        return f"Alarms: all tests together raise at most one false alarm in {clicks}."
