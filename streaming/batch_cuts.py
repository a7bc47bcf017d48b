"""Batches cut: a row of clicks and views by its outcomes, a log in two; events left out."""

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
from features.spec import FieldSpec, SourceSpec, Spec
from features.times import NO_TIME, times_ms
from features.vectoriser import Vectoriser

__all__ = ["OUTCOMES", "LogSplit", "Subsample", "by_outcome", "split_log"]


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


class Subsample:
    """Some of the events that were not clicked are left out, corrected exactly.

    Clicks are rare, so most of the time goes into learning what was not clicked. A stated share of
    those is kept, chosen by the event's id (the same in every run), each with importance 1 / share:
    every expectation over the choice is that of all events (He et al., ADKDD 2014; McMahan et al.,
    KDD 2013, section 4.5), and so probabilities, statistics and figures need no correction
    afterwards.

    Parameters
    ----------
    share
        Of the events that were not clicked, above 0, up to 1.
    source
        Whose ``event_id`` chooses.

    Raises
    ------
    ClicktideError
        The share is none, or the source has no id.

    Examples
    --------
    >>> rows = pa.RecordBatch.from_pydict({"id": [str(n) for n in range(1000)]})
    >>> tenth = Subsample(0.1, SourceSpec(label="click", event_id="id"))
    >>> weight = tenth.weights(rows, np.zeros(1000))
    >>> sorted(set(weight.tolist())), bool(60 < (weight > 0).sum() < 140)
    ([0.0, 10.0], True)
    >>> float(tenth.weights(rows, np.ones(1000)).min())
    1.0
    """

    def __init__(self, share: float, source: SourceSpec) -> None:
        if not 0.0 < share <= 1.0:
            raise ClicktideError(
                f"{share} is no share of events. Fix: above 0, up to 1, such as 0.1"
            )
        if not source.event_id:
            raise ClicktideError(
                "which events are left out goes by their ids, and the spec names no column of "
                'them. Fix: set event_id = "COLUMN" in [source]'
            )
        self.share, self.column = share, source.event_id
        ids = (FieldSpec(names=(self.column,)),)
        self._hash = Vectoriser(Spec(name="", source=SourceSpec(label=""), fields=ids)).hash_batch
        self._below = int(share * 2**63)

    def weights(self, rows: pa.RecordBatch, labels: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each row counts for, float64 (rows,): 1, 1 / share, or 0 where it is left out."""
        hashed, _ = self._hash(rows.select([self.column]))
        kept = (hashed.tokens >> np.uint64(1)) < np.uint64(self._below)
        return np.where(labels == 1.0, 1.0, kept / self.share)
