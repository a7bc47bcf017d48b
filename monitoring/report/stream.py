"""What a stream's monitor and the registry know, gathered for a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from features.errors import ClicktideError
from monitoring.registry.versions import Version
from monitoring.report.build import ReportCounts
from monitoring.report.model import FieldDrift, Share, VersionChange, VersionRow
from monitoring.report.slice_grid import CLOCK, Challengers, challenger_grid, challenger_rows
from monitoring.report.slices import OFF_NOTE, periods_of
from monitoring.watch.monitor_files import MonitorState
from monitoring.watch.window import COARSE, ClosedWindow
from monitoring.watch.windows import PREDICTION
from streaming.status import too_full

__all__ = ["stream_counts", "version_changes", "version_rows"]

_VERSIONS, _WINDOWS, _PERIODS = 50, 150, 14
_FIGURES = (
    "calibration_ratio", "calibration_low", "calibration_high", "normalised_entropy", "log_loss",
    "auc",
)  # fmt: skip


def stream_counts(
    state: MonitorState,
    source: str,
    *,
    versions: Sequence[Version] = (),
    challengers: Challengers | None = None,
) -> ReportCounts:
    """Gather what a monitor's folder tells.

    Parameters
    ----------
    state
        As read by :func:`monitoring.watch.monitor_files.read_monitor`.
    source
        Name of the stream, for the title.
    versions
        That the registry has.
    challengers
        By name.

    Raises
    ------
    ClicktideError
        The monitor has seen no impression yet.
    """
    windows = state.counted()
    if not windows:
        raise ClicktideError(
            f"{source}: the monitor has seen no impression with a prediction yet. "
            "Fix: wait for a join window to pass, or look at clicktide status"
        )
    periods, rivals = periods_of(windows, _PERIODS), challengers or {}
    histogram = np.zeros((COARSE, 3))
    for window in windows:
        for number, sums in window.reliability.items():
            histogram[number] += sums
    return ReportCounts(
        source=source,
        windows=periods_of(windows, _WINDOWS),
        histogram=histogram,
        periods=periods,
        drift=_drift(windows),
        alarms=state.newest_alarms(),
        alarm_actions=state.now.alarm_actions,
        version_changes=version_changes(versions),
        versions=[*version_rows(versions), *challenger_rows(rivals)],
        challengers=challenger_grid(periods, rivals),
        labels=state.now.health,
        skew=state.now.skew,
        freshness=state.now.freshness,
        stale=state.now.stale,
        repairs=state.now.repairs,
        repairs_on=state.now.repairs_on,
        notes=_notes(state),
    )


def _drift(windows: Sequence[ClosedWindow]) -> list[FieldDrift]:
    """As of the newest window that was compared with the reference."""
    compared = [window for window in windows if window.drift]
    if not compared:
        return []
    found = []
    for name, drift in compared[-1].drift.items():
        if name in CLOCK:
            continue
        shares = [] if name == PREDICTION else [Share(drift.cell, drift.before, drift.after)]
        if drift.missing_before is not None and drift.missing_after is not None:
            missing = Share("(missing)", drift.missing_before, drift.missing_after)
            if missing.value != drift.cell and (missing.before or missing.after):
                shares.append(missing)
        shown = "predictions" if name == PREDICTION else name
        moved = max(0.0, drift.psi - drift.psi_noise)
        found.append(FieldDrift(shown, moved, drift.jensen_shannon, shares=tuple(shares)))
    return found


def _notes(state: MonitorState) -> list[str]:
    now = state.now
    counts = {
        "impressions without a prediction were not counted": now.unscored,
        "examples could not be read": now.rejected,
        "rows came after their window had closed": now.after_close,
        "records were removed by retention before they were read": now.lost,
    }
    notes = [f"{count:,} {what}." for what, count in counts.items() if count]
    shares = now.freshness.occupancy
    notes += [
        f"The learner's table of {name} is {shares[name]:.0%} full, and so probably is the bucket "
        f"of one that is new: one bit more is better ({setting})."
        for name, setting in too_full(shares).items()
    ]
    return [*notes, OFF_NOTE]


def version_rows(versions: Sequence[Version]) -> list[VersionRow]:
    """Rows of the version table, the newest first.

    Examples
    --------
    >>> [row] = version_rows([Version(number=7, created_ms=5, gate="refused", reasons=("NE",))])
    >>> row.name, row.note
    ('v7', 'refused: NE')
    """
    newest = sorted(versions, key=lambda version: -version.number)[:_VERSIONS]
    return [_row(version) for version in newest]


def version_changes(versions: Sequence[Version]) -> list[VersionChange]:
    """When each champion began: at the newest event that it had learned."""
    champions = sorted(
        (version for version in versions if version.champion_at_ms and version.event_time),
        key=lambda version: version.champion_at_ms,
    )
    before = ["", *(f"v{version.number}" for version in champions)]
    return [
        VersionChange(version.event_time, f"v{version.number}", earlier)
        for version, earlier in zip(champions, before, strict=False)
    ]


def _row(version: Version) -> VersionRow:
    get = version.figures.get
    events, clicks, mean = get("events", 0), get("clicks", 0), get("mean_prediction")
    figures: dict[str, Any] = {name: get(name) for name in _FIGURES}
    reasons = f": {'; '.join(version.reasons)}" if version.reasons else ""
    return VersionRow(
        count=int(events),
        clicks=int(clicks),
        mean_prediction=mean,
        over_promised=(mean or 0.0) * events - clicks,
        **figures,
        name=f"v{version.number}",
        created=version.created_ms,
        alias=", ".join(version.aliases),
        events=version.events,
        note=f"{version.gate}{reasons}",
    )
