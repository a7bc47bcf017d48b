"""The bound on memory: when to stop reading, and when to go on."""

from __future__ import annotations

from streaming.joiner.instructions import Instruction, Overfull, Pause, Unpause
from streaming.joiner.records import CLICKS, IMPRESSIONS, TopicKind

__all__ = ["Bound"]


class Bound:
    """Which topics of a partition are paused.

    A topic is paused when ``limit`` of its events are kept, and read again below 7/8 of that.
    """

    __slots__ = ("_partition", "_stuck", "limit", "paused")

    def __init__(self, partition: int, limit: int) -> None:
        self._partition, self.limit = partition, limit
        self.paused: set[TopicKind] = set()
        self._stuck = False

    def regulate(self, impressions: int, clicks: int, clicks_lag: bool) -> list[Instruction]:
        """Say what to pause, by what is kept; ``clicks_lag``: reading clicks can free some."""
        out = [*self._pause(IMPRESSIONS, impressions), *self._pause(CLICKS, clicks)]
        stuck = IMPRESSIONS in self.paused and (CLICKS in self.paused or not clicks_lag)
        if stuck and not self._stuck:
            out.append(Overfull(self._partition, impressions))
        self._stuck = stuck
        return out

    def _pause(self, kind: TopicKind, kept: int) -> list[Instruction]:
        if kind not in self.paused and kept >= self.limit:
            self.paused.add(kind)
            return [Pause(kind, self._partition)]
        if kind in self.paused and kept < self.limit - self.limit // 8:
            self.paused.discard(kind)
            return [Unpause(kind, self._partition)]
        return []
