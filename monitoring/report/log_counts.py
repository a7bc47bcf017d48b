"""Counts any log for a report: windows of all, periods by slice, and model versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ClicktideError, SourceError
from monitoring.coded import Coded
from monitoring.report.build import Gathered, Period, Stretch
from monitoring.report.model import Drift, Share, Version, VersionChange
from monitoring.watch import figures as k
from monitoring.watch.drift import field_drift, prediction_drift
from monitoring.watch.scored import Scored
from monitoring.watch.slices import OTHER
from monitoring.watch.window import Terms, Window
from streaming.event_time import time_text

__all__ = [
    "ROW_STEPS", "TIME_STEPS_MS", "Buckets", "LogTally", "Places", "Versions", "between",
    "period_name",
]  # fmt: skip

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
    >>> from monitoring.watch.scored import TableColumns, scored_table
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


_LONGEST = 200


class Places:
    """Gives each value of a field a place for good, while there are any; the rest share one.

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
    >>> codes, values = places(Coded.of(pa.array(["a", "b", "a"])))
    >>> [values[code] for code in codes]
    ['a', '(other)', 'a']
    """

    def __init__(self, room: int) -> None:
        self.room, self.full = room, False
        self._words = pa.array([OTHER], pa.string())

    def __call__(self, coded: Coded) -> Coded:
        """The same rows, by the values that have places."""
        words = _short(coded.words)
        place = self._known(words)
        if (place < 0).any():
            self._add(words, coded, place)
            place = self._known(words)
            self.full |= bool((place < 0).any())
        return Coded(np.maximum(place, 0)[coded.codes], self._words)

    def _known(self, words: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Place of each word, or -1."""
        found = pc.fill_null(pc.index_in(words, value_set=self._words), -1)
        return np.array(found.to_numpy(zero_copy_only=False), np.int32)

    def _add(
        self, words: pa.Array, coded: Coded, place: np.ndarray[tuple[int], np.dtype[np.int32]]
    ) -> None:
        free = self.room + 1 - len(self._words)
        if free <= 0:
            return
        counts = np.where(place < 0, coded.counts(), 0)
        order = np.argsort(-counts, kind="stable")[:free]
        new = words.take(pa.array(order[counts[order] > 0])).to_pylist()
        fresh = pa.array(list(dict.fromkeys(new)), pa.string())
        self._words = pa.concat_arrays([self._words, fresh])


def _short(words: pa.Array) -> pa.Array:
    """Texts nobody would read to their end are cut."""
    if len(words) and (pc.max(pc.binary_length(words)).as_py() or 0) > _LONGEST:
        return pc.utf8_slice_codeunits(words, 0, _LONGEST)
    return words


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

    def _window(self, version: Coded, code: int) -> Window:
        name = version.words[code].as_py()
        if name not in self._windows and len(self._windows) >= _MOST:
            name = _OTHERS
        if name not in self._windows:
            self._windows[name] = Window(_END, 0, self._fields, self._room)
        return self._windows[name]

    def periods(self) -> list[Period]:
        """Rows of the slice grid."""
        return [Period(name, _sums(self._windows[name])) for name in self.names]

    def changes(self) -> list[VersionChange]:
        """When each but the first began."""
        names = [name for name in self.names if name != _OTHERS]
        return [
            VersionChange(self._windows[name].start_ms, name, before)
            for before, name in pairwise(names)
        ]

    def rows(self) -> list[Version]:
        """Rows of the version table, the newest first."""
        return [self._row(name) for name in reversed(self.names)]

    def _row(self, name: str) -> Version:
        f = self._windows[name].figures()
        return Version(
            name,
            count=f.count,
            ratio=f.calibration_ratio,
            low=f.calibration_low,
            high=f.calibration_high,
            normalised_entropy=f.normalised_entropy,
        )


def _sums(window: Window) -> dict[str, dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]]:
    return {
        field: {value: window.slot_sums[slot] for value, slot in places.items()}
        for field, places in window.values.items()
    }


_SHARES = 6
_DAY_MS = 86_400_000


def between(periods: Sequence[Window], fields: Sequence[str]) -> list[Drift]:
    """Drift of each field and of the predictions, from the first third to the last.

    Parameters
    ----------
    periods
        Windows of a log, oldest first; with fewer than two there is nothing to compare.
    fields
        Their slice fields.
    """
    third = max(1, len(periods) // 3)
    before, after = periods[:third], periods[-third:]
    if len(periods) < 2:
        return []
    was, now = (
        np.sum([w.histogram[:, :2].sum(1) for w in part], axis=0) for part in (before, after)
    )
    found = [_field_drift("predictions", prediction_drift(was, now), was.sum(), now.sum(), ())]
    for field in fields:
        one, two = _counts(before, field), _counts(after, field)
        drift = field_drift(one, two)
        found.append(
            _field_drift(field, drift, sum(one.values()), sum(two.values()), _shares(one, two))
        )
    return [drift for drift in found if drift is not None]


def _field_drift(
    name: str, drift: object, before: float, after: float, shares: tuple[Share, ...]
) -> Drift | None:
    if drift is None:
        return None
    psi, js = getattr(drift, "psi", None), getattr(drift, "jensen_shannon", None)
    return Drift(name, psi, js, int(before), int(after), shares)


def _counts(windows: Sequence[Window], field: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for window in windows:
        for value, slot in window.values[field].items():
            counts[value] = counts.get(value, 0.0) + float(window.slot_sums[slot, k.COUNT])
    return counts


def _shares(before: dict[str, float], after: dict[str, float]) -> tuple[Share, ...]:
    """Values whose share moved most."""
    n, m = sum(before.values()) or 1.0, sum(after.values()) or 1.0
    shares = [
        Share(value, before.get(value, 0.0) / n, after.get(value, 0.0) / m)
        for value in before.keys() | after.keys()
    ]
    shares.sort(key=lambda share: (-abs(share.after - share.before), share.value))
    return tuple(share for share in shares[:_SHARES] if share.before or share.after)


def period_name(window: Window, axis: str) -> str:
    """Name of a row of the slice grid.

    Examples
    --------
    >>> period_name(Window(0, 3_600_000, (), 1), "time"), period_name(Window(0, 500, (), 1), "row")
    ('1 Jan 00:00', 'from row 1')
    """
    if axis == "row":
        return f"from row {window.start_ms + 1:,}"
    long = window.end_ms - window.start_ms >= _DAY_MS
    return time_text(window.start_ms, "{0.day} {0:%b %Y}" if long else "{0.day} {0:%b %H:%M}")


_WINDOWS, _PERIODS = 130, 14
Sums = NDArray[np.float64]


class LogTally:
    """Counts batches in bounded memory; they may come in any order of time.

    Parameters
    ----------
    fields
        Slice fields.
    axis
        ``time``, or ``row`` where times are row numbers.
    window
        Width of a window, in ms or rows; chosen if not given.
    room
        Values of a field that are counted by themselves; later ones share ``(other)``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from monitoring.watch.scored import TableColumns, scored_table
    >>> rows, _ = scored_table(pa.table({"y": [0, 1], "p": [0.1, 0.4]}), TableColumns("y", "p"))
    >>> tally = LogTally((), "row")
    >>> tally.update(rows)
    >>> tally.gathered("a log").stretches[0].end
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
        self.events = 0
        self._windows = Buckets((), (window,) if window else steps, _WINDOWS, 1)
        self._periods = Buckets(self.fields, steps, _PERIODS, room)
        self._places = {field: Places(room) for field in self.fields}
        self._versions = Versions(self.fields, room)

    def update(self, scored: Scored) -> None:
        """Count a batch."""
        if not len(scored):
            return
        self.events += len(scored)
        terms = Terms.of(scored)
        placed: Mapping[str, Coded] = {
            field: self._places[field](scored.slices[field]) for field in self.fields
        }
        rows = replace(scored, slices=placed)
        self._windows.add(rows, terms)
        self._periods.add(rows, terms)
        self._versions.add(rows, terms)

    def gathered(self, source: str) -> Gathered:
        """Everything counted.

        Raises
        ------
        SourceError
            There was no row.
        """
        windows, periods = self._windows.windows(), self._periods.windows()
        if not windows:
            raise SourceError(f"{source}: no row can be used. Fix: give a log with at least one")
        named = [Period(period_name(p, self.axis), _seen_sums(p), p.start_ms) for p in periods]
        return Gathered(
            source=source,
            stretches=[Stretch(w.start_ms, w.end_ms, w.sums) for w in windows],
            histogram=np.sum([window.histogram for window in windows], axis=0),
            slices=_added([period.slices for period in named], self.fields),
            axis=self.axis,
            periods=named,
            by_version=self._versions.periods(),
            drift=between(periods, self.fields),
            version_changes=self._versions.changes(),
            versions=self._versions.rows(),
            notes=self._notes(),
        )

    def _notes(self) -> list[str]:
        notes = [
            f"{field}: {places.room:,} values are counted by themselves; the others are (other)."
            for field, places in self._places.items()
            if places.full
        ]
        if self.fields:
            notes.append(
                "A slice is called off if its ratio differs from 1 by more than 5 % and by more "
                "than chance explains, with all slices looked at: in a calibrated log, one or more "
                "are called so wrongly in at most 5 of 100 reports (Bonferroni)."
            )
        return notes


def _seen_sums(window: Window) -> dict[str, dict[str, Sums]]:
    """Sums by field and value, of values that were seen."""
    return {
        field: {
            value: window.slot_sums[slot]
            for value, slot in places.items()
            if window.slot_sums[slot, 0] > 0
        }
        for field, places in window.values.items()
    }


def _added(
    parts: Sequence[Mapping[str, Mapping[str, Sums]]], fields: Sequence[str]
) -> dict[str, dict[str, Sums]]:
    """Sums of all parts together."""
    whole: dict[str, dict[str, Sums]] = {field: {} for field in fields}
    for part in parts:
        for field, values in part.items():
            for value, sums in values.items():
                before = whole[field].get(value)
                whole[field][value] = sums.copy() if before is None else before + sums
    return whole
