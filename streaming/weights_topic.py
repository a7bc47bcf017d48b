"""The trainer's weights through a topic of the log: published there, and followed by replicas."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from features.hashed import Hashed
from features.spec import Spec
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.snapshot import HASH_VERSION
from learning.touched import Touched, used_buckets
from learning.weights import StackWeights
from streaming.log import EventLog, FencedError, LogError, NewRecord, Producer, TopicSettings
from streaming.weights_message import (
    MessageHead,
    MessagePart,
    Precision,
    WeightsMessageError,
    parts_of,
    read_head,
    read_part,
)

__all__ = ["WEIGHTS", "TrainerPosition", "WeightsFollower", "WeightsPublisher"]

WEIGHTS = "weights"
_AT_ONCE = 8
"""Records to a transaction: a large message must not keep others from the log for long."""
_LEAST_RETENTION_S = 3600.0


@dataclass(frozen=True, slots=True)
class TrainerPosition:
    """How far a trainer is.

    Parameters
    ----------
    events, event_time
        Learned; the latest event time.
    offsets
        Next offset of the examples topic, by partition.
    """

    events: int
    event_time: int
    offsets: Sequence[int]


class WeightsPublisher:
    """Publishes a learner's buckets as it changes them; for the trainer's thread.

    A failure to publish is reported and never stops the learning: the next message is a full one.

    Parameters
    ----------
    log
        Used by the calling thread.
    learner
        With a spec.
    every_s
        Seconds between messages. Shorter: fresher replicas, more to write.
    full_every_s
        Seconds between full ones. Shorter: a replica that starts or lost one is soon up again.
    precision
        Whether crosses are rounded to half precision, where the learner's can be.
    now
        Wall-clock seconds.
    report
        Takes lines for people.
    """

    def __init__(
        self,
        log: EventLog,
        learner: ClickLearner,
        *,
        every_s: float,
        full_every_s: float,
        precision: Precision,
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        assert learner.spec is not None and learner.weights is not None
        self.log, self.learner, self.now, self.report = log, learner, now, report
        self.every_s, self.full_every_s = every_s, full_every_s
        rounds = precision == "half" and isinstance(learner.weights, StackWeights)
        self._precision: Precision = "half" if rounds else "exact"
        self._spec, self._epoch = spec_identity(learner.spec), secrets.token_hex(8)
        self._touched = Touched(learner.weights)
        self._ever = Touched(learner.weights)
        self._note_used()
        self._number, self._full_at, self._updated_ms, self._sweeps = 0, -1, 0, 0
        self._retention_s = max(10.0 * full_every_s, _LEAST_RETENTION_S)
        self._sent_at = self._full_sent_at = -np.inf
        self._changed = self._changed_since_full = True
        self._edges = b""
        self._producer: Producer | None = None
        self._over = self._silent = False

    def learned(self, hashed: Hashed) -> None:
        """Note events that were learned just now."""
        self._touched.add(hashed)
        self._changed = self._changed_since_full = True
        self._updated_ms = int(self.now() * 1000)

    def publish(self, reached: TrainerPosition, *, at_once: bool = False) -> None:
        """Send what is due, between two stretches of learning.

        Parameters
        ----------
        reached
            Where the learner is.
        at_once
            Whatever has changed, due or not.
        """
        now = self.now()
        if self._over or (now - self._sent_at < self.every_s and not at_once):
            return
        self._sent_at = now
        try:
            self._send(reached, now)
            self._silent = False
        except FencedError as error:
            self._over = True
            self.report(f"train: another trainer publishes weights, so this one stops: {error}")
        except LogError as error:
            if not self._silent:
                self.report(f"train: weights not published, next a full message: {error}")
            self._silent, self._full_sent_at = True, -np.inf
            self.close()

    def close(self) -> None:
        """Let go of the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()

    def _note_used(self) -> None:
        """A full message has the buckets that hold something."""
        self._ever.fields |= used_buckets(self._weights.fields)
        self._ever.crosses |= used_buckets(self._weights.crosses)

    def _send(self, reached: TrainerPosition, now: float) -> None:
        if self._producer is None:
            retention_ms = int(self._retention_s * 1000)
            self.log.create_topics([TopicSettings(WEIGHTS, 1, retention_ms)])
            self._producer = self.log.producer("weights")
        fields, crosses = self._touched.take()
        self._ever.fields[fields] = True
        self._ever.crosses[crosses] = True
        eviction = self._weights.eviction
        if eviction is not None and eviction.sweeps != self._sweeps:
            self._sweeps = eviction.sweeps  # buckets that were emptied are news too, once
            fields, crosses = self._ever.take()
            self._note_used()
        if self._full_sent_at > -np.inf and self._changed:
            self._number += 1
            self._write(parts_of(self._head(reached, full=False), self._weights, fields, crosses))
        self._changed = False
        if self._full_due(now):
            self._send_full(reached, now)

    def _full_due(self, now: float) -> bool:
        """Now and then where something changes; else before retention takes the last one."""
        wait = self.full_every_s if self._changed_since_full else self._retention_s / 3
        return now - self._full_sent_at >= wait

    def _send_full(self, reached: TrainerPosition, now: float) -> None:
        if self._full_sent_at == -np.inf:
            self._number += 1  # what came before may be incomplete
        fields, crosses = np.flatnonzero(self._ever.fields), np.flatnonzero(self._ever.crosses)
        start = self.log.end_offsets(WEIGHTS)[0]
        self._write(parts_of(self._head(reached, full=True), self._weights, fields, crosses))
        self._full_at, self._full_sent_at, self._changed_since_full = start, now, False

    @property
    def _weights(self) -> Any:
        return self.learner.weights

    def _head(self, reached: TrainerPosition, *, full: bool) -> MessageHead:
        assert self.learner.vectoriser is not None
        edges = self.learner.vectoriser.quantiles.state()
        text = msgspec.json.encode(edges)  # the lists within go on growing
        changed, self._edges = text != self._edges, text
        return MessageHead(
            hash_version=HASH_VERSION,
            spec=self._spec,
            epoch=self._epoch,
            number=self._number,
            full=full,
            part=0,
            parts=1,
            fields=0,
            crosses=0,
            precision=self._precision,
            events=reached.events,
            event_time=reached.event_time,
            updated_ms=self._updated_ms,
            offsets=list(reached.offsets),
            full_at=self._full_at,
            quantiles=edges if full or changed else None,
        )

    def _write(self, records: Iterable[bytes]) -> None:
        assert self._producer is not None
        left = iter(records)
        while some := [NewRecord(None, value, 0) for value in islice(left, _AT_ONCE)]:
            with self._producer.transaction() as tx:
                tx.append(WEIGHTS, some)


class WeightsFollower:
    """Follows the messages of a trainer: first a full one, then each that comes after.

    A message is put into the tables when all its records are here, in one go, so a reader in
    another thread never sees half of one for longer than the copying takes. A full one is built
    aside. After a gap or a damaged record the weights stay until the next full message.

    Parameters
    ----------
    spec
        Whose weights they must be; messages of others are refused.

    Attributes
    ----------
    learner
        As of the last message; ``None`` before the first full one. Another object after another
        full message was needed.
    head
        Of the last message that is in.
    problem
        Why there are no newer weights; ``None``: there are.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec, self._identity = spec, spec_identity(spec)
        self.learner: ClickLearner | None = None
        self.head: MessageHead | None = None
        self.problem: str | None = None
        self._synced = False
        self._parts: list[MessagePart] = []
        self._edges: tuple[ClickLearner, dict[str, Any]] | None = None
        self._shape = ClickLearner(spec)  # what records must fit; zeros take no memory

    def take(self, record: bytes) -> bool:
        """Take a record of the topic; whether the weights are newer now."""
        try:
            if not self._is_readable(read_head(record)):
                return False
            assert self._shape.weights is not None
            part = read_part(record, self._shape.weights)
        except WeightsMessageError as error:
            self._lost(f"{error}; waiting for a full message")
            return False
        return self._placed(part)

    def refresh(self) -> None:
        """Take up quantile edges that came since; for the thread that predicts."""
        edges, self._edges = self._edges, None
        if edges is not None and edges[0] is self.learner:
            assert self.learner.vectoriser is not None
            self.learner.vectoriser.quantiles.restore(edges[1])

    def _is_readable(self, head: MessageHead) -> bool:
        if head.hash_version != HASH_VERSION:
            self.problem = "weights topic: of another hash version; the old weights stay"
        elif head.spec != self._identity:
            self.problem = (
                f"weights topic: of another spec ({head.spec[:8]}, not {self._identity[:8]});"
                " the old weights stay. Fix: use the trainer's spec"
            )
        else:
            return True
        self._synced = False
        return False

    def _lost(self, why: str) -> None:
        self.problem, self._synced, self._parts = why, False, []

    def _placed(self, part: MessagePart) -> bool:
        """Put a record in its place in its message."""
        head = part.head
        if head.part == 0:
            self._parts = []
        before = self._parts[-1].head if self._parts else None
        if head.part and (before is None or not _follows(before, head)):
            self._parts = []
            if self._is_needed(head):
                self._lost("weights topic: a record is missing; waiting for a full message")
            return False
        self._parts.append(part)
        if head.part < head.parts - 1:
            return False
        parts, self._parts = self._parts, []
        return self._full(parts) if head.full else self._delta(parts)

    def _is_needed(self, head: MessageHead) -> bool:
        """Whether the weights cannot go on without this message."""
        return not (self._synced and head.full and self._at(head))

    def _at(self, head: MessageHead) -> bool:
        own = self.head
        return own is not None and (own.epoch, own.number) == (head.epoch, head.number)

    def _full(self, parts: list[MessagePart]) -> bool:
        if self._synced and self._at(parts[-1].head):
            return False  # what it says is known
        learner = ClickLearner(self.spec)
        _put(parts, learner)
        assert learner.vectoriser is not None
        if parts[-1].head.quantiles is not None:
            learner.vectoriser.quantiles.restore(parts[-1].head.quantiles)
        self.learner, self.head = learner, parts[-1].head
        self._synced, self.problem = True, None
        return True

    def _delta(self, parts: list[MessagePart]) -> bool:
        head, own = parts[-1].head, self.head
        known = own is not None and own.epoch == head.epoch
        if self._synced and known and own is not None and head.number <= own.number:
            return False  # read again
        if not self._synced or not known or own is None or head.number != own.number + 1:
            if self._synced or self.problem is None:
                self._lost("weights topic: a message is missing; waiting for a full message")
            return False
        assert self.learner is not None
        _put(parts, self.learner)
        if head.quantiles is not None:
            self._edges = (self.learner, head.quantiles)
        self.head = head
        return True


def _follows(before: MessageHead, head: MessageHead) -> bool:
    same = (before.epoch, before.number, before.full) == (head.epoch, head.number, head.full)
    return same and before.part + 1 == head.part


def _put(parts: list[MessagePart], learner: ClickLearner) -> None:
    assert learner.weights is not None
    for part in parts:
        part.apply(learner.weights)
