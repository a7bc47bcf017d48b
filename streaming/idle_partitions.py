"""Which partitions are read to their end, and have been for a moment."""

from __future__ import annotations

from collections.abc import Iterator

from streaming.joiner import Idle
from streaming.log import Consumer, EventLog, TopicPartition

__all__ = ["IdlePartitions"]

_LOOK_EVERY_S = 0.1
# A transaction on several topics becomes visible in Kafka partition by partition, milliseconds
# apart: an end that has just been reached may not be one.
_IDLE_S = 0.2


class IdlePartitions:
    """Finds idle partitions; a paused one is never idle, for it is not being read.

    Parameters
    ----------
    log
        Tells where the partitions end. It is asked at most ten times a second.
    """

    def __init__(self, log: EventLog) -> None:
        self.all_read = False  # as far as it may be: what is paused is not waited for
        self._log = log
        self._look_at = 0.0
        self._since: dict[TopicPartition, tuple[int, float]] = {}  # position at the end, and when
        self._paused: set[TopicPartition] = set()

    def pause(self, consumer: Consumer, at: TopicPartition) -> None:
        """Stop reading a partition."""
        consumer.pause([at])
        self._paused.add(at)

    def resume(self, consumer: Consumer, at: TopicPartition) -> None:
        """Read it again."""
        consumer.resume([at])
        self._paused.discard(at)

    def clear(self) -> None:
        """Forget everything: the partitions are others now."""
        self._since.clear()
        self._paused.clear()
        self.all_read = False

    def now(self, consumer: Consumer, now: float) -> Iterator[Idle]:
        """Give the idle partitions, or nothing if it is too early to look again."""
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        held = consumer.assignment()
        ends = {topic: self._log.end_offsets(topic) for topic in {at.topic for at in held}}
        idle = [at for at in sorted(held) if self._is_idle(consumer, at, ends, now)]
        self.all_read = held <= self._paused.union(idle)
        for topic, partition in idle:
            yield Idle(topic, partition)  # type: ignore[arg-type]

    def _is_idle(
        self, consumer: Consumer, at: TopicPartition, ends: dict[str, list[int]], now: float
    ) -> bool:
        position = consumer.position(at)
        if at in self._paused or position < ends[at.topic][at.partition]:
            self._since.pop(at, None)
            return False
        seen, since = self._since.setdefault(at, (position, now))
        if seen != position:
            self._since[at] = position, now
            return False
        return now - since >= _IDLE_S
