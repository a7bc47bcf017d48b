"""What the joiner can be told."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from features.errors import ClicktideError
from features.events import MOST_ONE_IN

__all__ = ["JoinWindows", "JoinerSettings"]


class JoinerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How impressions and clicks are joined. All times are event time.

    Parameters
    ----------
    join_window_s
        An impression is labelled when this long after it has passed. Longer: fewer late clicks,
        staler examples, more memory.
    label_after_s
        The trainer learns an impression this long after it was shown, with the label of that
        moment, and a click after it as soon as it comes. About half of the clicks should be there
        by then; longer: staler weights, fewer clicks learned twice. 0, or not below
        ``join_window_s``: it learns what leaves the join window.
    learn_one_in
        Of the impressions that are not clicked by then, the trainer is given one in so many, chosen
        by its id, which counts for so many: nothing else changes in the mean. Higher: as much less
        work for the trainer, and less to learn from. Clicked ones, and what the monitor and the
        registry judge by, are never left out.
    label_out_of_order_s
        As ``out_of_order_s``, for those labels. Longer: they wait longer; a click that comes out of
        order within it is not late. No impression is too late for them that is in time for the
        join window.
    out_of_order_s
        How far behind the newest event of its partition an event may be and still be on time.
        Longer: labels wait longer. A click may also be dated this much before its impression.
    late_window_s
        How long after the join window a click still makes a correction example. Longer: more
        corrections, more memory, a longer replay after a restart.
    max_ahead_s
        An event further ahead of its partition's time than this does not move time by itself:
        many must follow; the API refuses it. Shorter: a wrong clock does less harm.
    far_future_s
        An event further ahead than this whose clock was wrong is rejected.
    max_pending
        Impressions, and as many clicks, kept in memory per partition; reading stops there. It
        must hold ``join_window_s + late_window_s + out_of_order_s`` of a partition's traffic.
    stall_false_alarm
        Chance, per click, that the silence after it is taken for a stall though the served
        probabilities are right. Smaller: more expected clicks must fail to come.
    click_delay_s
        By then at least half of an impression's clicks have come; the stall guard counts half
        the probability of impressions this old. Longer: it sees a stall later.
    assumed_probability
        What the stall guard takes for an impression served without a probability. 0: the click
        rate of its partition so far, once there are 1,000 examples.
    """

    join_window_s: float = 600.0
    out_of_order_s: float = 30.0
    late_window_s: float = 3600.0
    label_after_s: float = 30.0
    label_out_of_order_s: float = 1.0
    learn_one_in: int = 1
    max_ahead_s: float = 60.0
    far_future_s: float = 3600.0
    max_pending: int = 1_000_000
    stall_false_alarm: float = 1e-6
    click_delay_s: float = 10.0
    assumed_probability: float = 0.0

    def __post_init__(self) -> None:
        names = "join_window_s", "out_of_order_s", "late_window_s", "max_ahead_s"
        for name in (*names, "label_after_s", "label_out_of_order_s"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("far_future_s", self.far_future_s >= self.max_ahead_s, ">= max_ahead_s")
        within = 1 <= self.learn_one_in <= MOST_ONE_IN
        self._require("learn_one_in", within, f"from 1 to {MOST_ONE_IN:,}")
        early = self.learn_one_in == 1 or self.has_early_labels
        self._require("learn_one_in", early, "1 without early labels (label_after_s)")
        self._require("max_pending", self.max_pending >= 1, "at least 1")
        self._require("stall_false_alarm", 0 < self.stall_false_alarm < 1, "between 0 and 1")
        self._require("click_delay_s", self.click_delay_s >= 0, "at least 0")
        self._require("assumed_probability", 0 <= self.assumed_probability <= 1, "in 0..1")

    @property
    def has_early_labels(self) -> bool:
        """Whether there are examples that do not wait for the join window."""
        return 0 < self.label_after_s < self.join_window_s

    @property
    def first_label_s(self) -> float:
        """Seconds from an impression to when the trainer can have it."""
        if self.has_early_labels:
            return self.label_after_s + min(self.label_out_of_order_s, self.out_of_order_s)
        return self.join_window_s + self.out_of_order_s

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds or not math.isfinite(getattr(self, name)):
            value = getattr(self, name)
            raise ClicktideError(f"joiner settings, {name}: {value}. Fix: give a number {what}")


class JoinWindows(NamedTuple):
    """How long things last, in ms."""

    join: int
    late: int
    out_of_order: int
    max_ahead: int
    far_future: int
    label: int
    label_out_of_order: int

    @classmethod
    def of(cls, settings: JoinerSettings) -> JoinWindows:
        """Convert."""
        s = settings
        seconds = s.join_window_s, s.late_window_s, s.out_of_order_s, s.max_ahead_s, s.far_future_s
        early = (s.label_after_s, s.label_out_of_order_s) if s.has_early_labels else (0.0, 0.0)
        return cls(*(round(1000 * x) for x in (*seconds, *early)))
