"""How the joiner stands, from the metadata of its commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from streaming.joiner.commit import TopicState
from streaming.log import EventLog, Position, TopicPartition
from streaming.log.records import peek_metadata
from streaming.settings import CLICKS, EARLY_EXAMPLES, EXAMPLES, IMPRESSIONS

__all__ = ["JoinerState", "clock_of", "joiner_state"]


class JoinerState(msgspec.Struct, frozen=True):
    """What the joiner has done, from the metadata of its commits.

    Parameters
    ----------
    impressions, clicks
        Records read.
    examples, examples_clicked, corrections
        What came of them.
    early_examples, early_corrections
        What came of them for the trainer.
    pending
        Impressions that are not labelled yet: impressions - examples - rejected.
    rejected
        By topic, then by reason; each is a dead letter.
    labelled_to_ms
        Event time up to which join windows have closed, in the partition furthest behind.
    stalled
        All clicks are read, and yet labels are held back: clicks seem to have stopped coming.
    newest_ms
        Event time of the newest impression in each topic of examples, nearly.
    clock_ms
        Event time that impressions have come to, in the partition furthest ahead.
    held
        Records held behind one far ahead of its partition's time, until more bear it out.
    """

    impressions: int
    clicks: int
    examples: int
    examples_clicked: int
    corrections: int
    pending: int
    rejected: dict[str, dict[str, int]]
    labelled_to_ms: int
    stalled: bool
    newest_ms: dict[str, int] = {}
    early_examples: int = 0
    early_corrections: int = 0
    clock_ms: int | None = None
    held: int = 0


def clock_of(log: EventLog) -> int | None:
    """Event time that the impressions have come to, by the joiner's commits."""
    at = [TopicPartition(IMPRESSIONS, p) for p in range(log.topics().get(IMPRESSIONS, 0))]
    committed = [position for place in at if (position := log.committed("join", place)) is not None]
    states = [peek_metadata(position.metadata, TopicState) for position in committed]
    return _clock(state for state in states if state is not None)


def joiner_state(
    committed: Iterable[tuple[TopicPartition, Position]], clicks_read: Collection[int]
) -> JoinerState | None:
    """Sum up the commits; ``clicks_read``: partitions of which all clicks are read."""
    states = [
        (at, state)
        for at, position in committed
        if (state := peek_metadata(position.metadata, TopicState)) is not None
    ]
    if not states:
        return None
    counts: Counter[str] = Counter()
    for _, state in states:
        counts.update(state.counts)
    rejected = {topic: _rejected(counts, topic) for topic in (IMPRESSIONS, CLICKS)}
    return JoinerState(
        impressions=counts["impressions"],
        clicks=counts["clicks"],
        examples=counts["examples"],
        examples_clicked=counts["examples_clicked"],
        corrections=counts["corrections"],
        pending=counts["impressions"] - counts["examples"] - sum(rejected[IMPRESSIONS].values()),
        rejected=rejected,
        labelled_to_ms=min(state.emitted_to for _, state in states),
        stalled=any(at.partition in clicks_read and _held_back(state) for at, state in states),
        newest_ms=_newest_examples([state for _, state in states]),
        early_examples=counts["early_examples"],
        early_corrections=counts["early_corrections"],
        clock_ms=_clock([state for _, state in states]),
        held=sum(state.read_to - state.done_to for _, state in states),
    )


def _newest_examples(states: Sequence[TopicState]) -> dict[str, int]:
    """Which impressions have left for each topic, in the partition furthest behind."""
    found = {EXAMPLES: min(state.emitted_to - state.windows[0] for state in states)}
    if label := sum(states[0].windows[5:6]):  # a joiner of before has none
        found[EARLY_EXAMPLES] = min(state.early_to for state in states) - label
    return {topic: time for topic, time in found.items() if time > 0}


def _clock(states: Iterable[TopicState]) -> int | None:
    """The impressions' time, in the partition furthest ahead."""
    times = [state.impressions_watermark + state.windows[2] for state in states]
    return max((time for time in times if time > 0), default=None)


def _rejected(counts: Mapping[str, int], topic: str) -> dict[str, int]:
    start = f"{topic}_rejected_"
    return {name.removeprefix(start): n for name, n in counts.items() if name.startswith(start)}


def _held_back(state: TopicState) -> bool:
    """Labels stay further behind the impressions than an idle topic's lifts explain."""
    join, late, out_of_order, max_ahead = state.windows[:4]
    usual = (join + late + out_of_order) / 40 + out_of_order + max_ahead
    return state.emitted_to > 0 and state.impressions_watermark - state.emitted_to > usual
