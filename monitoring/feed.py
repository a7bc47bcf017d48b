"""Records in, batches ready to be counted out: predictions as served, or the monitor's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.spec import Spec
from monitoring.own import OwnPredictor
from monitoring.reading import ScoredReader
from monitoring.scored import Scored
from monitoring.settings import MonitorSettings
from monitoring.slicing import slice_fields
from streaming.examples import examples_source
from streaming.log import Record
from streaming.prepare import CORRECTION
from streaming.sources.batch import Batch

__all__ = ["Feed"]


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
    """

    def __init__(self, spec: Spec, settings: MonitorSettings, folder: Path) -> None:
        self.spec, self.folder = spec, folder
        self.fields = slice_fields(spec, settings.slices)
        self.predictions: str = settings.predict
        self.rejected = 0
        self._bid = settings.bid
        self._own: OwnPredictor | None = None
        self._reader = ScoredReader(self.fields, self._bid)
        if self.predictions == "own":
            self._predict_own(0)

    def _predict_own(self, number: int) -> None:
        self.predictions = "own"
        self._own = OwnPredictor(self.spec, self.folder, number)
        source = examples_source(self.spec)
        self._reader = ScoredReader(self.fields, self._bid, source, self._own.columns)

    def read(self, records: Sequence[Record]) -> list[Scored]:
        """Give the examples of some records of one partition, in order."""
        read = self._reader.read(records)
        if self.predictions == "auto" and read.batches:
            served = any((~np.isnan(scored.probability)).any() for scored, _ in read.batches)
            if served:
                self.predictions = "served"
            else:
                self._predict_own(0)
                read = self._reader.read(records)
        self.rejected += read.rejected
        return [self._kept(scored, batch) for scored, batch in read.batches]

    def _kept(self, scored: Scored, batch: Batch) -> Scored:
        """The rows that are new or change a label, with their predictions."""
        if self._own is not None:
            scored = scored.with_probability(self._own(batch))
        changes = _changes(batch)
        return scored if changes.all() else scored.take(changes)

    def state(self) -> dict[str, Any]:
        """Save an own learner, and give what names it."""
        number = self._own.save() if self._own is not None else 0
        return {"predictions": self.predictions, "model": number, "rejected": self.rejected}

    def saved(self) -> None:
        """Tell that the state is saved: older saves of the learner can go."""
        if self._own is not None:
            self._own.sweep()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.predictions, self.rejected = state["predictions"], state["rejected"]
        if self.predictions == "own":
            self._predict_own(state["model"])


def _changes(batch: Batch) -> NDArray[np.bool_]:
    kind = batch.columns.column(CORRECTION).to_numpy(zero_copy_only=False)
    changes: NDArray[np.bool_] = kind != 2
    return changes
