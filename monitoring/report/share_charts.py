"""Charts of groups: reliability diagram, shares before and after, slice grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from monitoring.report.model import Bin, FieldDrift, Grid, GridCell, GridColumn, GridRow, Share
from monitoring.report.slice_grid import OTHERS
from monitoring.report.svg import Picture, Scale, log_ticks
from monitoring.watch import formatting
from monitoring.watch.categorical import MISSING
from monitoring.watch.formatting import Words, percent

__all__ = ["grid_charts", "off_diagonal", "reliability_chart", "shade_class", "shares_chart"]


def off_diagonal(one: Bin) -> str:
    """Tell a bin whose interval leaves the diagonal out: ``over``, ``under`` or nothing."""
    if one.predicted > one.high:
        return "over"
    return "under" if one.predicted < one.low else ""


def reliability_chart(bins: Sequence[Bin], width: float, words: Words) -> Markup:
    """Draw it; points under the diagonal are over-predicted."""
    side = min(width, 470.0)
    low, high = _ends(bins)
    x = Scale(low, high, 54.0, side - 12, log=True)
    y = Scale(low, high, side - 42, 12, log=True)
    picture = Picture()
    _axes(picture, x, y, side, words)
    for one in bins:
        if one.predicted > 0:
            _bin(picture, one, x, y, words)
    label = f"Reliability diagram: observed {words.click} rate of groups of equal size by their "
    return picture.svg(side, side, f"{label}prediction")


def _ends(bins: Sequence[Bin]) -> tuple[float, float]:
    figures = [f for b in bins for f in (b.predicted, b.observed, b.low, b.high) if f > 0]
    least = min(b.predicted for b in bins if b.predicted > 0) / 4
    low = max(min(figures, default=0.001), least, 1e-7) / 1.2
    return low, min(1.0, max(figures, default=1.0) * 1.2)


def _axes(picture: Picture, x: Scale, y: Scale, side: float, words: Words) -> None:
    for tick in log_ticks(x.low, x.high, 9 if side > 400 else 6):
        label = f"{100 * tick:g} %"
        picture.line(x(tick), y.end, x(tick), y.start, "grid")
        picture.line(x.start, y(tick), x.end, y(tick), "grid")
        picture.text(x(tick), y.start + 17, label, "tick", "middle")
        picture.text(x.start - 6, y(tick) + 4, label, "tick", "end")
    picture.line(x.start, y.start, x.end, y.end, "one")
    picture.text((x.start + x.end) / 2, side - 6, "mean prediction", "name", "middle")
    middle = (y.start + y.end) / 2
    picture.add(
        "text", f"{words.click} rate", x=12, y=middle, class_="name", text_anchor="middle",
        transform=f"rotate(-90 12 {middle:.0f})",
    )  # fmt: skip
    picture.text(x.end - 6, y.start - 10, "▲ over-predicts", "small over", "end")
    picture.text(x.start + 8, y.end + 16, "▼ under-predicts", "small under")


def _bin(picture: Picture, one: Bin, x: Scale, y: Scale, words: Words) -> None:
    at, height, off = x(one.predicted), y(one.observed), off_diagonal(one)
    tip = (
        f"predicted {percent(one.predicted)}, {words.clicked} {percent(one.observed)}\n"
        f"95 % interval {percent(one.low)} to {percent(one.high)}\n"
        f"{formatting.count(one.count)} {words.impressions}"
    )
    picture.line(at, y(max(one.low, y.low)), at, y(one.high), f"whisker {off}")
    if off:
        tip_y, sign = (height - 6, "") if off == "over" else (height + 6, "-")
        picture.add("path", d=f"M{at:.1f} {tip_y:.1f}l6 {sign}11h-12Z", class_=off)
    else:
        picture.add("circle", cx=at, cy=height, r=3.8, class_="dot")
    picture.add("circle", cx=at, cy=height, r=13, class_="hit", data_tip=tip)


_SHARE_ROW = 21.0


def shares_chart(drift: FieldDrift, width: float) -> Markup:
    """Draw the values that moved most."""
    most = max(max(share.before, share.after) for share in drift.shares) or 1.0
    x, picture = Scale(0.0, most, 96.0, width - 84), Picture()
    for number, share in enumerate(drift.shares):
        _share_row(picture, share, x, 4 + _SHARE_ROW * number, width)
    label = f"Shares of the values of {drift.field} before and after"
    return picture.svg(width, _SHARE_ROW * len(drift.shares) + 6, label)


def _share_row(picture: Picture, share: Share, x: Scale, y: float, width: float) -> None:
    name, middle = share.value or "(empty)", y + 9
    sign = "+" if share.after >= share.before else "−"
    change = percent(abs(share.after - share.before)).replace(" %", "")
    tip = f"{name}\nbefore {percent(share.before)}, after {percent(share.after)}"
    picture.text(0, y + 13, name if len(name) <= 14 else f"{name[:13]}…", "row")
    picture.line(x.start, middle, x.end, middle, "grid")
    picture.line(x(share.before), middle, x(share.after), middle, "moved")
    picture.add("circle", cx=x(share.before), cy=middle, r=4, class_="before")
    picture.add("circle", cx=x(share.after), cy=middle, r=4, class_="after")
    picture.text(width, y + 13, f"{sign}{change} points", "tick", "end")
    picture.add("rect", x=0, y=y, width=width, height=_SHARE_ROW, class_="hit", data_tip=tip)


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


def grid_charts(grid: Grid, width: float, words: Words) -> Markup:
    """One picture a field: its slices fill the width; on a phone they stand below each other."""
    fields = groupby(range(len(grid.columns)), lambda i: grid.columns[i].field)
    draw = _wide_field if width > 500 else _narrow_field
    return Markup("").join(draw(grid, name, list(at), width, words) for name, at in fields)


def _narrow_field(grid: Grid, name: str, at: Sequence[int], width: float, words: Words) -> Markup:
    """A slice a row, with room for its name; times or versions from left to right."""
    left, names = 118.0, [row.name for row in grid.rows]
    step, picture = (width - left) / len(names), _GridPicture(grid, words)
    picture.text(0, 14, name, "name")
    if step >= _NAME_ROOM:
        for n, one in enumerate(names):
            picture.text(left + n * step, 31, _fit(one, step - 8), "small")
    else:
        picture.text(left, 31, _fit(names[0], (width - left) / 2), "small")
        picture.text(width, 31, _fit(names[-1], (width - left) / 2), "small", "end")
    for number, i in enumerate(at):
        y, value = 36.0 + number * _ROW, grid.columns[i].value
        picture.text(0, y + 15, _fit(value or "(empty)", left - 4), "row")
        for n, row in enumerate(grid.rows):
            picture.cell(row, i, left + n * step, step - _GAP, y)
    label = f"Slice grid of {name}: {len(at)} values by {len(names)} {grid.rows_are}"
    return picture.svg(width, 42.0 + _ROW * len(at), label, "chart grid-chart")


def _wide_field(grid: Grid, name: str, at: Sequence[int], width: float, words: Words) -> Markup:
    left, top, picture = 132.0, 36.0, _GridPicture(grid, words)
    columns = [grid.columns[i] for i in at]
    edges = _edges(columns, left, width - 4)
    picture.text(0, 14, name, "name")
    shared = _shared([column.value for column in columns])
    for column, (start, end) in zip(columns, edges, strict=True):
        picture.heading(column.value, shared, start, end)
    for number, row in enumerate(grid.rows):
        y = top + number * _ROW
        picture.text(0, y + 15, _fit(row.name, left - 10), "row")
        for i, (start, end) in zip(at, edges, strict=True):
            picture.cell(row, i, start, end - start - _GAP, y)
    label = f"Slice grid of {name}: {len(grid.rows)} {grid.rows_are} by {len(columns)} values"
    return picture.svg(width, top + _ROW * len(grid.rows) + 6, label, "chart grid-chart")


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


class _GridPicture(Picture):
    def __init__(self, grid: Grid, words: Words) -> None:
        super().__init__()
        self.grid, self.words = grid, words

    def heading(self, value: str, shared: int, start: float, end: float) -> None:
        """A column's name, as much of it as has room."""
        room = end - start - 3
        label = _fit(value or "(empty)", room)
        if shared and label != value and value not in (OTHERS, MISSING):
            label = _fit(f"…{value[shared:]}", room)
        if label == value or len(label) > 3:
            self.text(start + 1, 31, label, "small")
        self.line(start, 34, end - _GAP, 34, "axis")

    def cell(self, row: GridRow, i: int, x: float, width: float, y: float) -> None:
        """A row's figures in one column: a shade, and in words where there is room."""
        measure, column, cell = self.grid.measure, self.grid.columns[i], row.cells[i]
        shade = None if cell is None else cell.shade
        kind = shade_class(shade, measure)
        if cell is not None and measure == "calibration" and _by_chance(cell):
            kind = "n"
        width, tip = max(1.0, width), self._tip(row, column, cell)
        look = {"class_": f"cell {kind}", "data_tip": tip}
        self.add("rect", x=x, y=y, width=width, height=_ROW - _GAP, **look)
        if cell is None or shade is None:
            return
        label, sign = _shade_text(shade, measure), "▲" if shade > 0 else "▼"
        if width >= _LETTER * len(label) + 4:
            signed = cell.sure and width >= _LETTER * (len(label) + 2)
            label = f"{sign}{label}" if signed else label
            self.text(x + width / 2, y + 15, label, f"in {kind}", "middle")
        elif cell.sure and width >= 9:
            self.text(x + width / 2, y + 14, sign, f"in {kind}", "middle")

    def _tip(self, row: GridRow, column: GridColumn, cell: GridCell | None) -> str:
        lines = [f"{row.name}: {formatting.place(column.field, column.value)}"]
        if cell is None:
            return f"{lines[0]}\nno {self.words.impressions}"
        lines.append(f"{formatting.count(cell.count)} {self.words.impressions}")
        if cell.calibration_ratio is not None:
            bounds = formatting.interval(cell.calibration_low, cell.calibration_high)
            lines.append(f"calibration ratio {formatting.ratio(cell.calibration_ratio)} ({bounds})")
        if cell.normalised_entropy is not None:
            lines.append(f"NE {cell.normalised_entropy:.5f}")
        if self.grid.measure == "change" and cell.shade is not None:
            lines.append(f"{_shade_text(cell.shade, 'change')} against the champion")
        if not cell.sure and self.grid.measure == "calibration":
            lines.append("within chance")
        return "\n".join(lines)


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


def _fit(label: str, width: float) -> str:
    """As much of a text as has room."""
    most = int(width / _LETTER)
    return label if len(label) <= most else f"{label[: max(0, most - 1)]}…" if most > 1 else ""
