"""Rows of the slice table: what a cell shows, and by what it is sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.report.model import SliceRow
from monitoring.watch import formatting

__all__ = ["COLUMNS", "TableRow", "columns_of", "slice_rows", "slices_text"]

COLUMNS = (
    ("field", "", "Sort by field"),
    ("value", "", "Sort by value"),
    ("ratio", "n", "Calibration ratio: predicted over observed clicks"),
    ("95 % interval", "n", "Sort by the distance of the interval from 1"),
    ("since", "", "Start of the period in which its calibration changed"),
    ("ratio since", "n", "Calibration ratio since then"),
    ("cost, clicks", "n", "Predicted less observed clicks"),
    ("cost, money", "n", "The same, weighed by the bids"),
    ("impressions", "n", "Sort by impressions"),
    ("clicks", "n", "Sort by clicks"),
    ("log loss", "n", "Sort by log loss"),
    ("NE", "n", "Normalised entropy: below 1 is better than the slice's own click rate"),
)
Cell = tuple[str, str | None]


@dataclass(frozen=True)
class TableRow:
    """A row to draw: (text, sort key) of each cell; a text sorts by itself."""

    field: str
    drifted: bool
    side: str
    cells: tuple[Cell, ...]


def columns_of(slices: Sequence[SliceRow]) -> list[int]:
    """Numbers of the columns that say something of some slice."""
    money = any(row.money is not None for row in slices)
    since = any(row.since is not None for row in slices)
    absent = {
        "cost, money": not money,
        "since": not since,
        "ratio since": not since,
    }
    return [i for i, (name, _, _) in enumerate(COLUMNS) if not absent.get(name)]


def slice_rows(
    slices: Sequence[SliceRow], columns: Sequence[int], axis: str, most: int
) -> list[TableRow]:
    """The rows that matter most: those that are off, then by cost; with these columns."""
    ordered = sorted(slices, key=lambda s: (not s.drifted, -abs(s.over_promised)))
    return [_row(row, columns, axis) for row in ordered[:most]]


def slices_text(slices: Sequence[SliceRow]) -> str:
    """One sentence on the table."""
    off = sum(row.drifted for row in slices)
    text = "none is" if not off else "1 is" if off == 1 else f"{off} are"
    return (
        f"Of {len(slices):,} slices {text} off by more than chance explains, with all of them "
        "looked at (▲ over-, ▼ under-predicted). Press a heading to sort."
    )


def _row(row: SliceRow, columns: Sequence[int], axis: str) -> TableRow:
    ratio = (row.since or row).calibration_ratio
    side = "" if not row.drifted else "under" if ratio is not None and ratio < 1 else "over"
    cells = _cells(row, {"over": "▲ ", "under": "▼ ", "": ""}[side], axis)
    return TableRow(row.field, row.drifted, side, tuple(cells[i] for i in columns))


def _cells(row: SliceRow, sign: str, axis: str) -> tuple[Cell, ...]:
    start = None if row.since is None else row.since.start
    since = "–" if start is None else formatting.when(start, axis).removesuffix(" UTC")
    later = None if row.since is None else row.since.calibration_ratio
    return (
        (row.field, None),
        (row.value or "(empty)", None),
        (f"{sign}{formatting.ratio(row.calibration_ratio)}", _key(row.calibration_ratio)),
        (formatting.interval(row.calibration_low, row.calibration_high), _key(_distance(row))),
        (since, _key(start)),
        (formatting.ratio(later), _key(later)),
        (_signed(row.over_promised, formatting.clicks), _key(row.over_promised)),
        (_signed(row.money, formatting.money), _key(row.money)),
        (formatting.count(row.count), str(row.count)),
        (formatting.count(row.clicks), _key(row.clicks)),
        (formatting.decimals(row.log_loss, 4), _key(row.log_loss)),
        (formatting.decimals(row.normalised_entropy, 4), _key(row.normalised_entropy)),
    )


def _distance(row: SliceRow) -> float | None:
    """How far 1 is outside of the interval; below 0: inside."""
    if row.calibration_low is None or row.calibration_high is None:
        return None
    return max(row.calibration_low - 1, 1 - row.calibration_high)


def _key(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _signed(value: float | None, text: object) -> str:
    if value is None:
        return "–"
    assert callable(text)
    return f"{'+' if value > 0 else ''}{text(value)}"
