"""The stall guard tells clicks that stopped from nobody clicking.

If clicks come as predicted, they are a Poisson process in *expected clicks*: the expected clicks
mu between one click and the next have P(mu > m) = exp(-m), whenever and however often one looks.
So a silence with mu >= -ln(stall_false_alarm) is raised falsely after that share of clicks.
mu counts half the served probability of each impression shown since the last click and at least
``click_delay_s`` ago: at least half of its clicks should be here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from streaming.joiner.records import (
    CLICKS,
    IMPRESSIONS,
    Instruction,
    Overfull,
    Pause,
    TopicKind,
    Unpause,
)
from streaming.joiner.settings import JoinerSettings

__all__ = ["Bound", "StallGuard"]

_PANE_MS = 1000
_PANES = 4096
_ENOUGH = 1_000  # examples whose click rate says what to expect


class StallGuard:
    """Expected clicks of one partition since its last click, in panes of a second.

    Its memory is bounded: beyond 4,096 panes, the oldest are added into one number.
    """

    __slots__ = ("_assumed", "_delay", "_limit", "_old", "_panes", "last_click", "stalled")

    def __init__(self, settings: JoinerSettings) -> None:
        self._delay = round(settings.click_delay_s * 1000)
        self._limit = -math.log(settings.stall_false_alarm)
        self._assumed = settings.assumed_probability
        self._panes: dict[int, float] = {}
        self._old = 0.0
        self.last_click = 0
        self.stalled = False

    def expect(self, ts: int, p: float) -> None:
        """Count an impression and its click probability."""
        if p and ts > self.last_click:
            pane = ts // _PANE_MS
            self._panes[pane] = self._panes.get(pane, 0.0) + p
            if len(self._panes) > _PANES:
                self._fold()

    def usual(self, counts: Mapping[str, int]) -> float:
        """What is taken for an impression that was served without a probability."""
        examples = counts["examples"]
        if self._assumed or examples < _ENOUGH:
            return self._assumed
        return counts["examples_clicked"] / examples

    def clicked(self, ts: int) -> bool:
        """Note a click; whether it ends a stall."""
        if ts > self.last_click:
            self.last_click, self._old = ts, 0.0
        ended, self.stalled = self.stalled, False
        return ended

    def expected(self, watermark: int) -> float:
        """Clicks that should have come since the last one, seen from a watermark in ms."""
        first = self.last_click // _PANE_MS
        end = (watermark - self._delay) // _PANE_MS
        return 0.5 * (self._old + sum(p for i, p in self._panes.items() if first < i < end))

    def is_stall(self, watermark: int) -> bool:
        """Whether that many expected clicks are too many for chance."""
        return self.expected(watermark) >= self._limit

    def _fold(self) -> None:
        first = self.last_click // _PANE_MS
        since = sorted((i, p) for i, p in self._panes.items() if i > first)
        old = since[: max(0, len(since) - _PANES // 2)]
        self._old += sum(p for _, p in old)
        self._panes = dict(since[len(old) :])


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
