"""Records in, batches ready to be counted out: predictions as served, or the monitor's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.spec import SourceSpec, Spec
from monitoring.own import OwnPredictor
from monitoring.reading import ReadBatch, ScoredReader
from monitoring.scored import Scored
from monitoring.settings import MonitorSettings
from monitoring.skew import SkewCheck
from monitoring.slicing import slice_fields
from streaming.examples import examples_source
from streaming.log import Record

__all__ = ["Feed"]

F64 = NDArray[np.float64]


class Feed:
    """Reads examples.

    Parameters
    ----------
    spec
        Its fields are the slices; an own learner learns it.
    settings
        Slices, bids, and whose predictions are watched.
    folder
        Where an own learner is saved.

    Attributes
    ----------
    predictions
        ``served`` or ``own``; ``auto`` until the first examples have been read.
    rejected
        Lines that were no example.
    skew
        Compares the counters that impressions carry; ``None``: the spec has none.
    """

    def __init__(self, spec: Spec, settings: MonitorSettings, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        self.fields = slice_fields(spec, settings.slices)
        self.predictions: str = settings.predict
        self.rejected = 0
        self._bid = settings.bid
        self._own: OwnPredictor | None = None
        self.skew = SkewCheck(spec) if spec.counters else None
        self._first = True
        self._reader = self._reads(SourceSpec(label="\0label"), [])
        if self.predictions == "own":
            self._predict_own(0)

    def _predict_own(self, number: int) -> None:
        self.predictions = "own"
        self._own = OwnPredictor(self.spec, self.folder, number)
        self._reader = self._reads(examples_source(self.spec), self._own.columns)

    def _reads(self, source: SourceSpec, more: Sequence[str]) -> ScoredReader:
        skew = self.skew
        columns, names = (skew.columns, skew.names) if skew is not None else ((), [])
        return ScoredReader(self.fields, self._bid, source, [*more, *columns], names)

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
        return [self._kept(it) for it in read.batches]

    def _kept(self, read: ReadBatch) -> Scored:
        """The rows that are new or change a label, with their predictions."""
        scored = read.scored
        if self.skew is not None and read.rows is not None:
            self.skew.update(scored, read.rows, read.counters, first=self._first)
        self._first = False
        if self._own is not None and read.rows is not None:
            scored = scored.with_probability(self._own(read.rows))
        return scored if read.changes.all() else scored.take(read.changes)

    def state(self) -> dict[str, Any]:
        """Save an own learner, and give what names it."""
        number = self._own.save() if self._own is not None else 0
        return {
            "predictions": self.predictions,
            "model": number,
            "rejected": self.rejected,
            "newness": {name: it.state() for name, it in self._reader.newness.items()},
            "skew": None if self.skew is None else self.skew.state(),
        }

    def saved(self) -> None:
        """Tell that the state is saved: older saves of the learner can go."""
        if self._own is not None:
            self._own.sweep()

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
