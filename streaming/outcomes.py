"""Rows that stand for many impressions: each becomes one of clicks and one of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from features.batch import Batch
from features.labels import clicks_of_views
from features.spec import SourceSpec

__all__ = ["OUTCOMES", "by_outcome"]

OUTCOMES = "\0outcomes"
"""Name of the column of how many impressions a row stands for, in a batch cut by outcome."""


def by_outcome(batch: Batch, source: SourceSpec) -> Batch:
    r"""Make a row of clicks and views two: one clicked, one not, each with its number.

    The gradient of a logistic loss is linear in the label, so the two rows, weighted, move the
    model as the impressions themselves would in one step. A row whose numbers are none is one
    row without a label. A log is cut by its rows, before this: a resumed read learns both halves
    of a row, or neither.

    Examples
    --------
    >>> rows = pa.RecordBatch.from_pydict({"clicks": ["1"], "views": ["5"], "ad": ["a"]})
    >>> from streaming.sources import Position
    >>> batch = Batch(rows, "log", lambda i: (2, b""), lambda i: Position("log", i + 1),
    ...               Position("log", 1))
    >>> by_outcome(batch, SourceSpec(label="clicks", views="views")).columns.to_pydict()
    {'clicks': [0.0, 1.0], 'views': ['5', '5'], 'ad': ['a', 'a'], '\x00outcomes': [4.0, 1.0]}
    """
    rows = batch.columns
    clicks, views = clicks_of_views(rows.column(source.label), rows.column(source.views))
    numbers = np.column_stack([views - clicks, clicks])
    numbers[np.isnan(clicks), 0] = 1.0
    row, label = np.nonzero(numbers > 0)  # NaN is not above 0
    columns = rows.take(pa.array(row))
    clicked = np.where(np.isnan(clicks[row]), np.nan, label)
    columns = columns.set_column(
        columns.schema.get_field_index(source.label), source.label, pa.array(clicked)
    ).append_column(OUTCOMES, pa.array(numbers[row, label]))
    return replace(
        batch,
        columns=columns,
        positions=lambda i: batch.positions(int(row[i])),
        origin=lambda i: batch.origin(int(row[i])),
    )
