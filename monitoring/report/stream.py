"""What the stream's monitor and registry know, gathered for a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ClicktideError
from monitoring.registry.versions import Version as Registered
from monitoring.report.alarms import alarms_of
from monitoring.report.build import Gathered, Period, Stretch
from monitoring.report.challengers import ByPeriod, Challengers, challenger_grid, challenger_rows
from monitoring.report.grid import CLOCK
from monitoring.report.model import Drift, Freshness, LabelHealth, Share, Version, VersionChange
from monitoring.report.slices import Sums
from monitoring.watch.closed_window import COARSE, ClosedWindow
from monitoring.watch.records import LabelHealth as Health
from monitoring.watch.records import MonitorState
from monitoring.watch.skew import Skew
from monitoring.watch.windows import PREDICTION
from streaming.event_time import time_text
from streaming.freshness import ages

__all__ = ["changes_of", "gather_monitor", "versions_of"]

_MOST = 50


def versions_of(registered: Sequence[Registered]) -> list[Version]:
    """Rows of the version table, the newest first.

    Examples
    --------
    >>> [row] = versions_of([Registered(number=7, created_ms=5, gate="refused", reasons=("NE",))])
    >>> row.name, row.note
    ('v7', 'refused: NE')
    """
    newest = sorted(registered, key=lambda version: -version.number)[:_MOST]
    return [_version_row(version) for version in newest]


def changes_of(registered: Sequence[Registered]) -> list[VersionChange]:
    """When each champion began: at the newest event that it had learned."""
    champions = sorted(
        (version for version in registered if version.champion_at_ms and version.event_time),
        key=lambda version: version.champion_at_ms,
    )
    before = ["", *(f"v{version.number}" for version in champions)]
    return [
        VersionChange(version.event_time, f"v{version.number}", earlier)
        for version, earlier in zip(champions, before, strict=False)
    ]


def _version_row(version: Registered) -> Version:
    get = version.figures.get
    reasons = f": {'; '.join(version.reasons)}" if version.reasons else ""
    return Version(
        f"v{version.number}",
        created=version.created_ms,
        alias=", ".join(version.aliases),
        events=version.events,
        count=get("events"),
        ratio=get("calibration_ratio"),
        low=get("calibration_low"),
        high=get("calibration_high"),
        normalised_entropy=get("normalised_entropy"),
        note=f"{version.gate}{reasons}",
    )


_WINDOWS, _PERIODS = 150, 14
_DAY_MS = 86_400_000


def gather_monitor(
    state: MonitorState,
    source: str,
    *,
    versions: Sequence[Version] = (),
    version_changes: Sequence[VersionChange] = (),
    challengers: Challengers | None = None,
) -> Gathered:
    """Gather what a monitor's folder tells.

    Parameters
    ----------
    state
        As read by :func:`monitoring.watch.records.read_monitor`.
    source
        Name of the stream, for the title.
    versions, version_changes
        What the registry knows.
    challengers
        By name.

    Raises
    ------
    ClicktideError
        The monitor has seen no impression yet.
    """
    windows = [window for window in state.windows if window.overall.count]
    if not windows:
        raise ClicktideError(
            f"{source}: the monitor has seen no impression with a prediction yet. "
            "Fix: wait for a join window to pass, or look at clicktide status"
        )
    periods = _periods(windows)
    return Gathered(
        source=source,
        stretches=_stretches(windows),
        histogram=_histogram(windows),
        slices=_slices(windows),
        periods=periods,
        drift=_drift(windows),
        alarms=alarms_of([*state.now.alarms_open, *state.alarms]),
        version_changes=version_changes,
        versions=[*versions, *challenger_rows(challengers or {})],
        challengers=challenger_grid(_served(windows), challengers) if challengers else None,
        labels=None if state.now.health is None else _labels(state.now.health, state.now.skew),
        freshness=[Freshness(of, age) for of, age in ages(state.now.freshness).items()],
        facts=state.now.freshness,
        stale=state.now.stale,
        notes=_notes(state),
    )


def _width(windows: Sequence[ClosedWindow], most: int) -> int:
    """Widest window times a power of two: at most so many cover everything."""
    width = max(window.end_ms - window.start_ms for window in windows)
    span = windows[-1].end_ms - windows[0].start_ms
    while span / width > most:
        width *= 2
    return width


def _grouped(windows: Sequence[ClosedWindow], most: int) -> list[tuple[int, list[ClosedWindow]]]:
    width = _width(windows, most)
    groups: dict[int, list[ClosedWindow]] = {}
    for window in windows:
        groups.setdefault(window.start_ms // width * width, []).append(window)
    return sorted(groups.items())


def _stretches(windows: Sequence[ClosedWindow]) -> list[Stretch]:
    width = _width(windows, _WINDOWS)
    return [
        Stretch(start, start + width, np.sum([window.sums for window in group], axis=0))
        for start, group in _grouped(windows, _WINDOWS)
    ]


def _periods(windows: Sequence[ClosedWindow]) -> list[Period]:
    grouped = _grouped(windows, _PERIODS)
    long = len(grouped) > 1 and grouped[1][0] - grouped[0][0] >= _DAY_MS
    return [Period(_name(start, long=long), _slices(group), start) for start, group in grouped]


def _served(windows: Sequence[ClosedWindow]) -> list[ByPeriod]:
    grouped, width = _grouped(windows, _PERIODS), _width(windows, _PERIODS)
    long = width >= _DAY_MS
    return [
        ByPeriod(
            _name(start, long=long), start, start + width,
            np.sum([w.sums for w in group], axis=0), _slices(group),
        )
        for start, group in grouped
    ]  # fmt: skip


def _name(start: int, *, long: bool) -> str:
    return time_text(start, "{0.day} {0:%b %Y}" if long else "{0.day} {0:%b %H:%M}")


def _histogram(windows: Sequence[ClosedWindow]) -> NDArray[np.float64]:
    whole = np.zeros((COARSE, 3))
    for window in windows:
        for number, sums in window.reliability.items():
            whole[number] += sums
    return whole


def _slices(windows: Sequence[ClosedWindow]) -> dict[str, dict[str, Sums]]:
    whole: dict[str, dict[str, Sums]] = {}
    for window in windows:
        for field, table in window.slices.items():
            values = whole.setdefault(field, {})
            for value, sums in zip(table.values, table.sums, strict=True):
                before = values.get(value)
                values[value] = np.array(sums) if before is None else before + np.array(sums)
    return whole


def _drift(windows: Sequence[ClosedWindow]) -> list[Drift]:
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
        said = "predictions" if name == PREDICTION else name
        moved = max(0.0, drift.psi - drift.psi_noise)
        found.append(Drift(said, moved, drift.jensen_shannon, shares=tuple(shares)))
    return found


def _labels(health: Health, skew: Skew | None) -> LabelHealth:
    return LabelHealth(
        join_rate=health.join_rate,
        late_share=health.late_share,
        orphan_share=health.orphan_share,
        duplicate_share=health.duplicate_clicks,
        skew_rate=None if skew is None else skew.skew_rate,
    )


def _notes(state: MonitorState) -> list[str]:
    now: Any = state.now
    counts = {
        "impressions without a prediction were not counted": now.unscored,
        "examples could not be read": now.rejected,
        "rows came after their window had closed": now.after_close,
        "records were removed by retention before they were read": now.lost,
    }
    notes = [f"{count:,} {said}." for said, count in counts.items() if count]
    return [
        *notes,
        "A slice is called off if its ratio differs from 1 by more than 5 % and by more than "
        "chance explains, with all slices looked at (Bonferroni, 5 in 100 reports).",
    ]
