"""Rows of the slice table: what a cell shows, and by what it is sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from monitoring.report.model import SliceRow
from monitoring.watch import formatting
from monitoring.watch.formatting import Words

__all__ = ["Column", "TableRow", "columns_of", "slice_rows", "slices_text"]


class Column(NamedTuple):
    """A heading: its name, ``n`` for numbers, and what it says in full."""

    name: str
    kind: str
    title: str


class TableRow(NamedTuple):
    """A row to draw: (text, sort key) of each cell; a text sorts by itself."""

    field: str
    drifted: bool
    side: str
    cells: tuple[tuple[str, str | None], ...]


def columns_of(slices: Sequence[SliceRow], words: Words) -> list[Column]:
    """The columns that say something of some slice."""
    clicks, rows = words.clicks, words.impressions
    than = f"below 1 is better than the slice's own {words.click}"
    money = any(row.money is not None for row in slices)
    since = any(row.since is not None for row in slices)
    columns = (
        Column("field", "", "Sort by field"),
        Column("value", "", "Sort by value"),
        Column("ratio", "n", f"Calibration ratio: predicted over observed {clicks}"),
        Column("95 % interval", "n", "Sort by the distance of the interval from 1"),
        Column("since", "", "Start of the period in which its calibration changed"),
        Column("ratio since", "n", "Calibration ratio since then"),
        Column(f"cost, {clicks}", "n", f"Predicted less observed {clicks}"),
        Column("cost, money", "n", "The same, weighed by the bids"),
        Column(rows, "n", f"Sort by {rows}"),
        Column(clicks, "n", f"Sort by {clicks}"),
        Column("log loss", "n", "Sort by log loss"),
        Column("NE", "n", f"Normalised entropy: {than} rate"),
    )
    empty = {"cost, money": not money, "since": not since, "ratio since": not since}
    return [column for column in columns if not empty.get(column.name)]


def slice_rows(
    slices: Sequence[SliceRow], columns: Sequence[Column], axis: str, most: int
) -> list[TableRow]:
    """The rows that matter most: those that are off, then by cost; with these columns."""
    ordered = sorted(slices, key=lambda s: (not s.drifted, -abs(s.over_promised)))
    return [_row(row, {column.name for column in columns}, axis) for row in ordered[:most]]


def slices_text(slices: Sequence[SliceRow]) -> str:
    """One sentence on the table."""
    off = sum(row.drifted for row in slices)
    text = "none is" if not off else "1 is" if off == 1 else f"{off} are"
    return (
        f"Of {len(slices):,} slices {text} off by more than chance explains, with all of them "
        "looked at (▲ over-, ▼ under-predicted). Press a heading to sort."
    )


def _row(row: SliceRow, names: set[str], axis: str) -> TableRow:
    ratio = (row.since or row).calibration_ratio
    side = "" if not row.drifted else "under" if ratio is not None and ratio < 1 else "over"
    sign = {"over": "▲ ", "under": "▼ ", "": ""}[side]
    distance = None  # how far 1 is outside of the interval; below 0: inside
    if row.calibration_low is not None and row.calibration_high is not None:
        distance = max(row.calibration_low - 1, 1 - row.calibration_high)
    cells: list[tuple[str, str | None]] = [
        (row.field, None),
        (row.value or "(empty)", None),
        (f"{sign}{formatting.ratio(row.calibration_ratio)}", _key(row.calibration_ratio)),
        (formatting.interval(row.calibration_low, row.calibration_high), _key(distance)),
    ]
    if "since" in names:
        start, later = (row.since.start, row.since.calibration_ratio) if row.since else (None, None)
        since = "–" if start is None else formatting.when(start, axis).removesuffix(" UTC")
        cells += [(since, _key(start)), (formatting.ratio(later), _key(later))]
    cells.append((_signed(row.over_promised, formatting.clicks), _key(row.over_promised)))
    if "cost, money" in names:
        cells.append((_signed(row.money, formatting.money), _key(row.money)))
    cells += [
        (formatting.count(row.count), str(row.count)),
        (formatting.count(row.clicks), _key(row.clicks)),
        (formatting.decimals(row.log_loss, 4), _key(row.log_loss)),
        (formatting.decimals(row.normalised_entropy, 4), _key(row.normalised_entropy)),
    ]
    return TableRow(row.field, row.drifted, side, tuple(cells))


def _key(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _signed(value: float | None, text: Callable[[float], str]) -> str:
    return "–" if value is None else f"{'+' if value > 0 else ''}{text(value)}"
