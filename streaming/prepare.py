"""From a batch of rows to events ready to learn or score; every bad row becomes a reject."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch import Batch, Position, Reject
from features.counters.counting import Counters, Occurrences
from features.counters.rates import LATE
from features.counters.table import NO_TIME
from features.errors import ClicktideError
from features.hashed import Hashed
from features.labels import importance, labels, labels_due
from features.spec import SourceSpec
from features.times import times_ms
from features.transforms import CATEGORY
from features.values import as_text, to_number
from features.vectoriser import Vectoriser
from streaming.batch_cuts import OUTCOMES, Subsample, by_outcome
from streaming.served_counters import served_matrix

__all__ = ["CORRECTION", "ONE_IN", "SERVED", "Preparer", "Ready", "TimeOrder"]

CORRECTION = "\0correction"
"""Name of the column, in a batch that has it, that says which rows amend earlier ones."""

ONE_IN = "\0one in"
"""Name of the column, in a batch that has it, that says of how many unclicked ones a row is one."""

SERVED = "\0served"
"""Name of the column, in a batch that has it, of the counters each row was predicted with.

JSON objects, value by name; null where a row carries none. They are what is learned, as they
were served; the table counts such an event all the same.
"""

F64 = NDArray[np.float64]
_MAX_DELAY_MS = 10**13
_NEAR = 16  # rows whose median is the time that the log has come to: one fast clock moves nothing
_HOUR_MS = 3_600_000
_NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Ready:
    """Events ready to learn, or to score.

    Parameters
    ----------
    hashed
        Token hashes of the n good rows.
    rows
        int64 (n,): their numbers within the batch, rising.
    labels
        float64 (n,): 0 or 1; NaN, which no learner survives, where the source has none.
    importance, truth
        float64 (n,), or ``None`` where the source has none.
    rejects
        Rows of this stretch that cannot be used, in no order.
    position
        Of the source, after all this.
    quantiles
        What fields that learn their edges know after all this; ``None`` if nothing changed.
    corrections
        int8 (n,): 0 an event, 1 the late click of one that was learned as not clicked, 2 an
        amendment that changes no label; ``None``: all are events.
    counted
        What the counters were told by all this; ``None`` if nothing.
    """

    hashed: Hashed
    rows: NDArray[np.int64]
    labels: F64
    importance: F64 | None
    truth: F64 | None
    rejects: list[Reject]
    position: Position
    quantiles: dict[str, Any] | None = None
    corrections: NDArray[np.int8] | None = None
    counted: Counted | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Some events, and the counters that know them already."""

    by: Counters
    seen: Occurrences

    def tell(self, counters: Counters) -> None:
        """Let other counters know these events too."""
        if counters is not self.by:
            counters.advance(self.seen)


class Preparer:
    """Reads label, weight and time of each row, and hashes it.

    Counters that a spec declares are read from the vectoriser's own table, event by event in
    order, unless the batch carries them as they were served.

    Parameters
    ----------
    vectoriser
        What hashes the rows; called from one thread at a time.
    source
        Which column is what. An empty name means that the log has no such column; without a
        label its events can be scored, not learned.
    learn
        Whether fields that learn their quantile edges go on learning with every batch, and
        counters go on counting.
    subsample
        Which events are left out; ``None``: none. Not with counters, which would miss them.

    Attributes
    ----------
    time_order
        Whether the times of the rows rose so far.

    Examples
    --------
    >>> from features.spec import FieldSpec, Spec
    >>> from streaming.sources import Batch, Position
    >>> spec = Spec(name="x", source=SourceSpec(label="click"), fields=(FieldSpec(names=("ad",)),))
    >>> rows = pa.RecordBatch.from_pydict({"click": ["1", "maybe", "0"], "ad": ["a", "b", "c"]})
    >>> batch = Batch(rows, "log", lambda i: (i + 1, b""), lambda i: Position("log", i + 1),
    ...               Position("log", 3))
    >>> ready = Preparer(Vectoriser(spec), spec.source)(batch)
    >>> ready.rows.tolist(), ready.labels.tolist(), ready.rejects[0].detail
    ([0, 2], [1.0, 0.0], "column 'click': 'maybe' is not 0, 1, true or false")
    """

    def __init__(
        self, vectoriser: Vectoriser, source: SourceSpec, *, learn: bool = True,
        subsample: Subsample | None = None,
    ) -> None:  # fmt: skip
        if subsample is not None and vectoriser.counters is not None:
            raise ClicktideError(
                "events cannot be left out under a spec with counters, which would not count them. "
                "Fix: a spec without [[counters]]"
            )
        self.vectoriser, self.subsample = vectoriser, subsample
        self.source = source
        self.learn = learn
        self.time_order = TimeOrder()

    @property
    def columns(self) -> list[str]:
        """Source columns that are needed, each once."""
        source = self.source
        wanted = [source.label, source.views, source.weight, source.timestamp, source.truth]
        wanted += self.vectoriser.columns
        if self.vectoriser.counters is not None:
            wanted += [*self.vectoriser.counters.columns, source.click_delay]
        if self.subsample is not None:
            wanted.append(self.subsample.column)
        return list(dict.fromkeys(c for c in wanted if c))

    def __call__(self, batch: Batch) -> Ready:
        """Prepare a batch."""
        if self.source.views:
            batch = by_outcome(batch, self.source)
        targets = self._read(batch.columns)
        good, rejects = _check(batch, targets)
        if self.subsample is not None and targets.labels is not None:
            weights = self.subsample.weights(batch.columns, targets.labels)
            good &= weights > 0.0
            own = targets.importance
            targets = replace(targets, importance=weights if own is None else weights * own)
        learning = self.learn and self.vectoriser.quantiles.learning
        hashed, good_rows, faulty, counted = self._hash(batch, np.flatnonzero(good), targets)
        labels = targets.labels
        return Ready(
            hashed=hashed,
            rows=good_rows,
            labels=np.full(len(good_rows), np.nan) if labels is None else labels[good_rows],
            importance=None if targets.importance is None else targets.importance[good_rows],
            truth=None if targets.truth is None else targets.truth[good_rows],
            rejects=[*batch.rejects, *rejects, *faulty],
            position=batch.position,
            quantiles=self.vectoriser.quantiles.state() if learning else None,
            corrections=_corrections(batch.columns, good_rows),
            counted=counted,
        )

    def _read(self, rows: pa.RecordBatch) -> _Targets:
        source = self.source
        times = bad_time = None
        if source.timestamp:
            times, bad_time = times_ms(rows.column(source.timestamp), source.timestamp_format)
            self.time_order.add(times[~bad_time & (times != NO_TIME)])
        return _Targets(
            source,
            labels(rows.column(source.label), source.label_values) if source.label else None,
            _importance(rows, source),
            _truth(rows.column(source.truth)) if source.truth else None,
            bad_time,
            times,
        )

    def _hash(
        self, batch: Batch, good_rows: NDArray[np.int64], targets: _Targets
    ) -> tuple[Hashed, NDArray[np.int64], list[Reject], Counted | None]:
        """Hash some rows of a batch: which of them went well, and rejects of the others."""
        whole = len(good_rows) == batch.columns.num_rows
        rows = batch.columns if whole else batch.columns.take(pa.array(good_rows))
        count = None
        if self.vectoriser.counters is not None:
            count = _Count(self.vectoriser.counters, rows, targets.of_rows(good_rows), self.learn)
        hashed, faults = self.vectoriser.hash_batch(rows, learn=self.learn, count=count)
        rejects = []
        for i in np.flatnonzero(faults.field).tolist():
            detail = self.vectoriser.describe_fault(rows, i, faults)
            field = self.vectoriser.fields[faults.field[i] - 1]
            reason = "bad_time" if field.is_time else "bad_number"
            if field.kind == CATEGORY:  # of which only a list or an object is none
                reason = "bad_value"
            rejects.append(batch.reject(int(good_rows[i]), reason, detail))
        return hashed, good_rows[faults.field == 0], rejects, count.counted if count else None


class _Count:
    """Reads the counters of some rows, and counts those that are good."""

    def __init__(
        self, counters: Counters, rows: pa.RecordBatch, targets: _Targets, learn: bool
    ) -> None:
        self.counters, self.rows, self.targets, self.learn = counters, rows, targets, learn
        self.counted: Counted | None = None

    def __call__(self, good: NDArray[np.bool_]) -> F64:
        """Values of the counters of every row; of no meaning where a row is not good."""
        seen = self._occurrences(good)
        if not self.learn:
            return self._with_served(self.counters.read(seen))
        self.counted = Counted(self.counters, seen)
        return self._with_served(self.counters.advance(seen))

    def _with_served(self, values: F64) -> F64:
        # What an impression's counters were when it was learned is gone, unless it carries them.
        # Other values would teach that these come with clicks, for a late click is always one.
        values[self._amendments()] = LATE
        if SERVED not in self.rows.schema.names:
            return values
        served = self.rows.column(SERVED)
        counters = served_matrix(served, self.counters.value_names)
        counters[~((counters >= 0.0) & (counters < np.inf))] = np.nan  # no count of anything
        carried = served.is_valid().to_numpy(zero_copy_only=False)
        values[carried] = counters[carried]
        return values

    def _occurrences(self, good: NDArray[np.bool_]) -> Occurrences:
        targets = self.targets
        missing = np.full(self.rows.num_rows, NO_TIME)
        good = good & ~self._amendments()  # its impression has been counted already
        times = missing if targets.times is None else np.where(good, targets.times, NO_TIME)
        clicked = (
            np.zeros(len(times), np.bool_) if targets.labels is None else targets.labels == 1.0
        )
        delay = targets.source.click_delay
        delays = _delays(self.rows.column(delay)) if delay in self.rows.schema.names else None
        return Occurrences(self.counters.keys_of_batch(self.rows), times, clicked, delays)

    def _amendments(self) -> NDArray[np.bool_]:
        """Which rows amend earlier ones."""
        if CORRECTION not in self.rows.schema.names:
            return np.zeros(self.rows.num_rows, np.bool_)
        return np.asarray(self.rows.column(CORRECTION).to_numpy(zero_copy_only=False) != 0)


@dataclass(frozen=True, slots=True)
class _Targets:
    """Label, weight, truth and time of each row of a batch."""

    source: SourceSpec
    labels: F64 | None
    importance: F64 | None
    truth: F64 | None
    bad_time: NDArray[np.bool_] | None
    times: NDArray[np.int64] | None = None

    def of_rows(self, rows: NDArray[np.int64]) -> _Targets:
        """Label and time of some rows: what counters are to know."""
        labels = None if self.labels is None else self.labels[rows]
        times = None if self.times is None else self.times[rows]
        return _Targets(self.source, labels, None, None, None, times)

    def faults(self) -> list[tuple[str, str, str, NDArray[np.bool_]]]:
        """(reason, column, what is due, where it is not) of each check."""
        source, out = self.source, []
        if self.labels is not None:
            wrong = np.isnan(self.labels)
            due = f"a number of clicks among {source.views!r} (1 to 1,000,000)"
            due = due if source.views else labels_due(source.label_values)
            out.append(("bad_label", source.label, due, wrong))
        if self.importance is not None:
            wrong = np.isnan(self.importance)
            out.append(("bad_weight", source.weight, "a number from 0 to 1,000,000", wrong))
        if self.bad_time is not None:
            due = f"a time ({source.timestamp_format})"
            out.append(("bad_time", source.timestamp, due, self.bad_time))
        return out


def _check(batch: Batch, targets: _Targets) -> tuple[NDArray[np.bool_], list[Reject]]:
    """Which rows pass, and rejects of those that do not, each under its first fault."""
    good = np.ones(batch.columns.num_rows, np.bool_)
    rejects = []
    for reason, column, due, wrong in targets.faults():
        for i in np.flatnonzero(wrong & good).tolist():
            rejects.append(batch.misfit(i, reason, column, due))
        good &= ~wrong
    return good, rejects


def _importance(rows: pa.RecordBatch, source: SourceSpec) -> F64 | None:
    weight = importance(rows.column(source.weight)) if source.weight else None
    if ONE_IN in rows.schema.names:
        clicked = rows.column(source.label).to_numpy() == 1
        stands_for: F64 = np.where(clicked, 1.0, rows.column(ONE_IN).to_numpy())
        weight = stands_for if weight is None else weight * stands_for
    if not source.views:
        return weight
    outcomes: F64 = rows.column(OUTCOMES).to_numpy()
    return outcomes if weight is None else weight * outcomes


def _truth(values: pa.Array) -> F64:
    """True probabilities; NaN (which no figure survives) where one is not a number."""
    if pa.types.is_floating(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    numbers = [to_number(as_text(v)) for v in values.to_pylist()]
    return np.array([np.nan if number is None else number for number in numbers])


def _corrections(rows: pa.RecordBatch, good_rows: NDArray[np.int64]) -> NDArray[np.int8] | None:
    if CORRECTION not in rows.schema.names:
        return None
    marks = rows.column(CORRECTION).to_numpy(zero_copy_only=False)[good_rows]
    return marks.astype(np.int8) if marks.any() else None


def _delays(values: pa.Array) -> NDArray[np.int64]:
    """Whole milliseconds; 0 where none is given, or nothing that can be one."""
    if pa.types.is_integer(values.type):
        whole = pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return np.asarray(np.clip(whole, 0, _MAX_DELAY_MS), np.int64)
    numbers = np.nan_to_num(_truth(values), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(numbers, 0, _MAX_DELAY_MS).astype(np.int64)


class TimeOrder:
    """Counts the rows that are older than those before them.

    Parameters
    ----------
    slack_ms
        A row may be so much older, as of servers whose rows are collected.

    Attributes
    ----------
    rows, late
        Rows so far, and how many of them are older than that.
    furthest_ms
        By how much the log has gone back at most.

    Examples
    --------
    >>> order = TimeOrder(slack_ms=60_000)
    >>> order.add(np.arange(100, 0, -1) * 60_000)
    87
    >>> order.furthest_ms // 60_000
    80
    """

    def __init__(self, slack_ms: int = _HOUR_MS) -> None:
        self.slack_ms = slack_ms
        self.rows = self.late = self.furthest_ms = 0
        self._latest = _NEVER
        self._pending: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, times: NDArray[np.int64]) -> int:
        """Take note of the next rows, in order; how many more are known to be late."""
        self.rows += len(times)
        times = np.concatenate([self._pending, times])
        count = len(times) // _NEAR
        near, self._pending = times[: count * _NEAR].reshape(count, _NEAR), times[count * _NEAR :]
        if not count:
            return 0
        middles = np.partition(near, _NEAR // 2, axis=1)[:, _NEAR // 2]
        latest = np.maximum.accumulate(np.append(max(self._latest, middles[0]), middles))
        late = int(np.count_nonzero(near < latest[:-1, None] - self.slack_ms))
        self.furthest_ms = max(self.furthest_ms, int((latest[:-1] - middles).max()))
        self._latest = int(latest[-1])
        self.late += late
        return late
