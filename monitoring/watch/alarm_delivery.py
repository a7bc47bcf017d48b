"""Alarms on their way out: to a topic exactly once, to the log of lines, and to a webhook."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import msgspec

from features.errors import ClicktideError
from monitoring.watch.detect.alarm import Alarm, newest_alarms
from monitoring.watch.slices import slice_name
from streaming.log import (
    EventLog,
    FencedError,
    LogError,
    NewRecord,
    Position,
    Producer,
    TopicPartition,
    TopicSettings,
)
from streaming.settings import EXAMPLES
from streaming.time_text import time_text

__all__ = ["ALARMS", "GROUP", "Outbox", "alarm_line", "post_to"]

ALARMS = "alarms"
GROUP = "monitor"
_RETENTION_MS = 90 * 86_400_000
_TRIES, _TIMEOUT_S = 3, 5.0
_WAITING = 100


class Outbox:
    """Alarms raised so far, and which of them are in the topic.

    An alarm gets its number when it is raised, and is in the monitor's saved state before it is
    sent. The transaction that appends it also commits how many have been sent: after a crash what
    the state has and the log has not is sent, and nothing twice.

    Parameters
    ----------
    log
        Where the topic is made.
    keep
        Alarms kept at most.
    post
        Sends an alarm to a webhook; may be slow, and may fail.
    report
        Takes lines for people.
    """

    def __init__(
        self,
        log: EventLog,
        keep: int,
        report: Callable[[str], None],
        post: Callable[[bytes], None] | None = None,
    ) -> None:
        self.log, self.keep, self.report, self._post = log, keep, report, post
        self.id = secrets.token_hex(8)
        self.raised = 0
        self.alarms: list[Alarm] = []
        self._sent = 0
        self._producer: Producer | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="webhook")
        self._posting = 0
        log.create_topics([TopicSettings(ALARMS, 1, _RETENTION_MS)])

    def take(self, alarms: Sequence[Alarm]) -> None:
        """Number alarms that were just raised or closed."""
        for alarm in alarms:
            self.alarms.append(msgspec.structs.replace(alarm, number=self.raised))
            self.raised += 1
        del self.alarms[: -self.keep]

    @property
    def waiting(self) -> bool:
        """Whether an alarm has not been sent."""
        return self._sent < self.raised

    def open(self) -> list[Alarm]:
        """Alarms kept that have not been closed."""
        return [alarm for alarm in newest_alarms(self.alarms) if alarm.status != "closed"]

    def send(self, offsets: Mapping[int, int], about: Mapping[str, Any]) -> bool:
        """Append what is new to the topic and commit the group's offsets; whether it went well.

        Call it when the alarms are in the saved state, which has these offsets.
        """
        new = [alarm for alarm in self.alarms if alarm.number >= self._sent]
        metadata = json.dumps({**about, "alarms": self.raised, "id": self.id})
        places = {TopicPartition(EXAMPLES, p): Position(o, metadata) for p, o in offsets.items()}
        records = [NewRecord(None, msgspec.json.encode(alarm), 0) for alarm in new]
        try:
            if self._producer is None:
                self._producer = self.log.producer("monitor-0")
            with self._producer.transaction() as tx:
                if records:
                    tx.append(ALARMS, records)
                tx.commit(GROUP, places)
        except FencedError as error:
            raise FencedError(
                "monitor: another monitor writes alarms into this log: this one stops. Fix: run "
                f"one monitor a log ({error})"
            ) from error
        except LogError as error:
            self.report(f"monitor: the log takes no alarms now, again later: {error}")
            self._close_producer()
            return False
        self._sent = self.raised
        for alarm, record in zip(new, records, strict=True):
            self.report(alarm_line(alarm))
            self._publish(record.value)
        return True

    def _publish(self, alarm: bytes) -> None:
        if self._post is None:
            return
        if self._posting >= _WAITING:
            self.report("monitor: the webhook is too slow: an alarm was not sent to it")
            return
        self._posting += 1
        self._pool.submit(self._try_to_post, alarm)

    def _try_to_post(self, alarm: bytes) -> None:
        assert self._post is not None
        try:
            self._post(alarm)
        except Exception as error:  # whatever a webhook does, the monitor goes on
            self.report(f"monitor: the webhook did not take an alarm: {error}")
        finally:
            self._posting -= 1

    def state(self) -> dict[str, Any]:
        """JSON values."""
        alarms = msgspec.to_builtins(self.alarms)
        return {"id": self.id, "raised": self.raised, "kept": alarms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; the log says how much of it has been sent."""
        self.id, self.raised = state["id"], state["raised"]
        self.alarms = msgspec.convert(state["kept"], list[Alarm])
        places = (TopicPartition(EXAMPLES, p) for p in range(self.log.topics()[EXAMPLES]))
        sent = [_sent_by(self.log.committed(GROUP, at), self.id) for at in places]
        self._sent = min(max(sent, default=0), self.raised)

    def _close_producer(self) -> None:
        if self._producer is not None:
            with suppress(LogError):
                self._producer.close()
        self._producer = None

    def close(self) -> None:
        """Let go; alarms that the webhook has not taken yet are given a last moment."""
        self._pool.shutdown(wait=True, cancel_futures=False)
        self._close_producer()


def _sent_by(committed: Position | None, of: str) -> int:
    """How many alarms of one state the log has, by a commit of the group."""
    try:
        about = json.loads(committed.metadata) if committed else {}
        return int(about["alarms"]) if about.get("id") == of else 0
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0


def alarm_line(alarm: Alarm) -> str:
    """Say an alarm in one line.

    Examples
    --------
    >>> alarm_line(Alarm(field="site", value="s1", since_ms=1736121600000, detected_ms=0,
    ...                  size=1.52, size_low=1.3, size_high=1.8))
    'ALARM open: calibration of site=s1 since 2025-01-06T00:00:00Z: 1.52 (1.3 to 1.8)'
    """
    where = "everything" if not alarm.field else alarm.field
    if alarm.value:
        where = slice_name(alarm.field, alarm.value, "=")
    since = time_text(alarm.since_ms, "{0:%Y-%m-%dT%H:%M:%SZ}")
    size, low, high = (
        "inf" if x is None else f"{x:.3g}" for x in (alarm.size, alarm.size_low, alarm.size_high)
    )
    return (
        f"ALARM {alarm.status}: {alarm.what} of {where} since {since}: {size} ({low} to {high})"
        f"{f'; {alarm.cause}' if alarm.cause else ''}{f'. {alarm.action}' if alarm.action else ''}"
    )


def post_to(url: str, pause: Callable[[float], None]) -> Callable[[bytes], None]:
    """Make what sends an alarm to a URL, three times at most; no error names it: it is secret."""
    import httpx  # only where there is a webhook

    def post(alarm: bytes) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                headers = {"content-type": "application/json"}
                answer = httpx.post(url, content=alarm, headers=headers, timeout=_TIMEOUT_S)
                if answer.is_success:
                    return
                problem = f"it answered {answer.status_code}"
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}".replace(url, "its URL")
            if attempt < _TRIES:
                pause(float(attempt))
        raise ClicktideError(problem)

    return post
