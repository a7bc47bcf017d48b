"""What a report is made from, whatever was counted: sums of windows, slices and periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from learning.metrics import Tally
from monitoring.report.alarms import priced
from monitoring.report.grid import calibration_grid
from monitoring.report.model import (
    Alarm,
    Bin,
    Drift,
    Freshness,
    Grid,
    LabelHealth,
    ReportData,
    Total,
    Version,
    VersionChange,
    Window,
)
from monitoring.report.slices import Sums, SumsBySlice, shift_in, since_figures, slices_of
from monitoring.report.verdict import stale_first, verdict
from monitoring.watch.figures import figures_of, rankings
from monitoring.watch.weights_age import StaleWeights
from streaming.freshness import Freshness as Facts
from streaming.freshness import stale

__all__ = ["Gathered", "Period", "Stretch", "report_of"]

F64 = NDArray[np.float64]
_BINS = 20
_MOST_SLICES = 5000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sums of one window; see :data:`monitoring.watch.figures.SUMS`."""

    start: int
    end: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class Period:
    """Sums by field and value of one row of the slice grid."""

    name: str
    slices: SumsBySlice
    start: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything counted.

    Parameters
    ----------
    source, axis
        As in :class:`ReportData`.
    stretches
        Windows, oldest first; at least one.
    histogram
        float64 (bins, 3) over all: clicks, others, sum of predictions, by rising prediction.
    slices
        Sums over all by field and value.
    periods
        Sums of slices over time, coarser than the windows, oldest first.
    by_version
        Likewise by model version; the slice grid's rows are these, if there are two.
    drift, alarms, version_changes, versions, labels, freshness, notes, grid, challengers
        As in :class:`ReportData`; ``grid`` in place of one made from the periods.
    facts
        How far trainer and monitor of a stream were.
    stale
        Stretches whose predictions were made with old weights, oldest first.
    """

    source: str
    stretches: Sequence[Stretch]
    histogram: F64
    slices: SumsBySlice = field(default_factory=dict)
    axis: Literal["time", "row"] = "time"
    periods: Sequence[Period] = ()
    by_version: Sequence[Period] = ()
    drift: Sequence[Drift] = ()
    alarms: Sequence[Alarm] = ()
    version_changes: Sequence[VersionChange] = ()
    versions: Sequence[Version] = ()
    labels: LabelHealth | None = None
    freshness: Sequence[Freshness] = ()
    facts: Facts | None = None
    stale: Sequence[StaleWeights] = ()
    notes: Sequence[str] = ()
    grid: Grid | None = None
    challengers: Grid | None = None
    changes: Mapping[tuple[str, str], float] = field(default_factory=dict)


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
    >>> report = report_of(Gathered("a log", [Stretch(0, 60_000, sums)], histogram), 0)
    >>> report.total.ratio, report.verdict.state
    (1.05, 'calibrated')
    """
    every = np.sum([stretch.sums for stretch in gathered.stretches], axis=0)
    total = _total(every, gathered)
    history = [(period.start, period.slices) for period in gathered.periods]
    rows = slices_of(gathered.slices, history, gathered.changes)
    alarms = tuple(
        priced(alarm, total, rows)
        for alarm in sorted(gathered.alarms, key=lambda a: (a.ended_at is not None, -a.since))
    )
    return ReportData(
        source=gathered.source,
        made_at=made_at,
        windows=tuple(_window(stretch) for stretch in gathered.stretches),
        total=total,
        verdict=stale_first(
            verdict(total, alarms, rows, gathered.axis, gathered.stale),
            () if gathered.facts is None else stale(gathered.facts, made_at),
        ),
        axis=gathered.axis,
        alarms=alarms,
        version_changes=tuple(gathered.version_changes),
        reliability=_reliability(gathered.histogram),
        slices=tuple(rows[:_MOST_SLICES]),
        slices_left_out=max(0, len(rows) - _MOST_SLICES),
        grid=gathered.grid or _grid(gathered),
        drift=tuple(sorted(gathered.drift, key=lambda d: -(d.psi or 0.0))),
        labels=gathered.labels,
        freshness=tuple(gathered.freshness),
        versions=tuple(gathered.versions),
        challengers=gathered.challengers,
        notes=tuple(gathered.notes),
    )


def _window(stretch: Stretch) -> Window:
    f = figures_of(stretch.sums)
    return Window(
        stretch.start,
        stretch.end,
        f.count,
        f.clicks,
        f.mean_prediction,
        f.calibration_ratio,
        f.calibration_low,
        f.calibration_high,
        f.log_loss,
        f.normalised_entropy,
    )


def _total(sums: Sums, gathered: Gathered) -> Total:
    f = figures_of(sums, rankings(gathered.histogram[np.newaxis])[0])
    shift = shift_in([stretch.sums for stretch in gathered.stretches])
    since = None if shift is None else figures_of(shift.after)
    return Total(
        f.count,
        f.clicks,
        f.mean_prediction,
        f.calibration_ratio,
        f.calibration_low,
        f.calibration_high,
        f.log_loss,
        f.normalised_entropy,
        f.auc,
        f.auc_error,
        f.ece,
        None if shift is None else gathered.stretches[shift.at].start,
        *((None,) * 4 if since is None else since_figures(since)),
        f.money,
    )


def _grid(gathered: Gathered) -> Grid | None:
    versions = len(gathered.by_version) > 1
    rows = gathered.by_version if versions else gathered.periods
    return calibration_grid(
        [(period.name, period.note, period.slices) for period in rows],
        gathered.slices,
        "versions" if versions else "periods",
    )


def _reliability(histogram: F64) -> tuple[Bin, ...]:
    tally = Tally(len(histogram))
    tally.histogram[:] = histogram
    return tuple(
        Bin(b.predicted, b.observed, b.low, b.high, b.weight)
        for b in tally.reliability(_BINS)
        if b.predicted > 0  # else it has no place on a log axis
    )
