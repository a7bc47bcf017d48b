"""The trainer's side of the ``weights`` topic: what changed since the last message, then all."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from features.hashed import Hashed
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.snapshot import HASH_VERSION
from learning.touched import Touched, used_buckets
from streaming.log import EventLog, FencedError, LogError, NewRecord, Producer, TopicSettings
from streaming.weights_message import Head, parts_of

__all__ = ["WEIGHTS", "Reached", "WeightsPublisher"]

WEIGHTS = "weights"
_AT_ONCE = 8
"""Records to a transaction: a large message must not keep others from the log for long."""
_LEAST_RETENTION_S = 3600.0


@dataclass(frozen=True, slots=True)
class Reached:
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
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        assert learner.spec is not None and learner.weights is not None
        self.log, self.learner, self.now, self.report = log, learner, now, report
        self.every_s, self.full_every_s = every_s, full_every_s
        self._spec, self._epoch = spec_identity(learner.spec), secrets.token_hex(8)
        self._touched = Touched(learner.weights)
        self._ever = Touched(learner.weights)
        self._ever.fields[used_buckets(learner.weights.fields)] = True
        self._ever.crosses[used_buckets(learner.weights.crosses)] = True
        self._number, self._full_at, self._updated_ms = 0, -1, 0
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

    def publish(self, reached: Reached, *, at_once: bool = False) -> None:
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

    def _send(self, reached: Reached, now: float) -> None:
        if self._producer is None:
            retention_ms = int(self._retention_s * 1000)
            self.log.create_topics([TopicSettings(WEIGHTS, 1, retention_ms)])
            self._producer = self.log.producer("weights")
        fields, crosses = self._touched.take()
        self._ever.fields[fields] = True
        self._ever.crosses[crosses] = True
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

    def _send_full(self, reached: Reached, now: float) -> None:
        if self._full_sent_at == -np.inf:
            self._number += 1  # what came before may be incomplete
        fields, crosses = np.flatnonzero(self._ever.fields), np.flatnonzero(self._ever.crosses)
        start = self.log.end_offsets(WEIGHTS)[0]
        self._write(parts_of(self._head(reached, full=True), self._weights, fields, crosses))
        self._full_at, self._full_sent_at, self._changed_since_full = start, now, False

    @property
    def _weights(self) -> Any:
        return self.learner.weights

    def _head(self, reached: Reached, *, full: bool) -> Head:
        assert self.learner.vectoriser is not None
        edges = self.learner.vectoriser.quantiles.state()
        text = msgspec.json.encode(edges)  # the lists within go on growing
        changed, self._edges = text != self._edges, text
        return Head(
            hash_version=HASH_VERSION,
            spec=self._spec,
            epoch=self._epoch,
            number=self._number,
            full=full,
            part=0,
            parts=1,
            fields=0,
            crosses=0,
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
