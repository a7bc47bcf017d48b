"""Predictions with their outcomes: the one batch that windows, detectors and reports work on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ClicktideError
from features.labels import labels
from features.times import NO_TIME, times_ms
from features.values import as_text, to_number
from monitoring.coded import Coded

__all__ = ["Scored", "TableColumns", "scored_table"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions and what became of them: n impressions, in the order in which they came.

    Parameters
    ----------
    time_ms
        int64 (n,): event time of the impression.
    probability
        float64 (n,): the predicted click probability, in 0..1.
    label
        float64 (n,): 1 clicked, 0 not.
    bid
        float64 (n,): what a click is worth, NaN where it is not known.
    click_delay_ms
        float64 (n,): from impression to click, NaN where there was none or it is not known.
    correction
        bool (n,): a late click: this row amends one of the same impression that came earlier
        with label 0, and has label 1. It is not another impression.
    slices
        By field: its value in each row, see :class:`monitoring.coded.Coded`. Every batch of one
        stream has the same fields.
    version
        The model version that predicted, if known.

    Examples
    --------
    >>> table = pa.table({"click": [0, 1], "p": [0.1, 0.4], "site": ["a", None]})
    >>> batch, dropped = scored_table(table, TableColumns("click", "p", slices=("site",)))
    >>> batch.label.tolist(), batch.slices["site"].values, dropped
    ([0.0, 1.0], ['a', '(missing)'], Counter())
    """

    time_ms: I64
    probability: F64
    label: F64
    bid: F64
    click_delay_ms: F64
    correction: NDArray[np.bool_]
    slices: Mapping[str, Coded] = field(default_factory=dict)
    version: Coded | None = None

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: I64 | NDArray[np.bool_] | slice) -> Scored:
        """Some rows: their numbers in order, a mask, or a slice (that copies nothing)."""
        return Scored(
            self.time_ms[rows],
            self.probability[rows],
            self.label[rows],
            self.bid[rows],
            self.click_delay_ms[rows],
            self.correction[rows],
            {name: coded.take(rows) for name, coded in self.slices.items()},
            None if self.version is None else self.version.take(rows),
        )

    def with_probability(self, probability: F64) -> Scored:
        """The same rows, predicted otherwise."""
        return replace(self, probability=probability)


@dataclass(frozen=True, slots=True)
class TableColumns:
    """Which column of a table is what; an empty name: the table has none.

    Parameters
    ----------
    label, probability
        0/1 or true/false, and the prediction in 0..1.
    time, time_format
        Event time; ``iso``, ``s``, ``ms``, ``us`` or a strptime pattern. Without one, a row's
        number is its time in milliseconds.
    bid, version
        Value of a click; model version.
    slices
        Columns to slice by.
    """

    label: str
    probability: str
    time: str = ""
    time_format: str = "iso"
    bid: str = ""
    version: str = ""
    slices: Sequence[str] = ()

    def missing(self, names: Sequence[str]) -> list[str]:
        """Columns that a table of these columns lacks."""
        wanted = (self.label, self.probability, self.time, self.bid, self.version, *self.slices)
        return [name for name in wanted if name and name not in names]


def scored_table(
    table: pa.Table | pa.RecordBatch, columns: TableColumns, first_row: int = 0
) -> tuple[Scored, Counter[str]]:
    """Make a batch of a stretch of any log of predictions and clicks.

    Parameters
    ----------
    table
        Some rows.
    columns
        Which column is what.
    first_row
        Number of the first row in its file: the time of logs that have none.

    Returns
    -------
    batch, dropped
        The good rows, and how many others there were by reason: ``bad_label``,
        ``bad_probability`` (not a number in 0..1), ``bad_time``.

    Raises
    ------
    ClicktideError
        A named column is not in the table.
    """
    if absent := columns.missing(table.schema.names):
        raise ClicktideError(
            f"column {absent[0]!r} is not in the log, which has "
            f"{', '.join(table.schema.names)}. Fix: name one of these"
        )
    rows = table.num_rows
    label = labels(_array(table, columns.label))
    p = _numbers(_array(table, columns.probability))
    time, bad_time = _times(table, columns, first_row)
    bid = _numbers(_array(table, columns.bid)) if columns.bid else np.full(rows, np.nan)
    batch = Scored(
        time,
        p,
        label,
        bid,
        np.full(rows, np.nan),
        np.zeros(rows, np.bool_),
        {name: Coded.of(table.column(name)) for name in columns.slices},
        Coded.of(table.column(columns.version)) if columns.version else None,
    )
    return _good(batch, bad_time)


def _good(batch: Scored, bad_time: NDArray[np.bool_]) -> tuple[Scored, Counter[str]]:
    p = batch.probability
    faults = {
        "bad_label": np.isnan(batch.label),
        "bad_probability": ~((p >= 0.0) & (p <= 1.0)),
        "bad_time": bad_time,
    }
    good, dropped = np.ones(len(batch), np.bool_), Counter[str]()
    for reason, wrong in faults.items():
        count = int((wrong & good).sum())
        if count:
            dropped[reason] = count
            good &= ~wrong
    return (batch.take(good) if dropped else batch), dropped


def _times(
    table: pa.Table | pa.RecordBatch, columns: TableColumns, first_row: int
) -> tuple[I64, NDArray[np.bool_]]:
    if not columns.time:
        return first_row + np.arange(table.num_rows), np.zeros(table.num_rows, np.bool_)
    times, bad = times_ms(_array(table, columns.time), columns.time_format)
    return times, bad | (times == NO_TIME)


def _array(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    column = table.column(name)
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _numbers(column: pa.Array) -> F64:
    """As float64; NaN where it is not a number."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = pc.fill_null(column.cast(pa.float64()), float("nan"))
        return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    numbers = (to_number(as_text(value)) for value in column.to_pylist())
    return np.array([np.nan if number is None else number for number in numbers], np.float64)
