"""Replay: a log through the learner: read, vectorise, predict, score, learn, event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.batch import Batch, Position, Reject
from learning.click_learner import ClickLearner
from learning.progress import Progress
from learning.snapshot import Snapshot
from learning.stack import LATE
from streaming.prepare import Preparer, Ready
from streaming.sources.reader import ordered_map

__all__ = ["Replay", "first_rows"]


@dataclass
class Replay:
    """A learner on its way through a log.

    Parameters
    ----------
    learner
        With a spec.
    progress
        Figures of all events so far.
    rejected
        Rows rejected so far, by reason.
    position
        In the log; ``None`` at its start.
    corrections, amendments
        Late clicks learned so far, and amendments that changed no label: no events, not scored.
    """

    learner: ClickLearner
    progress: Progress = field(default_factory=Progress)
    rejected: Counter[str] = field(default_factory=Counter)
    position: Position | None = None
    corrections: int = 0
    amendments: int = 0

    def run(
        self,
        batches: Generator[Batch],
        *,
        preparer: Preparer,
        on_reject: Callable[[Reject], None],
        on_batch: Callable[[Replay], None],
    ) -> None:
        """Learn a stream of batches to its end.

        Hashing runs in a thread beside learning; neither holds the GIL for long. After each
        batch the replay is whole: it may be saved, or left.

        Parameters
        ----------
        batches
            From a source; closed at the end.
        preparer
            With a vectoriser of its own, which runs ahead of the learner.
        on_reject
            Called with every bad row, before its batch is learned; may raise.
        on_batch
            Called after every batch; may raise.
        """
        with closing(ordered_map(preparer, batches, workers=1, in_flight=3)) as ready:
            for part in ready:
                for reject in part.rejects:
                    on_reject(reject)
                self.learn(part)
                on_batch(self)

    def learn(self, part: Ready) -> NDArray[np.float64]:
        """Predict, score and learn some events, one after the other.

        Returns
        -------
        logits
            Of each row before it was learned, a late click's as of now; NaN for an amendment that
            changes no label.
        """
        logits = np.full(part.hashed.rows, np.nan)
        for rows, kind in _stretches(part.corrections, part.hashed.rows):
            if kind == 0:
                logits[rows] = self._learn_events(part, rows)
            elif kind == 1:
                logits[rows] = self._learn_late_clicks(part, rows)
            else:
                self.amendments += rows.stop - rows.start
        if part.quantiles is not None and self.learner.vectoriser is not None:
            self.learner.vectoriser.quantiles.restore(part.quantiles)
        counters = self.learner.vectoriser.counters if self.learner.vectoriser else None
        if part.counted is not None and counters is not None:
            part.counted.tell(counters)  # the preparer's are ahead: a snapshot wants them here
        self.rejected.update(reject.reason for reject in part.rejects)
        self.position = part.position
        return logits

    def _learn_events(self, part: Ready, rows: slice) -> NDArray[np.float64]:
        hashed, labels = part.hashed.part(rows.start, rows.stop), part.labels[rows]
        importance = None if part.importance is None else part.importance[rows]
        truth = None if part.truth is None else part.truth[rows]
        logits = self.learner.learn_hashed(hashed, labels, importance)
        self.progress.add(logits, labels, importance, truth)
        return logits

    def _learn_late_clicks(self, part: Ready, rows: slice) -> NDArray[np.float64]:
        """Learn that events learned as not clicked were clicked after all."""
        hashed = part.hashed.part(rows.start, rows.stop)
        importance = None if part.importance is None else part.importance[rows]
        self.corrections += hashed.rows
        logits = self.learner.learn_hashed(hashed, np.full(hashed.rows, LATE), importance)
        self.progress.amend(logits, importance)
        return logits

    def snapshot(self, source: str) -> Snapshot:
        """What is to be saved, to go on later from here in the log ``source``."""
        extra = {
            "source": source,
            "position": None if self.position is None else msgspec.to_builtins(self.position),
            "rejected": dict(self.rejected),
            "corrections": self.corrections,
            "amendments": self.amendments,
        }
        return Snapshot(self.learner, self.progress, extra)

    @classmethod
    def resumed(cls, snapshot: Snapshot) -> Replay:
        """Take up a replay where its snapshot was made."""
        position = snapshot.extra.get("position")
        return cls(
            snapshot.learner,
            snapshot.progress,
            Counter(snapshot.extra.get("rejected", {})),
            None if position is None else msgspec.convert(position, Position),
            snapshot.extra.get("corrections", 0),
            snapshot.extra.get("amendments", 0),
        )


def _stretches(kinds: NDArray[np.int8] | None, rows: int) -> Iterator[tuple[slice, int]]:
    """Runs of rows of one kind, in order."""
    if kinds is None or not rows:
        yield slice(0, rows), 0
        return
    cuts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), rows]
    for start, stop in pairwise(cuts):
        yield slice(start, stop), int(kinds[start])


def first_rows(batches: Iterator[Batch], rows: int) -> Generator[Batch]:
    """The first so many rows that could be parsed, and the rejects between them."""
    for batch in batches:
        if batch.columns.num_rows < rows:
            rows -= batch.columns.num_rows
            yield batch
            continue
        last, _ = batch.origin(rows - 1)
        yield Batch(
            columns=batch.columns.slice(0, rows),
            file=batch.file,
            origin=batch.origin,
            positions=batch.positions,
            position=batch.positions(rows - 1),
            rejects=[reject for reject in batch.rejects if reject.line <= last],
        )
        return
