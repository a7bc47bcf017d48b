"""What is committed of a partition's state, as text, and the way back."""

from __future__ import annotations

import msgspec

from features.errors import ClicktideError
from streaming.joiner.held_events import BEGIN
from streaming.joiner.partition_joiner import Pair
from streaming.joiner.records import CLICKS, IMPRESSIONS, CommitUpTo, TopicKind
from streaming.log.records import FORMAT, dump_metadata, load_metadata

__all__ = ["TopicState", "commit_pair", "resume_pair"]


class TopicState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one topic's partition, as committed.

    Parameters
    ----------
    format
        1.
    windows
        ``join_window_s``, ``late_window_s``, ``out_of_order_s`` in ms, ``max_ahead_s``,
        ``far_future_s``, ``label_after_s``, ``label_out_of_order_s``: under others, a replay would
        not repeat itself.
    offset
        Where the replay begins.
    time
        The topic's time just before that offset; null: no time yet.
    read_to
        Records before this offset were read.
    done_to
        Events before this offset were decided on (those after it, up to ``read_to``, held).
    impressions_watermark
        The impressions' watermark at the commit: clicks that had waited for it to pass are out.
    emitted_to
        The pair's watermark: examples whose window closed before it are out.
    early_to
        What was due for its early label before this is out.
    lifts
        (offset, time): time was lifted before that offset.
    last_click
        Event time of the last click.
    counts
        Outcomes so far, by name.
    """

    windows: tuple[int, ...]
    offset: int
    time: int | None
    read_to: int
    done_to: int
    impressions_watermark: int
    emitted_to: int
    early_to: int = BEGIN
    lifts: list[tuple[int, int]] = []
    last_click: int = 0
    counts: dict[str, int] = {}
    format: int = FORMAT

    @classmethod
    def load(cls, text: str, windows: tuple[int, ...]) -> TopicState:
        """Read it to go on from it.

        Raises
        ------
        ClicktideError
            It is damaged, of another format, or was committed under other windows.
        """
        state = load_metadata(text, cls, "joiner commit metadata")
        if state.windows != windows:
            raise ClicktideError(
                f"joiner commit metadata: made with windows {state.windows} ms, settings have "
                f"{windows}. Fix: restore the settings, or start a new consumer group"
            )
        return state


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
    if pair.early is not None:
        pair.early.given_to = max(pair.early.given_to, state.early_to)
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
        early_to=_early_to(pair),
        lifts=topic.lifts,
        last_click=pair.guard.last_click,
        counts={name: n for name, n in pair.counts.items() if _topic_of(name) == kind},
    )
    return CommitUpTo(kind, pair.partition, offset, dump_metadata(state))


def _early_to(pair: Pair) -> int:
    if pair.early is None:
        return BEGIN
    time = min(topic.time for topic in pair.topics.values())
    return max(pair.early.given_to, pair.early.watermark(time))


def _oldest(pair: Pair, kind: TopicKind) -> tuple[int, int]:
    """Where a replay must begin, and the topic's time just before.

    If the oldest event kept was held, that is where the holding began.
    """
    topic = pair.topics[kind]
    kept = pair.impressions if kind == IMPRESSIONS else pair.clicks
    for entry in kept.values():
        return entry.start or (entry.offset, entry.arrival)
    if topic.held:
        return topic.held[0].offset, topic.time
    return topic.position, topic.time


def _topic_of(count: str) -> TopicKind:
    return CLICKS if count.startswith(CLICKS) else IMPRESSIONS
