"""Threads that follow the event log for a server: a trainer's weights, a monitor's repairs.

Each opens the log again after every failure. Weights are followed on hosts other than the
trainer's, where its file cannot be mapped.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from features.errors import ClicktideError
from features.spec import Spec
from features.spec_file import spec_identity
from monitoring.watch.repair.table import REPAIRS, RepairTable
from serving.weights import CurrentWeights, FixedWeights
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.weights_message import WeightsMessageError, read_head
from streaming.weights_topic import WEIGHTS, WeightsFollower

__all__ = ["LogFollower", "RepairSource", "ReplicaWeights"]

_REPAIRS_AT, _WEIGHTS_AT = TopicPartition(REPAIRS, 0), TopicPartition(WEIGHTS, 0)
_SILENT_MS = 600_000
_RECORDS = 32
_FURTHEST_BACK = 4096


class LogFollower(ABC):
    """Runs :meth:`follow` in a thread until it is closed.

    Parameters
    ----------
    connect
        Opens the log; called in the thread, again after every failure.
    name
        Of the thread.
    retry_s
        How long to wait after a failure.

    Attributes
    ----------
    problem
        Why there is nothing newer, as the last failure says; ``None``: there is.
    """

    problem: str | None = None

    def __init__(self, connect: Callable[[], EventLog], name: str, retry_s: float = 1.0) -> None:
        self._connect, self._retry_s = connect, retry_s
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; what :meth:`follow` needs is there."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self.closed.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self.closed.is_set():
            try:
                with self._connect() as log:
                    self.follow(log)
            except ClicktideError as error:
                self.problem = str(error)
                self.closed.wait(self._retry_s)

    @abstractmethod
    def follow(self, log: EventLog) -> None:
        """Read until ``closed`` is set; raises what the log raises."""


class RepairSource(LogFollower):
    """Follows the monitor's repairs. A monitor that is silent for ten minutes repairs nothing.

    Parameters
    ----------
    connect
        Opens the log; called in the thread, again after every failure.
    now_ms
        The wall clock.
    poll_s
        How often to look for news.
    """

    def __init__(
        self, connect: Callable[[], EventLog], now_ms: Callable[[], int], poll_s: float = 0.5
    ) -> None:
        super().__init__(connect, "repairs", poll_s)
        self._now_ms, self._poll_s = now_ms, poll_s
        self._newest: tuple[RepairTable, int] | None = None
        self.start()

    def current(self) -> RepairTable | None:
        """The newest table; ``None``: none, or it repairs nothing, or it is too old."""
        newest = self._newest
        if newest is None or not newest[0].repairs or self._now_ms() - newest[1] > _SILENT_MS:
            return None
        return newest[0]

    def follow(self, log: EventLog) -> None:
        """Take the newest table, again and again."""
        read_to = -1
        while not self.closed.wait(self._poll_s):
            if REPAIRS not in log.topics():
                continue
            end = log.end_offsets(REPAIRS)[0]
            if end == read_to:
                continue
            first = max(log.start_offsets(REPAIRS)[0], end - 8)  # some may be a log's own markers
            for record in log.read(_REPAIRS_AT, first, 8):
                try:
                    table = msgspec.json.decode(record.value, type=RepairTable)
                except msgspec.DecodeError:
                    continue  # of another version of Clicktide
                self._newest = table, record.timestamp_ms
            self.problem, read_to = None, end


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
                records = log.read(_WEIGHTS_AT, at, _RECORDS)
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
        records = log.read(_WEIGHTS_AT, max(start, end - back), _RECORDS)
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
