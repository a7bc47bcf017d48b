"""From a partition's state to what is committed, and back."""

from __future__ import annotations

from streaming.joiner.commit import TopicState
from streaming.joiner.instructions import CommitUpTo
from streaming.joiner.pair import Pair
from streaming.joiner.records import CLICKS, IMPRESSIONS, TopicKind
from streaming.joiner.topic import BEGIN

__all__ = ["commit_pair", "resume_pair"]


def commit_pair(pair: Pair) -> list[CommitUpTo]:
    """Give what to commit, in one transaction with all that was taken out; none in a replay."""
    if not pair.caught_up:
        return []
    return [_commit(pair, IMPRESSIONS), _commit(pair, CLICKS)]


def resume_pair(pair: Pair, kind: TopicKind, metadata: str) -> None:
    """Take up what was committed; the caller reads on from the committed offset."""
    state = TopicState.load(metadata, pair.windows)
    topic = pair.topics[kind]
    topic.position, topic.read_to, topic.done_to = state.offset, state.read_to, state.done_to
    topic.time = BEGIN if state.time is None else state.time
    topic.lifts = state.lifts
    pair.emitted_to = max(pair.emitted_to, state.emitted_to)
    pair.orphaned_to = max(pair.orphaned_to, state.impressions_watermark)
    pair.guard.last_click = max(pair.guard.last_click, state.last_click)
    pair.counts.update(state.counts)


def _commit(pair: Pair, kind: TopicKind) -> CommitUpTo:
    topic = pair.topics[kind]
    offset, time = _oldest(pair, kind)
    topic.forget_lifts(offset)
    impressions_watermark = pair.topics[IMPRESSIONS].time - pair.windows.out_of_order
    state = TopicState(
        windows=pair.windows,
        offset=offset,
        time=None if time == BEGIN else time,
        read_to=topic.position,
        done_to=topic.decided_to,
        impressions_watermark=max(pair.orphaned_to, impressions_watermark),
        emitted_to=max(pair.emitted_to, pair.watermark),
        lifts=topic.lifts,
        last_click=pair.guard.last_click,
        counts={name: n for name, n in pair.counts.items() if _topic_of(name) == kind},
    )
    return CommitUpTo(kind, pair.partition, offset, state.dump())


def _oldest(pair: Pair, kind: TopicKind) -> tuple[int, int]:
    """Where a replay must begin, and the topic's time just before."""
    topic = pair.topics[kind]
    kept = pair.impressions if kind == IMPRESSIONS else pair.clicks
    for entry in kept.values():
        return entry.offset, entry.arrival
    if topic.held:
        return topic.held[0].offset, topic.time
    return topic.position, topic.time


def _topic_of(count: str) -> TopicKind:
    return CLICKS if count.startswith(CLICKS) else IMPRESSIONS
