"""Charts of groups: reliability diagram, shares before and after, slice grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from monitoring.report.model import Bin, FieldDrift, Grid, GridCell, GridColumn, GridRow, Share
from monitoring.report.slice_grid import OTHERS
from monitoring.report.svg import Scale, drawing, el, line, log_ticks, text
from monitoring.watch import formatting
from monitoring.watch.categorical import MISSING

__all__ = ["grid_charts", "off_diagonal", "reliability_chart", "shade_class", "shares_chart"]


def off_diagonal(one: Bin) -> str:
    """Tell a bin whose interval leaves the diagonal out: ``over``, ``under`` or nothing."""
    if one.predicted > one.high:
        return "over"
    return "under" if one.predicted < one.low else ""


def reliability_chart(bins: Sequence[Bin], width: float) -> Markup:
    """Draw it; points under the diagonal are over-predicted."""
    side = min(width, 470.0)
    low, high = _ends(bins)
    left, bottom = 54.0, side - 42
    x = Scale(low, high, left, side - 12, log=True)
    y = Scale(low, high, bottom, 12, log=True)
    parts = [_axes(x, y, side)]
    parts += [_bin(one, x, y) for one in bins]
    label = "Reliability diagram: observed click rate of groups of equal size by their prediction"
    return drawing(side, side, parts, label, "chart")


def _ends(bins: Sequence[Bin]) -> tuple[float, float]:
    figures = [f for b in bins for f in (b.predicted, b.observed, b.low, b.high) if f > 0]
    least = min(b.predicted for b in bins if b.predicted > 0) / 4
    low = max(min(figures, default=0.001), least, 1e-7) / 1.2
    return low, min(1.0, max(figures, default=1.0) * 1.2)


def _axes(x: Scale, y: Scale, side: float) -> Markup:
    parts = []
    for tick in log_ticks(x.low, x.high, 9 if side > 400 else 6):
        label = f"{100 * tick:g} %"
        parts.append(line(x(tick), y.end, x(tick), y.start, "grid"))
        parts.append(line(x.start, y(tick), x.end, y(tick), "grid"))
        parts.append(text(x(tick), y.start + 17, label, "tick", "middle"))
        parts.append(text(x.start - 6, y(tick) + 4, label, "tick", "end"))
    parts.append(line(x.start, y.start, x.end, y.end, "one"))
    parts.append(text((x.start + x.end) / 2, side - 6, "mean prediction", "name", "middle"))
    middle = (y.start + y.end) / 2
    parts.append(
        el(
            "text", "click rate", x=12, y=middle, class_="name", text_anchor="middle",
            transform=f"rotate(-90 12 {middle:.0f})",
        )
    )  # fmt: skip
    parts.append(text(x.end - 6, y.start - 10, "▲ over-predicts", "small over", "end"))
    parts.append(text(x.start + 8, y.end + 16, "▼ under-predicts", "small under"))
    return Markup("").join(parts)


def _bin(one: Bin, x: Scale, y: Scale) -> Markup:
    if one.predicted <= 0:
        return Markup("")
    at, height = x(one.predicted), y(one.observed)
    off = off_diagonal(one)
    tip = (
        f"predicted {formatting.percent(one.predicted)}, "
        f"clicked {formatting.percent(one.observed)}\n"
        f"95 % interval {formatting.percent(one.low)} to {formatting.percent(one.high)}\n"
        f"{formatting.count(one.count)} impressions"
    )
    shape = {
        "over": el("path", d=f"M{at:.1f} {height - 6:.1f}l6 11h-12Z", class_="over"),
        "under": el("path", d=f"M{at:.1f} {height + 6:.1f}l6 -11h-12Z", class_="under"),
        "": el("circle", cx=at, cy=height, r=3.8, class_="dot"),
    }[off]
    return Markup("").join(
        [
            line(at, y(max(one.low, y.low)), at, y(one.high), f"whisker {off}"),
            shape,
            el("circle", cx=at, cy=height, r=13, class_="hit", data_tip=tip),
        ]
    )


_SHARE_ROW = 21.0


def shares_chart(drift: FieldDrift, width: float) -> Markup:
    """Draw the values that moved most."""
    most = max(max(share.before, share.after) for share in drift.shares) or 1.0
    x = Scale(0.0, most, 96.0, width - 84)
    height = _SHARE_ROW * len(drift.shares) + 6
    parts = [
        _share_row(share, x, 4 + _SHARE_ROW * number, width)
        for number, share in enumerate(drift.shares)
    ]
    label = f"Shares of the values of {drift.field} before and after"
    return drawing(width, height, parts, label, "chart")


def _share_row(share: Share, x: Scale, y: float, width: float) -> Markup:
    name = share.value or "(empty)"
    name = name if len(name) <= 14 else f"{name[:13]}…"
    middle = y + 9
    rose = share.after >= share.before
    change = formatting.percent(abs(share.after - share.before)).replace(" %", "")
    tip = (
        f"{share.value or '(empty)'}\nbefore {formatting.percent(share.before)}, "
        f"after {formatting.percent(share.after)}"
    )
    return Markup("").join(
        [
            text(0, y + 13, name, "row"),
            line(x.start, middle, x.end, middle, "grid"),
            line(x(share.before), middle, x(share.after), middle, "moved"),
            el("circle", cx=x(share.before), cy=middle, r=4, class_="before"),
            el("circle", cx=x(share.after), cy=middle, r=4, class_="after"),
            text(width, y + 13, f"{'+' if rose else '−'}{change} points", "tick", "end"),
            el("rect", x=0, y=y, width=width, height=_SHARE_ROW, class_="hit", data_tip=tip),
        ]
    )


_ROW, _GAP = 22.0, 1.5
_NAME_ROOM = 50.0
_LETTER = 6.6
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
    """One picture a field: its slices fill the width; on a phone they stand below each other."""
    fields = groupby(range(len(grid.columns)), lambda i: grid.columns[i].field)
    draw = _field if width > 500 else _narrow_field
    return Markup("").join(draw(grid, name, list(at), width) for name, at in fields)


def _narrow_field(grid: Grid, name: str, at: Sequence[int], width: float) -> Markup:
    """A slice a row, with room for its name; times or versions from left to right."""
    left, names = 118.0, [row.name for row in grid.rows]
    step = (width - left) / len(names)
    label = f"Slice grid of {name}: {len(at)} values by {len(names)} {grid.rows_are}"
    parts = [text(0, 14, name, "name")]
    if step >= _NAME_ROOM:
        parts += [
            text(left + n * step, 31, _fit(one, step - 8), "small") for n, one in enumerate(names)
        ]
    else:
        parts.append(text(left, 31, _fit(names[0], (width - left) / 2), "small"))
        parts.append(text(width, 31, _fit(names[-1], (width - left) / 2), "small", "end"))
    for number, i in enumerate(at):
        y, column = 36.0 + number * _ROW, grid.columns[i]
        parts.append(text(0, y + 15, _fit(column.value or "(empty)", left - 4), "row"))
        for n, row in enumerate(grid.rows):
            x = left + n * step
            parts.append(_cell(grid, row, column, row.cells[i], x, step - _GAP, y))
    return drawing(width, 42.0 + _ROW * len(at), parts, label, "chart grid-chart")


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
    label = f"Slice grid of {name}: {len(grid.rows)} {grid.rows_are} by {len(columns)} values"
    return drawing(width, height, parts, label, "chart grid-chart")


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
    named = [value for value in values if value not in (OTHERS, MISSING)]
    if len(named) < 3:
        return 0
    same = [a == b for a, b in zip(min(named), max(named), strict=False)]
    length = same.index(False) if False in same else len(same)
    return length if length >= 4 else 0


def _heading(value: str, shared: int, start: float, end: float) -> Markup:
    room = end - start - 3
    label = _fit(value or "(empty)", room)
    if shared and label != value and value not in (OTHERS, MISSING):
        label = _fit(f"…{value[shared:]}", room)
    return Markup("").join([
        text(start + 1, 31, label, "small") if label == value or len(label) > 3 else Markup(""),
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
    label = "" if shade is None else _shade_text(shade, grid.measure)
    if cell is not None and shade is not None and width >= _LETTER * len(label) + 4:
        sign = ("▲" if shade > 0 else "▼") if cell.sure else ""
        shown = f"{sign}{label}" if width >= _LETTER * (len(label) + 2) else label
        parts.append(text(x + width / 2, y + 15, shown, f"in {kind}", "middle"))
    elif cell is not None and shade is not None and cell.sure and width >= 9:
        parts.append(text(x + width / 2, y + 14, "▲" if shade > 0 else "▼", f"in {kind}", "middle"))
    return Markup("").join(parts)


def _by_chance(cell: GridCell) -> bool:
    """Whether the interval holds 1: no colour for what may be nothing."""
    return (
        cell.calibration_ratio is not None
        and cell.calibration_low is not None
        and cell.calibration_low <= 1.0
        and (cell.calibration_high is None or cell.calibration_high >= 1.0)
    )


def _shade_text(shade: float, measure: str) -> str:
    if measure == "calibration":
        return formatting.ratio(math.exp(shade))
    return f"{100 * shade:+.1f} %" if abs(shade) < 0.1 else f"{100 * shade:+.0f} %"


def _tip(grid: Grid, row: GridRow, column: GridColumn, cell: GridCell | None) -> str:
    first = f"{row.name}: {formatting.place(column.field, column.value)}"
    if cell is None:
        return f"{first}\nno impressions"
    label = [first, f"{formatting.count(cell.count)} impressions"]
    if cell.calibration_ratio is not None:
        bounds = formatting.interval(cell.calibration_low, cell.calibration_high)
        label.append(f"calibration ratio {formatting.ratio(cell.calibration_ratio)} ({bounds})")
    if cell.normalised_entropy is not None:
        label.append(f"NE {cell.normalised_entropy:.5f}")
    if grid.measure == "change" and cell.shade is not None:
        label.append(f"{_shade_text(cell.shade, 'change')} against the champion")
    if not cell.sure and grid.measure == "calibration":
        label.append("within chance")
    return "\n".join(label)


def _fit(label: str, width: float) -> str:
    """As much of a text as has room."""
    most = int(width / _LETTER)
    return label if len(label) <= most else f"{label[: max(0, most - 1)]}…" if most > 1 else ""
