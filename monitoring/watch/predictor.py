"""Predictions of a learner beside the monitor: where impressions carry none, or a challenger's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.batch import Batch
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner, probabilities
from learning.snapshot import load_snapshot, save_snapshot
from streaming.examples import examples_source
from streaming.prepare import Preparer, Ready
from streaming.replay import Replay
from streaming.settings import EXAMPLES

__all__ = ["LearnerPredictor", "Predictor"]

F64 = NDArray[np.float64]


class Predictor:
    """Predicts each example of a batch before it learns it.

    Parameters
    ----------
    prepare
        Makes rows of a batch that can be learned.
    """

    def __init__(self, prepare: Preparer) -> None:
        self._prepare = prepare

    @property
    def columns(self) -> list[str]:
        """Columns that a batch must have."""
        return self._prepare.columns

    def __call__(self, batch: Batch) -> F64:
        """Probability of each row, made before it was learned; NaN where it cannot be."""
        out = np.full(batch.columns.num_rows, np.nan)
        ready = self._prepare(batch)
        out[ready.rows] = self._learn(ready)
        return out

    def _learn(self, ready: Ready) -> F64:
        raise NotImplementedError

    def save(self) -> int:
        """Save what it has learned under a new number, which the monitor's state is to name.

        0: it cannot be saved.
        """
        return 0

    def sweep(self) -> None:
        """Remove all saves but the last."""


class LearnerPredictor(Predictor):
    """Learns by a spec, as a trainer does, late clicks too.

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
        self.replay = (
            Replay.resumed(load_snapshot(self._path(number), spec))
            if number
            else Replay(ClickLearner(spec))
        )
        vectoriser = Vectoriser(spec)
        assert self.replay.learner.vectoriser is not None  # it has a spec
        vectoriser.follow(self.replay.learner.vectoriser)
        super().__init__(Preparer(vectoriser, examples_source(spec)))

    def _learn(self, ready: Ready) -> F64:
        return probabilities(self.replay.learn(ready))

    def save(self) -> int:
        """Save the model under a new number."""
        save_snapshot(self._path(self.number + 1), self.replay.snapshot(EXAMPLES))
        self.number += 1
        return self.number

    def sweep(self) -> None:
        """Remove all saves but the last."""
        for path in self.folder.glob("model-*"):
            if path != self._path(self.number):
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"model-{number}"
