"""Slices in a report's data: the table's rows, and the grid."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Grid",
    "GridCell",
    "GridColumn",
    "GridRow",
    "SliceRow",
]


class SliceRow(msgspec.Struct, frozen=True):
    """One slice: the events with one value of one field.

    Parameters
    ----------
    cost_clicks, cost_money
        Promised less observed, as in :class:`Alarm`.
    drifted
        Its ratio differs from 1, over all or since a change, by more than chance explains, with
        all slices looked at.
    since, ratio_since, low_since, high_since, cost_since, money_since
        Where its calibration has changed once: the start of the period in which it did, and the
        figures since then.
    change
        Log loss against the champion's on the same events, relative (0.01: 1 % worse).
    """

    field: str
    value: str
    count: int
    clicks: float
    mean_prediction: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    log_loss: float | None = None
    normalised_entropy: float | None = None
    cost_clicks: float | None = None
    cost_money: float | None = None
    drifted: bool = False
    change: float | None = None
    since: int | None = None
    ratio_since: float | None = None
    low_since: float | None = None
    high_since: float | None = None
    cost_since: float | None = None
    money_since: float | None = None


class GridColumn(msgspec.Struct, frozen=True):
    """One slice of the grid; its width is the count."""

    field: str
    value: str
    count: int


class GridCell(msgspec.Struct, frozen=True):
    """One row's figures in one slice.

    Parameters
    ----------
    shade
        What colours the cell: the relative change of the normalised entropy against the
        champion (below 0: better), or the logarithm of the calibration ratio (see
        ``Grid.measure``).
    sure
        It differs from 0 by more than chance explains.
    """

    count: int
    shade: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    normalised_entropy: float | None = None
    sure: bool = False


class GridRow(msgspec.Struct, frozen=True):
    """A version, a challenger or a period; a cell for every column."""

    name: str
    cells: tuple[GridCell | None, ...]
    note: str = ""


class Grid(msgspec.Struct, frozen=True):
    """Rows against slices (McMahan et al. 2013, section 8: GridViz).

    Parameters
    ----------
    rows_are
        What a row is.
    measure
        What the colour is: ``change`` against the champion, or ``calibration``.
    """

    rows_are: Literal["versions", "periods"]
    measure: Literal["change", "calibration"]
    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]
