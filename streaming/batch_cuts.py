"""Batches cut: a row of clicks and views by its outcomes, and a log in two, by time or by rows."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.batch import Batch
from features.errors import ClicktideError
from features.labels import clicks_of_views
from features.spec import SourceSpec
from features.times import NO_TIME, times_ms

__all__ = ["OUTCOMES", "LogSplit", "by_outcome", "split_log"]


@dataclass(frozen=True)
class LogSplit:
    """Where a log is cut.

    Parameters
    ----------
    source
        Which column is the time; without one, rows are counted.
    cut
        The first time (ms) or row that is not in the first part.
    """

    source: SourceSpec
    cut: int

    @property
    def by_time(self) -> bool:
        """Whether the cut is a time."""
        return bool(self.source.timestamp)

    def first(self, batches: Generator[Batch]) -> Generator[Batch]:
        """The rows before the cut, and all rows that are rejected."""
        yield from self._part(batches, later=False)

    def rest(self, batches: Generator[Batch]) -> Generator[Batch]:
        """The rows from the cut on."""
        yield from self._part(batches, later=True)

    def _part(self, batches: Generator[Batch], later: bool) -> Generator[Batch]:
        rows = 0
        with closing(batches):
            for batch in batches:
                places = _places(batch, self.source, rows)
                rows += batch.columns.num_rows
                yield _take_rows(batch, np.flatnonzero((places >= self.cut) == later), not later)


def split_log(batches: Iterable[Batch], source: SourceSpec, share: float) -> LogSplit:
    """Find where to cut a log, by its times if they differ enough, else by rows.

    Parameters
    ----------
    batches
        The whole log, with at least the column of the time.
    source
        Which column that is.
    share
        Of the rows that come before the cut, about: rows of one time stay together.

    Raises
    ------
    ClicktideError
        There are too few rows.

    Examples
    --------
    >>> from streaming.sources import Position
    >>> rows = pa.RecordBatch.from_pydict({"at": [4, 1, 3, 2], "y": [0, 0, 0, 1]})
    >>> log = Batch(rows, "log", lambda i: (i + 1, b""), lambda i: Position("log", i + 1),
    ...             Position("log", 4))
    >>> split = split_log([log], SourceSpec(label="y", timestamp="at", timestamp_format="s"), 0.75)
    >>> split.cut, [part.columns["at"].to_pylist() for part in split.rest(one for one in [log])]
    (4000, [[4]])
    """
    places = np.concatenate([np.empty(0, np.int64), *(_places(b, source, 0) for b in batches)])
    count = len(places)
    if source.timestamp:
        times = np.sort(places[places != NO_TIME])
        cut = int(times[int(share * len(times))]) if len(times) else NO_TIME
        if len(times) and times[0] < cut:
            return LogSplit(source, cut)
    cut = round(share * count)
    if not 0 < cut < count:
        raise ClicktideError(
            f"a log of {count:,} rows cannot be cut in two. Fix: give a longer one"
        )
    return LogSplit(msgspec.structs.replace(source, timestamp=""), cut)


def _places(batch: Batch, source: SourceSpec, before: int) -> NDArray[np.int64]:
    """Time or number of each row; a row whose time cannot be read is in the first part."""
    count = batch.columns.num_rows
    if not source.timestamp:
        return np.arange(before, before + count)
    times, bad = times_ms(batch.columns.column(source.timestamp), source.timestamp_format)
    return np.where(bad, NO_TIME, times)


def _take_rows(batch: Batch, rows: NDArray[np.int64], with_rejects: bool) -> Batch:
    return replace(
        batch,
        columns=batch.columns.take(pa.array(rows)),
        origin=lambda i: batch.origin(int(rows[i])),
        positions=lambda i: batch.positions(int(rows[i])),
        rejects=batch.rejects if with_rejects else [],
    )


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
