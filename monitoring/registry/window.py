"""Scores frozen learners on the examples after a place in the log: what they had not learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from features.batch import Position
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.metrics import Tally
from streaming.examples import ExampleReader, examples_source, in_record
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.prepare import Preparer, Ready
from streaming.settings import EXAMPLES

__all__ = ["has_after", "score_after"]

_RECORDS = 200


def score_after(
    log: EventLog, offsets: Sequence[int], learners: Sequence[ClickLearner], most: int
) -> list[Tally]:
    """Tally each learner on the examples from some offsets on, corrections left out.

    Parameters
    ----------
    log
        With the topic of examples.
    offsets
        Where to begin, by partition; what retention has removed is left out.
    learners
        All of one spec; the counters of the first one, if the spec has them, are brought up to
        date with every example and shared by all.
    most
        Stop at so many examples.
    """
    tallies = [Tally() for _ in learners]
    scorers = [_Scorer(learner, learners[0]) for learner in learners]
    for records in _records(log, offsets):
        for scorer, tally in zip(scorers, tallies, strict=True):
            scorer.score(records, tally)
        if tallies[0].events >= most:
            break
    return tallies


def has_after(log: EventLog, offsets: Sequence[int], least: int) -> bool:
    """Whether there are so many examples from some offsets on."""
    count = 0
    for records in _records(log, offsets):
        count += sum(record.value.count(b"\n") + 1 for record in records)
        if count >= least:
            return True
    return False


class _Scorer:
    """Predicts; never learns. What the learner knows of edges and counters is copied."""

    def __init__(self, learner: ClickLearner, counted: ClickLearner) -> None:
        assert learner.spec is not None and learner.vectoriser is not None
        assert counted.vectoriser is not None
        own = Vectoriser(learner.spec)
        own.quantiles.restore(learner.vectoriser.quantiles.state())
        if own.counters is not None and counted.vectoriser.counters is not None:
            own.counters.restore(counted.vectoriser.counters.state())
        self.learner = learner
        source = examples_source(learner.spec)
        # counters go on counting; edges learned meanwhile would not be what the version has
        self._prepare = Preparer(own, source, learn=own.counters is not None)
        self._reader = ExampleReader(source, self._prepare.columns)

    def score(self, records: Sequence[Record], tally: Tally) -> None:
        data, _ = in_record(records)
        after = Position(EXAMPLES, records[-1].offset)
        for batch in self._reader.batches(data, lambda line: (EXAMPLES, line), after):
            _add(tally, self.learner, self._prepare(batch))


def _add(tally: Tally, learner: ClickLearner, ready: Ready) -> None:
    logits = learner.predict_hashed(ready.hashed)
    rows = np.arange(ready.hashed.rows)
    if ready.corrections is not None:
        rows = np.flatnonzero(ready.corrections == 0)
    importance = None if ready.importance is None else ready.importance[rows]
    tally.add(logits[rows], ready.labels[rows], importance)


def _records(log: EventLog, offsets: Sequence[int]) -> Iterator[list[Record]]:
    """Some records of each partition in turn, until all are read."""
    at = [
        max(offset, first)
        for offset, first in zip(offsets, log.start_offsets(EXAMPLES), strict=False)
    ]
    while True:
        found = False
        for partition in range(len(at)):
            try:
                records = log.read(TopicPartition(EXAMPLES, partition), at[partition], _RECORDS)
            except OffsetError:  # removed, or of another log, meanwhile
                return
            if records:
                found, at[partition] = True, records[-1].offset + 1
                yield records
        if not found:
            return
