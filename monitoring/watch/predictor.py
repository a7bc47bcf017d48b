"""Predictions of the monitor's own learner, for streams whose impressions carry none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.batch import Batch
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner, probabilities
from learning.progress import Progress
from learning.snapshot import Snapshot, load_snapshot, save_snapshot
from streaming.examples import examples_source
from streaming.prepare import Preparer, Ready

__all__ = ["OwnPredictor"]

F64 = NDArray[np.float64]


class OwnPredictor:
    """Predicts each example, then learns it, as a trainer does.

    A late click is given the probability as of now, for the one its impression had is not kept:
    the log loss of that window is as much less exact.

    Parameters
    ----------
    spec
        The feature spec.
    folder
        Where the model is saved, beside the monitor's state.
    number
        Which save to go on from; 0: none.
    """

    def __init__(self, spec: Spec, folder: Path, number: int = 0) -> None:
        self.folder, self.number = folder, number
        if number:
            self.learner = load_snapshot(self._path(number), spec).learner
        else:
            self.learner = ClickLearner(spec)
        vectoriser = Vectoriser(spec)
        assert self.learner.vectoriser is not None  # it has a spec
        vectoriser.follow(self.learner.vectoriser)
        self._prepare = Preparer(vectoriser, examples_source(spec))

    @property
    def columns(self) -> list[str]:
        """Columns that a batch must have."""
        return self._prepare.columns

    def __call__(self, batch: Batch) -> F64:
        """Probability of each row, made before it was learned; NaN where it cannot be."""
        out = np.full(batch.columns.num_rows, np.nan)
        ready = self._prepare(batch)
        for rows, kind in _stretches(ready):
            hashed = ready.hashed.part(rows.start, rows.stop)
            if kind == 0:
                importance = None if ready.importance is None else ready.importance[rows]
                logits = self.learner.learn_hashed(hashed, ready.labels[rows], importance)
            else:
                logits = self.learner.predict_hashed(hashed)
            out[ready.rows[rows]] = probabilities(logits)
        vectoriser = self.learner.vectoriser
        if ready.quantiles is not None and vectoriser is not None:
            vectoriser.quantiles.restore(ready.quantiles)
        if ready.counted is not None and vectoriser is not None and vectoriser.counters is not None:
            ready.counted.tell(vectoriser.counters)
        return out

    def save(self) -> int:
        """Save the model under a new number, which the monitor's state is to name."""
        save_snapshot(self._path(self.number + 1), Snapshot(self.learner, Progress()))
        self.number += 1
        return self.number

    def sweep(self) -> None:
        """Remove all saves but the last."""
        for path in self.folder.glob("model-*"):
            if path != self._path(self.number):
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"model-{number}"


def _stretches(ready: Ready) -> Iterator[tuple[slice, int]]:
    """Runs of rows of one kind, in order."""
    rows = len(ready.rows)
    kinds = np.zeros(rows, np.int8) if ready.corrections is None else ready.corrections
    cuts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), rows] if rows else [0]
    for start, stop in pairwise(cuts):
        yield slice(start, stop), int(kinds[start])
