"""Judges candidates: scores two versions on the examples that came after, and says which wins."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from features.batch import Position
from features.events import EventError, Example, decode_event
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.metrics import Figures, Tally
from monitoring.registry.actions import promote
from monitoring.registry.client import Registry
from monitoring.registry.gate import GateVerdict, judge
from monitoring.registry.settings import GateSettings
from monitoring.registry.snapshots import SnapshotCache
from monitoring.registry.versions import SERVE, Version, champion_of
from streaming.examples import ExampleReader, examples_source, lines_of_records
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.prepare import Preparer, Ready
from streaming.settings import EXAMPLES

__all__ = ["first_offsets_after", "has_after", "judge_newest", "score_after", "waiting"]

_RECORDS = 200
_TIME_RECORDS = 8
_NEVER = 1 << 62


def first_offsets_after(log: EventLog, time_ms: int) -> list[int]:
    """Where, in each partition, the examples of impressions shown after an event time begin.

    They stand in the order of their times, in each partition; corrections between them do not.
    """
    starts, ends = log.start_offsets(EXAMPLES), log.end_offsets(EXAMPLES)
    spans = zip(starts, ends, strict=True)
    return [
        bisect(range(end), time_ms, lo=start, key=_time_at(log, TopicPartition(EXAMPLES, p)))
        for p, (start, end) in enumerate(spans)
    ]


def _time_at(log: EventLog, at: TopicPartition) -> Callable[[int], int]:
    """Event time of the first example from an offset on."""

    def time(offset: int) -> int:
        try:
            while records := log.read(at, offset, _TIME_RECORDS):
                for record in records:
                    for line in record.value.splitlines():
                        if (found := _time_of_example(line)) is not None:
                            return found
                offset = records[-1].offset + 1
        except OffsetError:  # removed meanwhile: it was of before
            return -_NEVER
        return _NEVER

    return time


def _time_of_example(line: bytes) -> int | None:
    """When its impression was shown; ``None`` for a correction, and for what is no example."""
    try:
        event = decode_event(line)
    except EventError:
        return None
    if not isinstance(event, Example) or event.correction:
        return None
    return event.impression.timestamp


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
        vectoriser = Vectoriser(learner.spec)
        vectoriser.quantiles.restore(learner.vectoriser.quantiles.state())
        if vectoriser.counters is not None and counted.vectoriser.counters is not None:
            vectoriser.counters.restore(counted.vectoriser.counters.state())
        self.learner = learner
        source = examples_source(learner.spec)
        # counters go on counting; edges learned meanwhile would not be what the version has
        self._prepare = Preparer(vectoriser, source, learn=vectoriser.counters is not None)
        self._reader = ExampleReader(source, self._prepare.columns)

    def score(self, records: Sequence[Record], tally: Tally) -> None:
        data, _ = lines_of_records(records)
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


def waiting(versions: list[Version]) -> list[Version]:
    """Versions that the gate may still judge, oldest first: those after the champion."""
    champion = champion_of(versions)
    least = champion.number if champion is not None else 0
    return [v for v in versions if v.gate in ("pending", "held") and v.number > least]


def judge_newest(
    registry: Registry,
    log: EventLog,
    snapshots: SnapshotCache,
    settings: GateSettings,
    now_ms: int,
    report: Callable[[str], None],
    guarded: int = 0,
) -> GateVerdict | None:
    """Judge the newest version that enough examples have come after; older ones are superseded.

    Parameters
    ----------
    registry
        Of the versions.
    log
        Whose examples come after them.
    snapshots
        Where learners come from.
    settings
        The bounds.
    now_ms
        Wall-clock time.
    report
        Takes lines for people.
    guarded
        The version that the guard has pinned: that does not hold the gate.

    Returns
    -------
    verdict
        ``None``: there was nothing to judge, or serving is pinned by people, which holds the gate.
    """
    versions = registry.versions()
    if any(SERVE in v.aliases and v.number != guarded for v in versions):
        return None
    candidates = waiting(versions)
    champion = champion_of(versions)
    for at in range(len(candidates) - 1, -1, -1):
        candidate = candidates[at]
        offsets = first_offsets_after(log, candidate.event_time)
        if not has_after(log, offsets, settings.min_examples):
            continue
        verdict = _judge(log, offsets, snapshots, candidate, champion, settings, report)
        if verdict.verdict.state == "pending":
            continue  # too few clicks so far: an older one has seen more
        _write_down(registry, verdict, candidates[:at], now_ms)
        text = "; ".join(verdict.verdict.reasons)
        report(f"register: version {candidate.number} {verdict.verdict.state}: {text}")
        return verdict.verdict
    return None


class _Judgement(msgspec.Struct, frozen=True):
    candidate: Version
    verdict: GateVerdict
    mine: Figures
    other: Figures | None


def _judge(
    log: EventLog,
    offsets: Sequence[int],
    snapshots: SnapshotCache,
    candidate: Version,
    champion: Version | None,
    settings: GateSettings,
    report: Callable[[str], None],
) -> _Judgement:
    """Score both on the examples after the candidate's place."""
    if champion is not None and champion.identity != candidate.identity:
        report(f"register: champion {champion.number} is of another spec; it is not compared")
        champion = None
    learners = [snapshots.learner(v) for v in (candidate, champion) if v is not None]
    tallies = score_after(log, offsets, learners, settings.max_examples)
    mine = tallies[0].figures()
    other = None if champion is None else tallies[1].figures()
    usual = None if champion is None else champion.figures.get("base_rate")
    return _Judgement(candidate, judge(mine, other, settings, usual), mine, other)


def _write_down(registry: Registry, judged: _Judgement, older: list[Version], now_ms: int) -> None:
    verdict = judged.verdict
    figures = {"candidate": msgspec.to_builtins(judged.mine)}
    if judged.other is not None:
        figures["champion"] = msgspec.to_builtins(judged.other)
    written = registry.update(
        judged.candidate, gate=verdict.state, reasons=verdict.reasons, judged=figures
    )
    for version in older:
        registry.update(version, gate="superseded")
    if verdict.passed:
        promote(registry, written.number, now_ms, verdict.reasons[0])
