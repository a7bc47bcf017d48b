"""The gate: whether a candidate may become the champion, by the examples that came after it.

A candidate is judged on examples that came *after* it was saved: neither it nor the champion has
learned them, so both are progressive figures, and on the same rows. That delays the verdict by
as long as the examples take to come; figures on rows already learned would flatter the candidate.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.batch import Batch, Position
from features.events import EventError, Example, decode_event
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.metrics import Figures, Tally
from monitoring.registry.actions import promote
from monitoring.registry.client import Registry
from monitoring.registry.settings import GateSettings
from monitoring.registry.snapshots import SnapshotCache
from monitoring.registry.versions import SERVE, Version, champion_of
from streaming.examples import ExampleReader, examples_source, lines_of_records
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.prepare import Preparer, Ready
from streaming.settings import EXAMPLES

__all__ = [
    "GateVerdict", "VersionScorer", "first_offsets_after", "judge", "judge_newest", "new_rows",
    "waiting",
]  # fmt: skip

_RECORDS = 200
_TIME_RECORDS = 8
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate says.

    Parameters
    ----------
    state
        ``passed``, ``refused``, ``pending`` (too little to judge by), or ``held`` (the labels it
        would be judged by look wrong).
    reasons
        Why, for people.
    """

    state: str
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it becomes the champion."""
        return self.state == "passed"


def judge(
    candidate: Figures,
    champion: Figures | None,
    settings: GateSettings,
    usual_rate: float | None = None,
) -> GateVerdict:
    """Judge a candidate.

    Parameters
    ----------
    candidate, champion
        Figures of both on the same examples, none of which either has learned; ``None``: there is
        no champion yet.
    settings
        The bounds.
    usual_rate
        Click rate of what the champion learned.

    Examples
    --------
    >>> import numpy as np
    >>> from learning.metrics import Tally
    >>> y = (np.arange(4000) % 10 == 0).astype(float)
    >>> good, bad = Tally(), Tally()
    >>> good.add(np.full(4000, -2.2), y), bad.add(np.full(4000, 0.0), y)
    (None, None)
    >>> judge(good.figures(), bad.figures(), GateSettings()).state
    'passed'
    >>> print(judge(bad.figures(), good.figures(), GateSettings()).reasons[0])
    calibration ratio 5.0000 (4.5585 to 5.4895), allowed 0.9091 to 1.1000, champion 0.9975
    """
    if candidate.events < settings.min_examples or candidate.clicks < settings.min_clicks:
        few = f"{candidate.events:,} examples with {candidate.clicks:,.0f} clicks since"
        needed = f"needed {settings.min_examples:,} with {settings.min_clicks:,}"
        return GateVerdict("pending", (f"{few}, {needed}",))
    rate, most = candidate.base_rate or 0.0, settings.max_rate_change
    if usual_rate and not usual_rate / most <= rate <= usual_rate * most:
        text = f"click rate {candidate.base_rate:.4f}, of the champion {usual_rate:.4f}"
        return GateVerdict("held", (f"{text}: are the labels right?",))
    wrong = [*_calibration(candidate, champion, settings), *_entropy(candidate, champion, settings)]
    if wrong:
        return GateVerdict("refused", tuple(wrong))
    beside = _beside(None if champion is None else champion.normalised_entropy)
    good = (
        f"on {candidate.events:,} examples: calibration ratio "
        f"{_decimals(candidate.calibration_ratio)}, "
        f"normalised entropy {_decimals(candidate.normalised_entropy)}{beside}"
    )
    return GateVerdict("passed", (good,))


def _calibration(mine: Figures, champion: Figures | None, settings: GateSettings) -> list[str]:
    ratio, low, high = mine.calibration_ratio, mine.calibration_low, mine.calibration_high
    most = 1.0 + settings.max_calibration_error
    inside = low is not None and low <= most and (high is None or high >= 1.0 / most)
    other = None if champion is None else champion.calibration_ratio
    if inside or (ratio and other and abs(math.log(ratio)) <= abs(math.log(other))):
        return []
    return [
        f"calibration ratio {_decimals(ratio)} ({_decimals(low)} to {_decimals(high)}), "
        f"allowed {1 / most:.4f} to {most:.4f}{_beside(other)}"
    ]


def _entropy(mine: Figures, champion: Figures | None, settings: GateSettings) -> list[str]:
    entropy = mine.normalised_entropy
    other = None if champion is None else champion.normalised_entropy
    most = settings.max_first_ne if other is None else other * (1.0 + settings.max_ne_increase)
    if entropy is not None and entropy <= most:
        return []
    return [f"normalised entropy {_decimals(entropy)}, allowed {most:.4f}{_beside(other)}"]


def _beside(value: float | None) -> str:
    return "" if value is None else f", champion {value:.4f}"


def _decimals(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


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
                for line in (line for record in records for line in record.value.splitlines()):
                    with suppress(EventError):
                        event = decode_event(line)
                        if isinstance(event, Example) and not event.correction:
                            return event.impression.timestamp
                offset = records[-1].offset + 1
        except OffsetError:  # removed meanwhile: it was of before
            return -_NEVER
        return _NEVER

    return time


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
    scorers = [VersionScorer(learner, learners[0], count=True) for learner in learners]
    for records in _records(log, offsets):
        data, _ = lines_of_records(records)
        for scorer, tally in zip(scorers, tallies, strict=True):
            for _, ready, logits in scorer.score(data):
                new = new_rows(ready)
                importance = None if ready.importance is None else ready.importance[new]
                tally.add(logits[new], ready.labels[new], importance)
        if tallies[0].events >= most:
            break
    return tallies


def has_after(log: EventLog, offsets: Sequence[int], least: int) -> bool:
    """Whether there are so many examples from some offsets on."""
    counts = (
        sum(record.value.count(b"\n") + 1 for record in records)
        for records in _records(log, offsets)
    )
    return any(count >= least for count in accumulate(counts))


class VersionScorer:
    """Predicts examples with a version's weights, and never learns.

    Parameters
    ----------
    learner
        Whose weights; what it knows of edges is copied.
    counted
        Whose counters are copied, if the spec has them.
    columns
        That are wanted beside its own.
    count
        Whether counters go on counting the examples. Edges learned meanwhile would not be what
        the version has.
    """

    def __init__(
        self,
        learner: ClickLearner,
        counted: ClickLearner,
        *,
        columns: Sequence[str] = (),
        count: bool = False,
    ) -> None:
        assert learner.spec is not None and learner.vectoriser is not None
        assert counted.vectoriser is not None
        vectoriser = Vectoriser(learner.spec)
        vectoriser.quantiles.restore(learner.vectoriser.quantiles.state())
        if vectoriser.counters is not None and counted.vectoriser.counters is not None:
            vectoriser.counters.restore(counted.vectoriser.counters.state())
        self.learner, source = learner, examples_source(learner.spec)
        learn = count and vectoriser.counters is not None
        self._prepare = Preparer(vectoriser, source, learn=learn)
        self._reader = ExampleReader(source, [*self._prepare.columns, *columns])

    def score(self, lines: bytes) -> Iterator[tuple[Batch, Ready, NDArray[np.float64]]]:
        """Batches of examples, their rows that can be scored, and a logit for each of these."""
        for batch in self._reader.batches(lines, lambda line: ("", line), Position("", 0)):
            ready = self._prepare(batch)
            yield batch, ready, self.learner.predict_hashed(ready.hashed)


def new_rows(ready: Ready) -> NDArray[np.bool_]:
    """Rows that are no correction of an earlier example."""
    if ready.corrections is None:
        return np.ones(ready.hashed.rows, np.bool_)
    return np.asarray(ready.corrections == 0)


def _records(log: EventLog, offsets: Sequence[int]) -> Iterator[list[Record]]:
    """Some records of each partition in turn, until all are read."""
    at = [
        max(offset, first)
        for offset, first in zip(offsets, log.start_offsets(EXAMPLES), strict=False)
    ]
    while True:
        done = True
        for partition in range(len(at)):
            try:
                records = log.read(TopicPartition(EXAMPLES, partition), at[partition], _RECORDS)
            except OffsetError:  # removed, or of another log, meanwhile
                return
            if records:
                done, at[partition] = False, records[-1].offset + 1
                yield records
        if done:
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
        rival = champion if champion and champion.identity == candidate.identity else None
        if champion is not None and rival is None:
            report(f"register: champion {champion.number} is of another spec; it is not compared")
        compared = {"candidate": candidate} | ({} if rival is None else {"champion": rival})
        learners = [snapshots.learner(version) for version in compared.values()]
        tallies = score_after(log, offsets, learners, settings.max_examples)
        figures = dict(zip(compared, (tally.figures() for tally in tallies), strict=True))
        usual = None if rival is None else rival.figures.get("base_rate")
        verdict = judge(figures["candidate"], figures.get("champion"), settings, usual)
        if verdict.state == "pending":
            continue  # too few clicks so far: an older one has seen more
        judged = {name: msgspec.to_builtins(of) for name, of in figures.items()}
        registry.update(candidate, gate=verdict.state, reasons=verdict.reasons, judged=judged)
        for version in candidates[:at]:
            registry.update(version, gate="superseded")
        if verdict.passed:
            promote(registry, candidate.number, now_ms, verdict.reasons[0])
        text = "; ".join(verdict.reasons)
        report(f"register: version {candidate.number} {verdict.state}: {text}")
        return verdict
    return None
