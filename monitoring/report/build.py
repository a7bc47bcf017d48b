"""A report from what was counted, by a stream's monitor or of a log: windows, slices, periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from learning.metrics import Tally
from monitoring.report.alarms import priced
from monitoring.report.grid import calibration_grid
from monitoring.report.model import (
    Bin,
    FieldDrift,
    Grid,
    ReportData,
    Since,
    Total,
    VersionChange,
    VersionRow,
    Window,
    with_figures,
)
from monitoring.report.slices import Sums, SumsBySlice, added, shift_in, slices_of
from monitoring.report.verdict import stale_first, verdict
from monitoring.watch.closed_window import ClosedWindow
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.figures import figures_of, rankings
from monitoring.watch.records import LabelHealth
from monitoring.watch.skew import Skew
from monitoring.watch.weights_age import StaleWeights
from streaming.freshness import Freshness, ages, stale
from streaming.time_words import time_text

__all__ = ["Gathered", "Period", "period_name", "periods_of", "report_of"]

F64 = NDArray[np.float64]
_BINS = 20
_MOST_SLICES = 5000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Period:
    """Sums of a stretch of time, or of a model version: of all its events, and by slice."""

    name: str
    start: int
    end: int
    sums: Sums
    slices: SumsBySlice = field(default_factory=dict)

    @classmethod
    def of(cls, windows: Sequence[ClosedWindow], start: int, end: int, name: str = "") -> Period:
        """Windows together."""
        whole = np.sum([window.sums for window in windows], axis=0)
        slices = added(
            {
                field: dict(zip(table.values, np.array(table.sums), strict=True))
                for field, table in window.slices.items()
            }
            for window in windows
        )
        return cls(name, start, end, whole, slices)


def periods_of(windows: Sequence[ClosedWindow], most: int, axis: str = "time") -> list[Period]:
    """Windows put together until there are at most so many periods of equal length.

    Parameters
    ----------
    windows
        Oldest first; each as long as the longest, or a fraction of it.
    most
        The length is that of the longest window, times a power of two.
    axis
        ``time`` or ``row``.
    """
    width = max(window.end_ms - window.start_ms for window in windows)
    while windows[-1].end_ms - windows[0].start_ms > most * width:
        width *= 2
    groups: dict[int, list[ClosedWindow]] = {}
    for window in windows:
        groups.setdefault(window.start_ms // width * width, []).append(window)
    return [
        Period.of(group, start, start + width, period_name(start, width, axis))
        for start, group in sorted(groups.items())
    ]


def period_name(start: int, width: int, axis: str) -> str:
    """Name of a row of the slice grid.

    Examples
    --------
    >>> period_name(0, 3_600_000, "time"), period_name(0, 500, "row")
    ('1 Jan 00:00', 'from row 1')
    """
    if axis == "row":
        return f"from row {start + 1:,}"
    return time_text(start, "{0.day} {0:%b %Y}" if width >= _DAY_MS else "{0.day} {0:%b %H:%M}")


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything counted.

    Parameters
    ----------
    source, axis
        As in :class:`ReportData`.
    windows
        Oldest first; at least one.
    histogram
        float64 (bins, 3) over all: clicks, others, sum of predictions, by rising prediction.
    periods
        Slices over time, coarser than the windows, oldest first.
    by_version
        Likewise by model version; the slice grid's rows are these, if there are two.
    drift, alarms, version_changes, versions, labels, skew, notes, challengers
        As in :class:`ReportData`.
    freshness
        How far trainer and monitor of a stream were.
    stale
        Stretches whose predictions were made with old weights, oldest first.
    """

    source: str
    windows: Sequence[Period]
    histogram: F64
    axis: Literal["time", "row"] = "time"
    periods: Sequence[Period] = ()
    by_version: Sequence[Period] = ()
    drift: Sequence[FieldDrift] = ()
    alarms: Sequence[Alarm] = ()
    version_changes: Sequence[VersionChange] = ()
    versions: Sequence[VersionRow] = ()
    labels: LabelHealth | None = None
    skew: Skew | None = None
    freshness: Freshness | None = None
    stale: Sequence[StaleWeights] = ()
    notes: Sequence[str] = ()
    challengers: Grid | None = None


def report_of(gathered: Gathered, made_at: int) -> ReportData:
    """Make a report of what was counted.

    Parameters
    ----------
    gathered
        See there.
    made_at
        Wall clock (ms).

    Examples
    --------
    >>> sums = np.array([10_000.0, 200.0, 210.0, 5.0, 950.0, 0.0, 0.0, 0.0])
    >>> histogram = np.array([[200.0, 9800.0, 210.0]])
    >>> report = report_of(Gathered("a log", [Period("", 0, 60_000, sums)], histogram), 0)
    >>> report.total.calibration_ratio, report.verdict.state
    (1.05, 'calibrated')
    """
    total = _total(gathered)
    slices = added(period.slices for period in gathered.periods)
    rows = slices_of(slices, [(period.start, period.slices) for period in gathered.periods])
    alarms = tuple(
        priced(alarm, total, rows)
        for alarm in sorted(gathered.alarms, key=lambda a: (a.closed_ms is not None, -a.since_ms))
    )
    facts = gathered.freshness
    return ReportData(
        source=gathered.source,
        made_at=made_at,
        windows=tuple(
            with_figures(Window, figures_of(w.sums), start=w.start, end=w.end)
            for w in gathered.windows
        ),
        total=total,
        verdict=stale_first(
            verdict(total, alarms, rows, gathered.axis, gathered.stale),
            () if facts is None else stale(facts, made_at),
        ),
        axis=gathered.axis,
        alarms=alarms,
        version_changes=tuple(gathered.version_changes),
        reliability=_reliability(gathered.histogram),
        slices=tuple(rows[:_MOST_SLICES]),
        slices_left_out=max(0, len(rows) - _MOST_SLICES),
        grid=_grid(gathered, slices),
        drift=tuple(sorted(gathered.drift, key=lambda d: -d.psi)),
        labels=gathered.labels,
        skew=gathered.skew,
        freshness={} if facts is None else ages(facts),
        versions=tuple(gathered.versions),
        challengers=gathered.challengers,
        notes=tuple(gathered.notes),
    )


def _total(gathered: Gathered) -> Total:
    sums = np.sum([window.sums for window in gathered.windows], axis=0)
    figures = figures_of(sums, rankings(gathered.histogram[np.newaxis])[0])
    shift = shift_in([window.sums for window in gathered.windows])
    since = None
    if shift is not None:
        start = gathered.windows[shift.at].start
        since = with_figures(Since, figures_of(shift.after), start=start)
    return with_figures(Total, figures, since=since)


def _grid(gathered: Gathered, slices: SumsBySlice) -> Grid | None:
    versions = len(gathered.by_version) > 1
    rows = gathered.by_version if versions else gathered.periods
    named = [(period.name, period.slices) for period in rows]
    return calibration_grid(named, slices, "versions" if versions else "periods")


def _reliability(histogram: F64) -> tuple[Bin, ...]:
    tally = Tally(len(histogram))
    tally.histogram[:] = histogram
    return tuple(
        Bin(b.predicted, b.observed, b.low, b.high, b.weight)
        for b in tally.reliability(_BINS)
        if b.predicted > 0  # else it has no place on a log axis
    )
