"""Slice grid: rows (versions, challengers or periods) against slices as wide as their volume.

After GridViz of McMahan et al. 2013, section 8: one looks down a column to see a slice under
every row, and along a row to see where it differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from monitoring.coded import MISSING
from monitoring.report import words
from monitoring.report.charts.svg import drawing, el, line, text
from monitoring.report.grid import OTHERS
from monitoring.report.model import Grid, GridCell, GridColumn, GridRow

__all__ = ["grid_charts", "shade_class"]

_ROW, _GAP = 22.0, 1.5
_STEPS = {"calibration": (0.03, 0.1, 0.25), "change": (0.001, 0.01, 0.05)}


def shade_class(shade: float | None, measure: str) -> str:
    """Colour class of a cell: ``o1`` to ``o3`` above 0, ``u1`` to ``u3`` below, ``n`` near it.

    Examples
    --------
    >>> shade_class(0.3, "calibration"), shade_class(-0.05, "calibration"), shade_class(None, "")
    ('o3', 'u1', 'none')
    """
    if shade is None:
        return "none"
    step = sum(abs(shade) >= bound for bound in _STEPS[measure])
    return "n" if not step else f"{'o' if shade > 0 else 'u'}{step}"


def grid_charts(grid: Grid, width: float) -> Markup:
    """One picture a field: its slices fill the width."""
    fields = groupby(range(len(grid.columns)), lambda i: grid.columns[i].field)
    return Markup("").join(_field(grid, name, list(at), width) for name, at in fields)


def _field(grid: Grid, name: str, at: Sequence[int], width: float) -> Markup:
    left = 132.0 if width > 500 else 78.0
    columns = [grid.columns[i] for i in at]
    edges = _edges(columns, left, width - 4)
    top = 36.0
    height = top + _ROW * len(grid.rows) + 6
    parts = [text(0, 14, name, "name")]
    shared = _shared([column.value for column in columns])
    for column, (start, end) in zip(columns, edges, strict=True):
        parts.append(_heading(column.value, shared, start, end))
    for number, row in enumerate(grid.rows):
        y = top + number * _ROW
        parts.append(text(0, y + 15, _fit(row.name, left - 10), "row"))
        cells = [row.cells[i] for i in at]
        for column, cell, (start, end) in zip(columns, cells, edges, strict=True):
            parts.append(_cell(grid, row, column, cell, start, end - start - _GAP, y))
    said = f"Slice grid of {name}: {len(grid.rows)} {grid.rows_are} by {len(columns)} values"
    return drawing(width, height, parts, said, "chart grid-chart")


def _edges(columns: Sequence[GridColumn], left: float, right: float) -> list[tuple[float, float]]:
    """Widths by volume, none under four pixels."""
    total = sum(column.count for column in columns) or 1
    room = right - left
    least = min(4.0, room / len(columns))
    widths = [max(least, room * column.count / total) for column in columns]
    scale, at, edges = room / sum(widths), left, []
    for width in widths:
        edges.append((at, at + width * scale))
        at += width * scale
    return edges


def _shared(values: Sequence[str]) -> int:
    """Length of the beginning that all values share, such as ``campaign-``."""
    own = [value for value in values if value not in (OTHERS, MISSING)]
    if len(own) < 3:
        return 0
    same = [a == b for a, b in zip(min(own), max(own), strict=False)]
    length = same.index(False) if False in same else len(same)
    return length if length >= 4 else 0


def _heading(value: str, shared: int, start: float, end: float) -> Markup:
    room = end - start - 3
    said = _fit(value or "(empty)", room)
    if shared and said != value and value not in (OTHERS, MISSING):
        said = _fit(f"…{value[shared:]}", room)
    return Markup("").join([
        text(start + 1, 31, said, "small") if said == value or len(said) > 3 else Markup(""),
        line(start, 34, end - _GAP, 34, "axis"),
    ])  # fmt: skip


def _cell(
    grid: Grid,
    row: GridRow,
    column: GridColumn,
    cell: GridCell | None,
    x: float,
    width: float,
    y: float,
) -> Markup:
    shade = None if cell is None else cell.shade
    kind = shade_class(shade, grid.measure)
    if cell is not None and grid.measure == "calibration" and _by_chance(cell):
        kind = "n"
    width = max(1.0, width)
    parts = [
        el(
            "rect", x=x, y=y, width=width, height=_ROW - _GAP, class_=f"cell {kind}",
            data_tip=_tip(grid, row, column, cell),
        )
    ]  # fmt: skip
    if cell is not None and shade is not None and width >= 34:
        said = _said(shade, grid.measure)
        sign = ("▲" if shade > 0 else "▼") if cell.sure else ""
        shown = f"{sign}{said}" if width >= 46 else said
        parts.append(text(x + width / 2, y + 15, shown, f"in {kind}", "middle"))
    elif cell is not None and shade is not None and cell.sure and width >= 9:
        parts.append(text(x + width / 2, y + 14, "▲" if shade > 0 else "▼", f"in {kind}", "middle"))
    return Markup("").join(parts)


def _by_chance(cell: GridCell) -> bool:
    """Whether the interval holds 1: no colour for what may be nothing."""
    return (
        cell.ratio is not None
        and cell.low is not None
        and cell.low <= 1.0
        and (cell.high is None or cell.high >= 1.0)
    )


def _said(shade: float, measure: str) -> str:
    if measure == "calibration":
        return words.ratio(math.exp(shade))
    return f"{100 * shade:+.1f} %" if abs(shade) < 0.1 else f"{100 * shade:+.0f} %"


def _tip(grid: Grid, row: GridRow, column: GridColumn, cell: GridCell | None) -> str:
    first = f"{row.name}: {words.place(column.field, column.value)}"
    if cell is None:
        return f"{first}\nno impressions"
    said = [first, f"{words.count(cell.count)} impressions"]
    if cell.ratio is not None:
        bounds = words.interval(cell.low, cell.high)
        said.append(f"calibration ratio {words.ratio(cell.ratio)} ({bounds})")
    if cell.normalised_entropy is not None:
        said.append(f"NE {cell.normalised_entropy:.5f}")
    if grid.measure == "change" and cell.shade is not None:
        said.append(f"{_said(cell.shade, 'change')} against the champion")
    if not cell.sure and grid.measure == "calibration":
        said.append("within chance")
    return "\n".join(said)


def _fit(said: str, width: float) -> str:
    """As much of a text as has room."""
    most = int(width / 6.6)
    return said if len(said) <= most else f"{said[: max(0, most - 1)]}…" if most > 1 else ""
