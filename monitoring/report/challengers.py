"""Challengers beside the champion: their normalised entropy against its, by period and by slice.

A challenger counts a click when its example is joined; the monitor also counts late ones. So not
the log losses are compared, but each over the entropy of its own click rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monitoring.registry.challenge_windows import (
    QUARTER_MS,
    ChallengeWindow,
    SliceQuarter,
    read_slices,
    read_windows,
)
from monitoring.report.grid import CLOCK
from monitoring.report.model import Grid, GridCell, GridColumn, GridRow, Version
from monitoring.report.slices import Sums, SumsBySlice
from monitoring.watch import figures as k
from monitoring.watch.figures import figures_of
from monitoring.watch.slices import OTHER

__all__ = [
    "ByPeriod", "Challenger", "Challengers", "challenger_grid", "challenger_rows",
    "read_challengers",
]  # fmt: skip

_SHARED = 0.9
_DIFFERENCE = 0.01

_VALUES = 12


class Challenger(NamedTuple):
    """What a challenger has written: windows, and sums by slice."""

    windows: Sequence[ChallengeWindow]
    quarters: Sequence[SliceQuarter] = ()


class ByPeriod(NamedTuple):
    """A stretch of the served predictions: sums of all, and by slice."""

    name: str
    start_ms: int
    end_ms: int
    sums: Sums
    slices: SumsBySlice


Challengers = Mapping[str, Challenger]
_Sums4 = Sequence[float]


def read_challengers(folder: Path) -> dict[str, Challenger]:
    """Challengers by name, from ``RUN/challengers``."""
    found = {}
    for path in sorted(folder.glob("*/windows.jsonl")):
        try:
            quarters = read_slices(path.with_name("slices.json"))
            found[path.parent.name] = Challenger(list(read_windows(path)), quarters)
        except OSError:  # removed meanwhile
            continue
    return {name: it for name, it in found.items() if it.windows}


def challenger_grid(champion: Sequence[ByPeriod], challengers: Challengers) -> Grid | None:
    """Relative change of the normalised entropy against the champion's, by period and by slice.

    Parameters
    ----------
    champion
        The served predictions, oldest first.
    challengers
        By name.

    Returns
    -------
    Grid or None
        Nothing without challengers. A cell is there where both have scored about the same
        impressions.
    """
    if not challengers or not champion:
        return None
    columns = [GridColumn("period", it.name, int(it.sums[k.COUNT])) for it in champion]
    rows: dict[str, list[GridCell | None]] = {"served": [_served(it.sums) for it in champion]}
    for name, it in challengers.items():
        rows[name] = [_cell(_in_period(it.windows, period), period.sums) for period in champion]
    for column, cells in _slice_cells(champion, challengers):
        columns.append(column)
        for name, cell in cells.items():
            rows[name].append(cell)
    made = tuple(
        GridRow(name, tuple(cells), "" if name == "served" else "in shadow")
        for name, cells in rows.items()
    )
    return Grid("versions", "change", tuple(columns), made)


def _in_period(windows: Sequence[ChallengeWindow], period: ByPeriod) -> _Sums4:
    inside = [w for w in windows if period.start_ms <= w.start_ms < period.end_ms]
    return [
        sum(w.events for w in inside), sum(w.clicks for w in inside),
        sum(w.expected for w in inside), sum(w.loss for w in inside),
    ]  # fmt: skip


def _slice_cells(
    champion: Sequence[ByPeriod], challengers: Challengers
) -> Iterator[tuple[GridColumn, dict[str, GridCell | None]]]:
    """Each slice's cells, over the periods of which all challengers know their slices."""
    quarters = [q.start_ms for it in challengers.values() for q in it.quarters]
    if not all(it.quarters for it in challengers.values()):
        return
    low = max(min(q.start_ms for q in it.quarters) for it in challengers.values())
    high = max(quarters) + QUARTER_MS
    inside = [p for p in champion if p.start_ms >= low and p.end_ms <= high]
    if not inside:
        return
    start, end = inside[0].start_ms, inside[-1].end_ms
    rivals = {name: _by_slice(it.quarters, start, end) for name, it in challengers.items()}
    for field, values in _together(inside).items():
        if field in CLOCK:
            continue
        ranked = sorted(values, key=lambda value: -values[value][k.COUNT])
        for value in [value for value in ranked if value != OTHER][:_VALUES]:
            sums = values[value]
            cells = {name: _cell(of.get((field, value)), sums) for name, of in rivals.items()}
            if any(cells.values()):
                column = GridColumn(field, value, int(sums[k.COUNT]))
                yield column, {"served": _served(sums), **cells}


def _together(periods: Sequence[ByPeriod]) -> dict[str, dict[str, Sums]]:
    whole: dict[str, dict[str, Sums]] = {}
    for period in periods:
        for field, values in period.slices.items():
            known = whole.setdefault(field, {})
            for value, sums in values.items():
                known[value] = sums + known[value] if value in known else sums
    return whole


def _by_slice(
    quarters: Sequence[SliceQuarter], start: int, end: int
) -> dict[tuple[str, str], _Sums4]:
    whole: dict[tuple[str, str], _Sums4] = {}
    for quarter in quarters:
        if not start <= quarter.start_ms < end:
            continue
        for field, values in quarter.fields.items():
            for value, sums in values.items():
                known = whole.get((field, value), (0.0,) * 4)
                whole[field, value] = [a + b for a, b in zip(known, sums, strict=True)]
    return whole


def challenger_rows(challengers: Challengers) -> list[Version]:
    """Rows of the version table."""
    return [_row(name, it.windows) for name, it in challengers.items()]


def _served(sums: Sums) -> GridCell:
    f = figures_of(sums)
    return GridCell(
        f.count, 0.0, f.calibration_ratio, f.calibration_low, f.calibration_high,
        f.normalised_entropy,
    )  # fmt: skip


def _cell(challenger: _Sums4 | None, champion: Sums) -> GridCell | None:
    events, clicks, expected, loss = challenger or (0.0,) * 4
    count, served = float(champion[k.COUNT]), figures_of(champion).normalised_entropy
    ne = _ne(loss, clicks, events)
    if not count or not _SHARED <= events / count <= 1 / _SHARED or not ne or not served:
        return None
    change = ne / served - 1.0
    sure = abs(change) >= _DIFFERENCE
    return GridCell(int(events), change, expected / clicks, normalised_entropy=ne, sure=sure)


def _row(name: str, windows: Sequence[ChallengeWindow]) -> Version:
    events = sum(window.events for window in windows)
    clicks = sum(window.clicks for window in windows)
    expected = sum(window.expected for window in windows)
    return Version(
        name,
        alias="challenger",
        count=events,
        ratio=expected / clicks if clicks else None,
        normalised_entropy=_ne(sum(window.loss for window in windows), clicks, events),
        note="in shadow; late clicks are not counted",
    )


def _ne(loss: float, clicks: float, events: float) -> float | None:
    sums = np.array([events, clicks, 0.0, 0.0, loss, 0.0, 0.0, 0.0])
    return figures_of(sums).normalised_entropy
