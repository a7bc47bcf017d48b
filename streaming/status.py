"""How a stream stands, told from its event log alone: one look, and what two looks say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec

from features.events import EventError, Impression, decode_event
from streaming.joiner.commit import TopicState
from streaming.joiner_state import JoinerState, joiner_state
from streaming.log import EventLog, OffsetError, Position, Record, TopicPartition
from streaming.log.records import peek_metadata
from streaming.settings import CLICKS, DEAD_LETTERS, EARLY_EXAMPLES, EXAMPLES, IMPRESSIONS

__all__ = [
    "GROUPS",
    "GroupPart",
    "Look",
    "MonitorPosition",
    "TopicLook",
    "TrainerState",
    "look_at",
    "too_full",
]

GROUPS = {
    "join": (IMPRESSIONS, CLICKS),
    "count": (IMPRESSIONS, CLICKS),
    "train": (EXAMPLES, EARLY_EXAMPLES),  # one of them: that of its newest commit
    "monitor": (EXAMPLES,),
}
# On Kafka the ends of transactions take offsets too: a lag up to this is looked at closely.
_MARKERS = 4
_TAIL = 32
_FULL = {"fields": (0.25, "hash.bits"), "crosses": (0.6, "hash.cross_bits")}
"""Fuller than this, what is new is taken for something else too often (docs/learner.md)."""
_State = TypeVar("_State", "TrainerState", "MonitorPosition")


class TopicLook(msgspec.Struct, frozen=True):
    """One topic.

    Parameters
    ----------
    partitions
        How many.
    records
        Records ever appended, all partitions together (on Kafka with the ends of transactions).
    kept
        Those that retention has left.
    newest_ms
        When the newest came into the log; null: none is there.
    """

    partitions: int
    records: int
    kept: int
    newest_ms: int | None


class GroupPart(msgspec.Struct, frozen=True):
    """How far a group is in one partition.

    Parameters
    ----------
    topic, partition
        Which.
    end
        Offset after the last record.
    read_to
        Offset up to which the group has read.
    committed
        Where a restart begins to read; the joiner's is held back to its oldest pending event.
    lag
        Records still to be read.
    """

    topic: str
    partition: int
    end: int
    read_to: int
    committed: int
    lag: int


class TrainerState(msgspec.Struct, frozen=True):
    """What the trainer wrote beside its position.

    Parameters
    ----------
    learned
        Impressions learned.
    corrections, rejected
        Late clicks learned on top of these, and examples that could not be used.
    event_time
        Event time (ms) of the newest of them.
    log_loss, calibration
        Progressive, since the beginning.
    occupancy
        How full its tables were when it last saved, by name.
    at
        Wall clock (ms) of that commit.
    """

    learned: int = 0
    corrections: int = 0
    rejected: int = 0
    event_time: float | None = None
    log_loss: float | None = None
    calibration: float | None = None
    occupancy: dict[str, float] = {}
    at: float | None = None


class MonitorPosition(msgspec.Struct, frozen=True):
    """What the monitor wrote beside its position.

    Parameters
    ----------
    at
        Wall clock (ms) of that commit.
    event_time
        Event time (ms) of the newest impression seen.
    weights_s
        As in :class:`streaming.freshness.Freshness`.
    """

    at: float | None = None
    event_time: float | None = None
    weights_s: float | None = None


class Look(msgspec.Struct, frozen=True):
    """All that one look at the log tells.

    Parameters
    ----------
    at_ms
        When it was taken.
    topics, groups, joiner, trainer, monitor
        See there; a group or state that has not begun is absent.
    newest_impression_ms
        Event time of the newest impression in the log.
    """

    at_ms: int
    topics: dict[str, TopicLook]
    groups: dict[str, list[GroupPart]]
    joiner: JoinerState | None
    trainer: TrainerState | None
    newest_impression_ms: int | None
    monitor: MonitorPosition | None = None

    def lag(self, group: str) -> int:
        """Records a group has still to read."""
        return sum(part.lag for part in self.groups.get(group, ()))

    def reads(self, group: str) -> str:
        """The topic that a group reads, the first of several."""
        parts = self.groups.get(group)
        return parts[0].topic if parts else GROUPS[group][0]

    def rates(self, before: Look) -> dict[str, float]:
        """Per second since an earlier look: records by topic, ``learned``, and ``rejected``."""
        seconds = (self.at_ms - before.at_ms) / 1000
        if seconds <= 0:
            return {}
        rates = {
            name: (topic.records - before.topics[name].records) / seconds
            for name, topic in self.topics.items()
            if name in before.topics
        }
        if self.trainer is not None:
            was = before.trainer.learned if before.trainer else 0
            rates["learned"] = (self.trainer.learned - was) / seconds
        rejected = sum(self.rejected().values())
        if rejected:
            rates["rejected"] = (rejected - sum(before.rejected().values())) / seconds
        return rates

    def rejected(self) -> dict[str, int]:
        """Events that were accepted into the log and then rejected, by topic and reason."""
        topics = {} if self.joiner is None else self.joiner.rejected
        by_reason = {
            f"{topic} {reason}": count
            for topic, reasons in topics.items()
            for reason, count in sorted(reasons.items())
        }
        if self.trainer is not None and self.trainer.rejected:
            by_reason[f"{self.reads('train')} not_learned"] = self.trainer.rejected
        return by_reason


def too_full(shares: Mapping[str, float]) -> dict[str, str]:
    """Tables that one bit more would make better, and the setting that it is.

    Examples
    --------
    >>> too_full({"fields": 0.1, "crosses": 0.7})
    {'crosses': 'hash.cross_bits'}
    """
    return {name: _FULL[name][1] for name, share in shares.items() if share > _FULL[name][0]}


def look_at(log: EventLog, now_ms: int, *, newest: bool = True) -> Look:
    """Look at a log; nothing is written.

    Parameters
    ----------
    log
        What to look at.
    now_ms
        When this is.
    newest
        Whether to read the newest records too, for their times.

    Positions are read before the ends, so a lag may be too high by what comes meanwhile, but a
    group without lag has read all that the groups before it had written.
    """
    partitions = log.topics()
    known = (IMPRESSIONS, CLICKS, EXAMPLES, EARLY_EXAMPLES, DEAD_LETTERS)
    ours = [name for name in known if name in partitions]
    committed = _committed(log, partitions)
    ends = {name: log.end_offsets(name) for name in ours}
    tails = {name: _tail(log, name, ends[name]) if newest else [] for name in ours}
    groups = {
        group: [_part(log, at, position, ends[at.topic][at.partition]) for at, position in of]
        for group, of in committed.items()
    }
    return Look(
        at_ms=now_ms,
        topics={name: _topic(log, name, ends[name], tails[name]) for name in ours},
        groups=groups,
        joiner=joiner_state(committed.get("join", []), _clicks_read(groups.get("join", []))),
        trainer=_newest(committed.get("train", []), TrainerState),
        newest_impression_ms=_newest_impression(tails.get(IMPRESSIONS, [])),
        monitor=_newest(committed.get("monitor", []), MonitorPosition),
    )


def _topic(log: EventLog, name: str, ends: list[int], tail: list[Record]) -> TopicLook:
    starts = log.start_offsets(name)
    newest = max((record.timestamp_ms for record in tail), default=None)
    return TopicLook(len(ends), sum(ends), sum(ends) - sum(starts), newest)


def _tail(log: EventLog, name: str, ends: list[int]) -> list[Record]:
    """The last few records of each partition."""
    found: list[Record] = []
    starts = log.start_offsets(name)
    for partition, (start, end) in enumerate(zip(starts, ends, strict=True)):
        found += _read(log, TopicPartition(name, partition), max(start, end - _TAIL), _TAIL)
    return found


def _read(log: EventLog, at: TopicPartition, offset: int, most: int) -> list[Record]:
    try:
        return log.read(at, offset, most)
    except OffsetError:  # retention has moved on between two questions
        return []


def _committed(
    log: EventLog, partitions: Mapping[str, int]
) -> dict[str, list[tuple[TopicPartition, Position]]]:
    """Positions of each group that has any."""
    found: dict[str, list[tuple[TopicPartition, Position]]] = {}
    for group, topics in GROUPS.items():
        for topic in topics:
            for partition in range(partitions.get(topic, 0)):
                at = TopicPartition(topic, partition)
                if (position := log.committed(group, at)) is not None:
                    found.setdefault(group, []).append((at, position))
    if "train" in found:
        found["train"] = _of_newest_topic(found["train"])
    return found


def _of_newest_topic(
    committed: list[tuple[TopicPartition, Position]],
) -> list[tuple[TopicPartition, Position]]:
    """Those of the topic that the trainer reads now: it may have read another before."""

    def at(one: tuple[TopicPartition, Position]) -> float:
        state = peek_metadata(one[1].metadata, TrainerState)
        return (state and state.at) or 0.0

    topic = max(committed, key=at)[0].topic
    return [one for one in committed if one[0].topic == topic]


def _part(log: EventLog, at: TopicPartition, position: Position, end: int) -> GroupPart:
    state = (
        peek_metadata(position.metadata, TopicState) if at.topic in (IMPRESSIONS, CLICKS) else None
    )
    read_to = position.offset if state is None else max(position.offset, state.read_to)
    lag = max(0, end - read_to)
    if 0 < lag <= _MARKERS and not _read(log, at, read_to, 1):
        lag = 0
    return GroupPart(at.topic, at.partition, end, read_to, position.offset, lag)


def _clicks_read(parts: Iterable[GroupPart]) -> set[int]:
    """Partitions of which the joiner has read all clicks."""
    return {part.partition for part in parts if part.topic == CLICKS and not part.lag}


def _newest(
    committed: Iterable[tuple[TopicPartition, Position]], kind: type[_State]
) -> _State | None:
    """The newest that a reader of examples wrote beside its position."""
    states = [
        state
        for _, position in committed
        if (state := peek_metadata(position.metadata, kind)) is not None
    ]
    return max(states, key=lambda state: state.at or 0, default=None)


def _newest_impression(tail: Iterable[Record]) -> int | None:
    times = []
    for record in tail:
        with suppress(EventError):
            if isinstance(event := decode_event(record.value), Impression):
                times.append(event.timestamp)
    return max(times, default=None)
