"""The slice grid's data: versions, periods or challengers against the largest slices.

A challenger and the champion are each taken over the entropy of the clicks that it has seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from features.errors import ClicktideError
from monitoring.report.model import Grid, GridCell, GridColumn, GridRow, VersionRow, with_figures
from monitoring.report.slices import Period, Sums, SumsBySlice, added, is_off
from monitoring.watch import figures as k
from monitoring.watch.figures import COUNT, figures_of
from monitoring.watch.monitor_files import read_monitor
from monitoring.watch.slices import OTHER
from monitoring.watch.window import ClosedWindow

__all__ = [
    "CLOCK", "OTHERS", "Challengers", "calibration_grid", "challenger_grid", "challenger_rows",
    "read_challengers",
]  # fmt: skip

OTHERS = "all others"
CLOCK = ("hour", "weekday")
"""Slices by the clock: they come and go by themselves."""
_COLUMNS = 16
_ROWS = 16


def calibration_grid(
    rows: Sequence[tuple[str, SumsBySlice]],
    slices: SumsBySlice,
    rows_are: Literal["versions", "periods"],
) -> Grid | None:
    """Calibration ratios of rows against slices.

    Parameters
    ----------
    rows
        Name and sums by field and value of each; the last :data:`_ROWS` are shown.
    slices
        Sums over all: the columns are each field's most frequent values, and all others.
    rows_are
        What they are.

    Returns
    -------
    Grid or None
        Nothing where there are no slices, or fewer than two rows.
    """
    rows = rows[-_ROWS:]
    if rows_are == "periods":
        slices = {field: values for field, values in slices.items() if field not in CLOCK}
    if len(rows) < 2 or not slices:
        return None
    chosen = {field: _frequent_values(values) for field, values in slices.items()}
    columns = tuple(
        GridColumn(field, value, int(_sums(slices, field, value, chosen[field])[k.COUNT]))
        for field, values in chosen.items()
        for value in values
    )
    tests = len(columns) * len(rows)
    grid_rows = []
    for name, of in rows:
        sums = (_sums(of, c.field, c.value, chosen[c.field]) for c in columns)
        grid_rows.append(GridRow(name, tuple(_calibration_cell(cell, tests) for cell in sums)))
    return Grid(rows_are, "calibration", columns, tuple(grid_rows))


def _frequent_values(values: Mapping[str, Sums]) -> list[str]:
    named = (item for item in values.items() if item[0] != OTHER)
    names = [value for value, _ in sorted(named, key=lambda item: -item[1][k.COUNT])[:_COLUMNS]]
    return [*names, OTHERS] if len(values) > len(names) else names


def _sums(slices: SumsBySlice, field: str, value: str, chosen: Sequence[str]) -> Sums:
    values = slices.get(field, {})
    if value == OTHERS and value not in values:
        rest = [sums for name, sums in values.items() if name not in chosen]
        return np.sum(rest, axis=0) if rest else np.zeros(k.SUMS)
    return values.get(value, np.zeros(k.SUMS))


def _calibration_cell(sums: Sums, tests: int) -> GridCell | None:
    figures = figures_of(sums)
    if not figures.count:
        return None
    shade = math.log(figures.calibration_ratio) if figures.calibration_ratio else None
    return with_figures(GridCell, figures, shade=shade, sure=is_off(sums, tests))


_SHARED = 0.9
_DIFFERENCE = 0.01
_VALUES = 12

Challengers = Mapping[str, Sequence[ClosedWindow]]
"""Windows of each, oldest first, by name."""


def read_challengers(folder: Path) -> dict[str, list[ClosedWindow]]:
    """Challengers by name, from ``RUN/challengers``."""
    challengers = {}
    for path in sorted(folder.glob("*/now.json")):
        with suppress(ClicktideError):  # removed meanwhile
            if windows := read_monitor(path.parent).windows:
                challengers[path.parent.name] = windows
    return challengers


def challenger_grid(champion: Sequence[Period], challengers: Challengers) -> Grid | None:
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
    columns = [GridColumn("period", it.name, int(it.sums[COUNT])) for it in champion]
    rows: dict[str, list[GridCell | None]] = {"served": [_served(it.sums) for it in champion]}
    for name, windows in challengers.items():
        rows[name] = [_cell(_within(windows, it.start, it.end).sums, it.sums) for it in champion]
    for column, cells in _slice_cells(champion, challengers):
        columns.append(column)
        for name, cell in cells.items():
            rows[name].append(cell)
    made = tuple(GridRow(name, tuple(cells)) for name, cells in rows.items())
    return Grid("versions", "change", tuple(columns), made)


def _within(windows: Sequence[ClosedWindow], start: int, end: int) -> Period:
    inside = [window for window in windows if start <= window.start_ms < end]
    return Period.of(inside, start, end) if inside else Period("", start, end, np.zeros(8))


def _slice_cells(
    champion: Sequence[Period], challengers: Challengers
) -> Iterator[tuple[GridColumn, dict[str, GridCell | None]]]:
    """Each slice's cells, over the periods that all challengers have seen whole."""
    low = max(windows[0].start_ms for windows in challengers.values())
    high = min(windows[-1].end_ms for windows in challengers.values())
    inside = [it for it in champion if it.start >= low and it.end <= high]
    if not inside:
        return
    start, end = inside[0].start, inside[-1].end
    rivals = {name: _within(windows, start, end).slices for name, windows in challengers.items()}
    for field, values in added(it.slices for it in inside).items():
        if field in CLOCK:
            continue
        ranked = sorted(values, key=lambda value: -values[value][COUNT])
        for value in [value for value in ranked if value != OTHER][:_VALUES]:
            sums = values[value]
            cells = {name: _cell(of.get(field, {}).get(value), sums) for name, of in rivals.items()}
            if any(cells.values()):
                column = GridColumn(field, value, int(sums[COUNT]))
                yield column, {"served": _served(sums), **cells}


def challenger_rows(challengers: Challengers) -> list[VersionRow]:
    """Rows of the version table."""
    whole = {name: [window.sums for window in windows] for name, windows in challengers.items()}
    figures = {name: figures_of(np.sum(sums, axis=0)) for name, sums in whole.items()}
    told = {"alias": "challenger", "note": "in shadow"}
    return [with_figures(VersionRow, of, name=name, **told) for name, of in figures.items()]


def _served(sums: Sums) -> GridCell:
    return with_figures(GridCell, figures_of(sums), shade=0.0)


def _cell(challenger: Sums | None, champion: Sums) -> GridCell | None:
    if challenger is None or not champion[COUNT]:
        return None
    mine, served = figures_of(challenger), figures_of(champion).normalised_entropy
    share = mine.count / champion[COUNT]
    if not _SHARED <= share <= 1 / _SHARED or not mine.normalised_entropy or not served:
        return None
    change = mine.normalised_entropy / served - 1.0
    return with_figures(GridCell, mine, shade=change, sure=abs(change) >= _DIFFERENCE)
