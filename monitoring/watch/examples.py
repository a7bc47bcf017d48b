"""Records of the examples topic in, batches of predictions with their outcomes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.batch import Batch, Position
from features.spec import SourceSpec, Spec
from monitoring.watch.categorical import MISSING, Categorical
from monitoring.watch.predictor import LearnerPredictor, Predictor
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import MonitorSettings
from monitoring.watch.skew import SkewCheck
from monitoring.watch.slices import Newness, SliceField, slice_fields
from streaming.examples import PREDICTION, PREDICTION_COLUMNS, ExampleReader, examples_source
from streaming.log import Record
from streaming.prepare import CORRECTION, SERVED
from streaming.settings import EXAMPLES

__all__ = ["ExampleFeed", "ExamplesRead", "ReadBatch", "ScoredReader"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_PLAIN = SourceSpec(label="\0label")


@dataclass(frozen=True, slots=True)
class _Prediction:
    """What the examples of a batch tell of their predictions."""

    time: I64
    clicked: F64
    probability: F64
    version: Categorical

    @classmethod
    def of(cls, batch: Batch) -> _Prediction:
        """Those of an :class:`ExampleReader` that was asked for them."""
        *columns, version = map(batch.columns.column, PREDICTION_COLUMNS)
        time, clicked, probability = (c.to_numpy(zero_copy_only=False) for c in columns)
        clicked = np.where(clicked > 0, clicked, np.nan)
        return cls(time, clicked, _in_range(probability), Categorical.of(version))


class ReadBatch(NamedTuple):
    """Some examples, and what they were read from.

    Parameters
    ----------
    scored
        A probability is NaN where none was served.
    rows
        The Arrow rows they were made from; ``None`` where nothing asked for other columns.
    counters
        As served: JSON, null where a row has none; ``None``: no row has any.
    changes
        bool (rows,): false for an amendment that changes no label.
    """

    scored: Scored
    rows: Batch | None
    counters: pa.BinaryArray | None
    changes: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ExamplesRead:
    """Examples of some records.

    Parameters
    ----------
    batches
        In order.
    rejected
        Lines that are no example.
    """

    batches: list[ReadBatch]
    rejected: int


class ScoredReader:
    r"""Makes batches of example records.

    Parameters
    ----------
    fields
        Slices.
    bid
        Field that says what a click is worth; empty: none.
    source, more
        Which column is what, and other columns to keep, in the Arrow rows.

    Attributes
    ----------
    newness
        What is known of each slice that tells new values.

    Examples
    --------
    >>> line = (b'{"type":"example","v":1,"label":1,"click_timestamp":1736121604000,"impression":'
    ...         b'{"type":"impression","v":1,"impression_id":"i","timestamp":1736121600000,'
    ...         b'"probability":0.25,"fields":{"ad":"a"}}}')
    >>> reader = ScoredReader([SliceField("ad", "value", "ad"), SliceField("hour", "hour")])
    >>> read = reader.read([Record("examples", 0, 7, 0, None, line)])
    >>> [(scored, *_)] = read.batches
    >>> scored.probability, scored.slices["ad"].values, scored.click_delay_ms
    (array([0.25]), ['a'], array([4000.]))
    """

    def __init__(
        self,
        fields: Sequence[SliceField],
        bid: str = "",
        source: SourceSpec = _PLAIN,
        more: Sequence[str] = (),
    ) -> None:
        self.newness = {field.name: Newness() for field in fields if field.kind == "new"}
        self.fields, self.bid, self._label = list(fields), bid, source.label
        wanted = [source.label, PREDICTION, *(field.column for field in fields), bid, *more]
        columns = list(dict.fromkeys(name for name in wanted if name))
        self._reader = ExampleReader(source, columns)

    def read(self, records: Sequence[Record]) -> ExamplesRead:
        """Read the examples of some records of one partition."""
        data = b"\n".join([record.value for record in records])
        last = Position(EXAMPLES, records[-1].offset if records else 0)
        batches = self._reader.batches(data, lambda line: ("", line), last)
        rejected = sum(len(batch.rejects) for batch in batches)
        batches = [batch for batch in batches if batch.columns.num_rows]
        out = [self._read(batch) for batch in batches]
        return ExamplesRead(out, rejected)

    def _read(self, batch: Batch) -> ReadBatch:
        label = batch.columns.column(self._label).to_numpy(zero_copy_only=False)
        scored = self._scored(_Prediction.of(batch), label.astype(np.float64), batch.columns)
        has_counters = SERVED in batch.columns.schema.names
        counters = batch.columns.column(SERVED) if has_counters else None
        return ReadBatch(scored, batch, counters, _kinds(batch.columns) != 2)

    def _slice(self, field: SliceField, columns: pa.RecordBatch, time: I64) -> Categorical:
        coded, newness = field.coded(columns, time), self.newness.get(field.name)
        return coded if newness is None else newness(coded, time)

    def _scored(self, prediction: _Prediction, label: F64, columns: pa.RecordBatch) -> Scored:
        """All rows of a batch; amendments that change no label are still in it."""
        names, version = self.fields, prediction.version
        return Scored(
            time_ms=prediction.time,
            probability=prediction.probability,
            label=label,
            bid=_bids(columns, self.bid),
            click_delay_ms=np.where(
                label == 1.0, np.maximum(prediction.clicked - prediction.time, 0.0), np.nan
            ),
            correction=_kinds(columns) != 0,
            slices={field.name: self._slice(field, columns, prediction.time) for field in names},
            version=None if version.words.to_pylist() == [MISSING] else version,
        )


def _kinds(columns: pa.RecordBatch) -> NDArray[np.int8]:
    kinds: NDArray[np.int8] = columns.column(CORRECTION).to_numpy(zero_copy_only=False)
    return kinds


def _in_range(probability: F64) -> F64:
    return np.where((probability >= 0) & (probability <= 1), probability, np.nan)


def _bids(columns: pa.RecordBatch, name: str) -> F64:
    if not name or name not in columns.schema.names:
        return np.full(columns.num_rows, np.nan)
    column = columns.column(name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.full(columns.num_rows, np.nan)
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


class ExampleFeed:
    """Reads examples.

    Parameters
    ----------
    spec
        Its fields are the slices; an own learner learns it.
    settings
        Slices, bids, and whose predictions are watched.
    folder
        Where an own learner is saved.
    predictor
        Makes what predicts, by the number of its save (0: none), in place of a learner of the
        spec: then predictions are ``own``, and no counters are compared.

    Attributes
    ----------
    predictions
        ``served`` or ``own``; ``auto`` until the first examples have been read.
    rejected
        Lines that were no example.
    skew
        Compares the counters that impressions carry; ``None``: the spec has none.
    """

    def __init__(
        self,
        spec: Spec,
        settings: MonitorSettings,
        folder: Path,
        predictor: Callable[[int], Predictor] | None = None,
    ) -> None:
        self.fields = slice_fields(spec, settings.slices)
        self.predictions: str = settings.predict if predictor is None else "own"
        self.rejected = 0
        self._spec, self._bid = spec, settings.bid
        self._predictor: Predictor | None = None
        self._make_predictor = predictor or (lambda number: LearnerPredictor(spec, folder, number))
        self.skew = (
            SkewCheck(spec, settings.skew_one_in) if spec.counters and predictor is None else None
        )
        self._first = True
        self._reader = self._reads(SourceSpec(label="\0label"), [])
        if self.predictions == "own":
            self._predict_own(0)

    def _predict_own(self, number: int) -> None:
        self.predictions = "own"
        self._predictor = self._make_predictor(number)
        self._reader = self._reads(examples_source(self._spec), self._predictor.columns)

    def _reads(self, source: SourceSpec, more: Sequence[str]) -> ScoredReader:
        columns = () if self.skew is None else self.skew.columns
        return ScoredReader(self.fields, self._bid, source, [*more, *columns])

    def read(self, records: Sequence[Record]) -> list[Scored]:
        """Give the examples of some records of one partition, in order."""
        read = self._reader.read(records)
        if self.predictions == "auto" and read.batches:
            served = any((~np.isnan(it.scored.probability)).any() for it in read.batches)
            if served:
                self.predictions = "served"
            else:
                self._predict_own(0)
                read = self._reader.read(records)
        self.rejected += read.rejected
        return [self._predicted(it) for it in read.batches]

    def _predicted(self, read: ReadBatch) -> Scored:
        """The rows that are new or change a label, with their predictions."""
        scored = read.scored
        if self.skew is not None and read.rows is not None:
            self.skew.update(scored, read.rows, read.counters, first=self._first)
        self._first = False
        if self._predictor is not None and read.rows is not None:
            scored = scored.with_probability(self._predictor(read.rows))
        return scored if read.changes.all() else scored.take(read.changes)

    def state(self) -> dict[str, Any]:
        """Save an own learner, and give what names it."""
        number = self._predictor.save() if self._predictor is not None else 0
        return {
            "predictions": self.predictions,
            "model": number,
            "rejected": self.rejected,
            "newness": {name: it.state() for name, it in self._reader.newness.items()},
            "skew": None if self.skew is None else self.skew.state(),
        }

    def saved(self) -> None:
        """Tell that the state is saved: older saves of the learner can go."""
        if self._predictor is not None:
            self._predictor.sweep()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.predictions, self.rejected = state["predictions"], state["rejected"]
        self._first = False
        if self.skew is not None and state["skew"] is not None:
            self.skew.restore(state["skew"])
        if self.predictions == "own":
            self._predict_own(state["model"])
        for name, newness in self._reader.newness.items():
            newness.restore(state["newness"][name])
