"""A report from what was counted, by a stream's monitor or of a log: windows, slices, periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from learning.metrics import Tally
from monitoring.report.model import (
    Bin,
    Fault,
    FieldDrift,
    Grid,
    ReportData,
    ReportWindow,
    Since,
    SliceRow,
    Total,
    VersionChange,
    VersionRow,
    with_figures,
)
from monitoring.report.slice_grid import calibration_grid
from monitoring.report.slices import Period, added, shift_in, slices_of
from monitoring.report.verdict import stale_first, verdict
from monitoring.watch.alarm_actions import AlarmAction, handled, rolled_back
from monitoring.watch.detect.alarm import Alarm, current_first
from monitoring.watch.figures import figures_of, rankings
from monitoring.watch.formatting import WORDS
from monitoring.watch.monitor_files import LabelHealth
from monitoring.watch.repair.state_machine import RepairedSlice
from monitoring.watch.skew import Skew
from monitoring.watch.state_machine import StaleWeights
from streaming.freshness import Freshness, ages, stale

__all__ = ["ReportCounts", "report_of"]

F64 = NDArray[np.float64]
_BINS = 20
_SAME = (
    "source", "axis", "outcome", "compared_with", "labels", "skew", "repairs_on", "challengers",
)  # fmt: skip
_SAME_SERIES = ("alarm_actions", "version_changes", "repairs", "versions", "notes")
"""Fields of a report that are what was gathered."""
_MOST_SLICES = 5000


@dataclass(frozen=True, slots=True)
class ReportCounts:
    """Everything counted.

    Parameters
    ----------
    source, axis, outcome
        As in :class:`ReportData`.
    windows
        Oldest first; at least one.
    histogram
        float64 (bins, 3) over all: clicks, others, sum of predictions, by rising prediction.
    periods
        Slices over time, coarser than the windows, oldest first.
    by_version
        Likewise by model version; the slice grid's rows are these, if there are two.
    drift, compared_with, alarms, alarm_actions, version_changes, versions, labels, skew, notes,
    challengers, repairs, repairs_on
        As in :class:`ReportData`.
    freshness
        How far trainer and monitor of a stream were.
    stale
        Stretches whose predictions were made with old weights, oldest first.
    faults
        What explains the excess of clicks, the one with most evidence first; ``None``: rows were
        not looked at one by one.
    """

    source: str
    windows: Sequence[Period]
    histogram: F64
    axis: Literal["time", "row"] = "time"
    outcome: Literal["click", "conversion"] = "click"
    periods: Sequence[Period] = ()
    by_version: Sequence[Period] = ()
    drift: Sequence[FieldDrift] = ()
    compared_with: str = ""
    alarms: Sequence[Alarm] = ()
    alarm_actions: Sequence[AlarmAction] = ()
    version_changes: Sequence[VersionChange] = ()
    versions: Sequence[VersionRow] = ()
    labels: LabelHealth | None = None
    skew: Skew | None = None
    freshness: Freshness | None = None
    stale: Sequence[StaleWeights] = ()
    faults: Sequence[Fault] | None = None
    notes: Sequence[str] = ()
    challengers: Grid | None = None
    repairs: Sequence[RepairedSlice] = ()
    repairs_on: bool = True


def report_of(gathered: ReportCounts, made_at: int) -> ReportData:
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
    >>> report = report_of(ReportCounts("a log", [Period("", 0, 60_000, sums)], histogram), 0)
    >>> report.total.calibration_ratio, report.verdict.state
    (1.05, 'calibrated')
    """
    total = _total(gathered)
    slices = added(period.slices for period in gathered.periods)
    rows = slices_of(slices, [(period.start, period.slices) for period in gathered.periods])
    alarms = tuple(_priced(alarm, total, rows) for alarm in current_first(gathered.alarms))
    known = {alarm.id: handled(alarm, gathered.alarm_actions, made_at) for alarm in alarms}
    told = verdict(
        total, alarms, rows, gathered.axis, gathered.stale, gathered.faults or (), known,
        WORDS[gathered.outcome],
    )  # fmt: skip
    versions = len(gathered.by_version) > 1
    by_row = gathered.by_version if versions else gathered.periods
    named = [(period.name, period.slices) for period in by_row]
    facts, back = gathered.freshness, rolled_back(gathered.alarm_actions)
    old = () if facts is None else stale(facts, made_at)
    same: dict[str, Any] = {name: getattr(gathered, name) for name in _SAME}
    same |= {name: tuple(getattr(gathered, name)) for name in _SAME_SERIES}
    return ReportData(
        made_at=made_at,
        windows=tuple(
            with_figures(ReportWindow, figures_of(w.sums), start=w.start, end=w.end)
            for w in gathered.windows
        ),
        total=total,
        verdict=stale_first(told, [*filter(None, (back,)), *old]),
        alarms=alarms,
        faults=None if gathered.faults is None else tuple(gathered.faults),
        reliability=_reliability(gathered.histogram),
        slices=tuple(rows[:_MOST_SLICES]),
        slices_left_out=max(0, len(rows) - _MOST_SLICES),
        grid=calibration_grid(named, slices, "versions" if versions else "periods"),
        drift=tuple(sorted(gathered.drift, key=lambda d: -d.psi)),
        freshness={} if facts is None else ages(facts),
        **same,
    )


def _priced(alarm: Alarm, total: Total, rows: Sequence[SliceRow]) -> Alarm:
    """The alarm with its cost up to now, where the windows have counted on since it was raised.

    A detector prices a shift when it raises the alarm, and again when it closes it.
    """
    if alarm.closed_ms is not None or alarm.what != "calibration":
        return alarm
    since = total.since
    if alarm.field:
        place = alarm.field, alarm.value
        since = next((row.since for row in rows if (row.field, row.value) == place), None)
    if since is None or abs(since.over_promised) < abs(alarm.clicks_over_promised or 0.0):
        return alarm
    return replace(
        alarm,
        clicks_over_promised=since.over_promised,
        money_over_promised=alarm.money_over_promised if since.money is None else since.money,
    )


def _total(gathered: ReportCounts) -> Total:
    sums = np.sum([window.sums for window in gathered.windows], axis=0)
    figures = figures_of(sums, rankings(gathered.histogram[np.newaxis])[0])
    shift = shift_in([window.sums for window in gathered.windows])
    since = None
    if shift is not None:
        start = gathered.windows[shift.at].start
        since = with_figures(Since, figures_of(shift.after), start=start)
    return with_figures(Total, figures, since=since)


def _reliability(histogram: F64) -> tuple[Bin, ...]:
    tally = Tally(len(histogram))
    tally.histogram[:] = histogram
    return tuple(
        Bin(b.predicted, b.observed, b.low, b.high, b.weight)
        for b in tally.reliability(_BINS)
        if b.predicted > 0  # else it has no place on a log axis
    )
