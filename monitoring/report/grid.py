"""The slice grid's data: rows against the slices with most impressions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from monitoring.report.model import Grid, GridCell, GridColumn, GridRow, with_figures
from monitoring.report.slices import Sums, SumsBySlice, is_off
from monitoring.watch import figures as k
from monitoring.watch.figures import figures_of
from monitoring.watch.slices import OTHER

__all__ = ["CLOCK", "OTHERS", "calibration_grid"]

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
    chosen = {field: _most(values) for field, values in slices.items()}
    columns = tuple(
        GridColumn(field, value, int(_sums(slices, field, value, chosen[field])[k.COUNT]))
        for field, values in chosen.items()
        for value in values
    )
    tests = len(columns) * len(rows)
    made = [
        GridRow(
            name,
            tuple(_cell(_sums(of, c.field, c.value, chosen[c.field]), tests) for c in columns),
        )
        for name, of in rows
    ]
    return Grid(rows_are, "calibration", columns, tuple(made))


def _most(values: Mapping[str, Sums]) -> list[str]:
    own = (item for item in values.items() if item[0] != OTHER)
    names = [value for value, _ in sorted(own, key=lambda item: -item[1][k.COUNT])[:_COLUMNS]]
    return [*names, OTHERS] if len(values) > len(names) else names


def _sums(slices: SumsBySlice, field: str, value: str, chosen: Sequence[str]) -> Sums:
    values = slices.get(field, {})
    if value == OTHERS and value not in values:
        rest = [sums for name, sums in values.items() if name not in chosen]
        return np.sum(rest, axis=0) if rest else np.zeros(k.SUMS)
    return values.get(value, np.zeros(k.SUMS))


def _cell(sums: Sums, tests: int) -> GridCell | None:
    f = figures_of(sums)
    if not f.count:
        return None
    ratio = f.calibration_ratio
    shade = math.log(ratio) if ratio else None
    return with_figures(GridCell, f, shade=shade, sure=is_off(sums, tests))
