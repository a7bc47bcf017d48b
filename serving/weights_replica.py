"""Weights on hosts other than the trainer's: a replica that follows the ``weights`` topic."""

from __future__ import annotations

import time
from collections.abc import Callable

from features.spec import Spec
from features.spec_file import spec_identity
from serving.log_follower import LogFollower
from serving.weights import CurrentWeights, FixedWeights
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.weights_message import WeightsMessageError, read_head
from streaming.weights_topic import WEIGHTS, WeightsFollower

__all__ = ["ReplicaWeights"]

_AT = TopicPartition(WEIGHTS, 0)
_RECORDS = 32
_FURTHEST_BACK = 4096


class ReplicaWeights(LogFollower):
    """A trainer's published weights, followed in a thread: a source of weights.

    Parameters
    ----------
    connect
        Opens the log; called in the thread, again after every failure.
    spec
        Whose weights they must be.
    poll_s
        How often to look for news. Shorter: fresher, more calls.
    retry_s
        How long to wait after a failure.

    Attributes
    ----------
    problem
        Why there are no newer weights; ``None``: there are.
    """

    def __init__(
        self,
        connect: Callable[[], EventLog],
        spec: Spec,
        *,
        poll_s: float = 0.05,
        retry_s: float = 1.0,
    ) -> None:
        super().__init__(connect, "replica", retry_s)
        self._poll_s = poll_s
        self._identity = spec_identity(spec)[:8]
        self.follower = WeightsFollower(spec)
        self.problem = "weights topic: no full message read yet"
        self._current: FixedWeights | None = None
        self.start()

    def current(self) -> CurrentWeights | None:
        """The newest weights."""
        self.follower.refresh()
        weights = self._current
        if weights is not None:
            weights.problem = self.problem
        return weights

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first weights; whether they came."""
        until = time.monotonic() + timeout_s
        while self._current is None and time.monotonic() < until:
            self.closed.wait(0.01)
        return self._current is not None

    # --- the thread ------------------------------------------------------------------------

    def follow(self, log: EventLog) -> None:
        """Take what the topic has, from its newest full message on."""
        while WEIGHTS not in log.topics():
            self.problem = "weights topic: there is none. Fix: `clicktide train --publish-weights`"
            if self.closed.wait(self._retry_s):
                return
        at = _newest_full(log)
        while not self.closed.is_set():
            try:
                records = log.read(_AT, at, _RECORDS)
            except OffsetError:
                at = _newest_full(log)
                continue
            for record in records:
                self._take(record.value)
            if records:
                at = records[-1].offset + 1
            else:
                self._idle()

    def _idle(self) -> None:
        self.problem = self.follower.problem
        if self._current is None and self.problem is None:
            self.problem = "weights topic: no full message read yet"
        self.closed.wait(self._poll_s)

    def _take(self, record: bytes) -> None:
        follower = self.follower
        newer = follower.take(record)
        self.problem = follower.problem
        if newer and follower.learner is not None and follower.head is not None:
            head = follower.head
            version = f"live-{self._identity}-{head.events}"
            self._current = FixedWeights(
                follower.learner, version, head.events, head.updated_ms or None
            )


def _newest_full(log: EventLog) -> int:
    """Where the newest full message begins, as the last records tell; else the first offset."""
    start, end = log.start_offsets(WEIGHTS)[0], log.end_offsets(WEIGHTS)[0]
    back = 1
    while back <= _FURTHEST_BACK and start < end:
        records = log.read(_AT, max(start, end - back), _RECORDS)
        for record in reversed(records):
            at = _full_offset(record)
            if at is not None:
                return max(start, at)
        if end - back <= start:
            break
        back *= 2
    return start


def _full_offset(record: Record) -> int | None:
    try:
        head = read_head(record.value)
    except WeightsMessageError:
        return None
    return head.full_at if head.full_at >= 0 else None
