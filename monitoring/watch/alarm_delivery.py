"""Alarms on their way out: to a topic exactly once, to the log of lines, and to a web hook."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import msgspec

from monitoring.watch.alarm_actions import (
    ActionReader,
    AlarmAction,
    acknowledgement,
    active_silences,
)
from monitoring.watch.alarm_webhook import Webhook
from monitoring.watch.detect.alarm import Alarm, alarm_link, newest_alarms, slice_name
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

__all__ = ["ALARMS", "GROUP", "Outbox", "alarm_line"]

ALARMS = "alarms"
GROUP = "monitor"
_RETENTION_MS = 90 * 86_400_000
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
    report
        Takes lines for people.
    webhook
        Is sent every alarm that is not silenced; may be slow, and may fail.
    public_url
        Of the server that shows reports; empty: not known.
    """

    def __init__(
        self,
        log: EventLog,
        keep: int,
        report: Callable[[str], None],
        webhook: Webhook | None = None,
        public_url: str = "",
    ) -> None:
        self.log, self.keep, self.report, self._webhook = log, keep, report, webhook
        self._public_url = public_url
        self.id = secrets.token_hex(8)
        self.raised = 0
        self.alarms: list[Alarm] = []
        self._sent = 0
        self._producer: Producer | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="webhook")
        self._posting = 0
        self._actions = ActionReader(log)
        self._acted = 0
        self._withheld: set[str] = set()
        log.create_topics([TopicSettings(ALARMS, 1, _RETENTION_MS)])

    def take(self, alarms: Sequence[Alarm]) -> None:
        """Number alarms that were just raised or closed."""
        openings = {alarm.id: alarm.opening for alarm in self.alarms}
        for alarm in alarms:
            opening = openings.setdefault(alarm.id, self.raised)
            numbered = msgspec.structs.replace(alarm, number=self.raised, opening=opening)
            self.alarms.append(numbered)
            self.raised += 1
        del self.alarms[: -self.keep]

    @property
    def waiting(self) -> bool:
        """Whether an alarm has not been sent."""
        return self._sent < self.raised

    def open(self) -> list[Alarm]:
        """Alarms kept that have not been closed."""
        return [alarm for alarm in newest_alarms(self.alarms) if alarm.status != "closed"]

    @property
    def actions(self) -> list[AlarmAction]:
        """What people have done about alarms, as of the last :meth:`follow`."""
        return self._actions.actions

    def follow(self, now_ms: int) -> None:
        """Take up what people have done: who is on an alarm, and which slices are silenced.

        Call it before the state is saved: whether an alarm is withheld from the web hook is part
        of it. One that still goes on when its silence ends is sent then.
        """
        new: list[tuple[int, AlarmAction]] = []
        with suppress(LogError):  # what was known before holds on
            new = self._actions.read()
        going_on = {alarm.id: alarm for alarm in self.open()}
        for offset, action in new:
            if offset >= self._acted and action.alarm in going_on and self._webhook is not None:
                self._post(self._webhook.acknowledgement(going_on[action.alarm]))
        self._acted = max(self._acted, self._actions.offset)
        self._withhold(going_on, active_silences(self.actions, now_ms))

    def _withhold(self, going_on: Mapping[str, Alarm], silences: Sequence[AlarmAction]) -> None:
        """Keep new alarms under a silence from the web hook, and send those whose silence ended."""
        known = {alarm.id for alarm in self.alarms}
        unsent = {a.id for a in self._new() if a.number == a.opening}  # ends are told with them
        silent = {a.id for a in self.alarms if any(one.covers(a) for one in silences)}
        ended = (self._withheld & going_on.keys()) - silent
        for name in sorted(ended - unsent):
            if acknowledgement(going_on[name], self.actions) is None:
                self._publish(going_on[name])
        self._withheld = ((self._withheld & known) - ended) | (unsent & silent)

    def _new(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if alarm.number >= self._sent]

    def send(self, offsets: Mapping[int, int], about: Mapping[str, Any]) -> bool:
        """Append what is new to the topic and commit the group's offsets; whether it went well.

        Call it when the alarms are in the saved state, which has these offsets.
        """
        new = self._new()
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
        for alarm in new:
            silenced = alarm.id in self._withheld
            note = " (silenced: not sent to the web hook)" if silenced and self._webhook else ""
            self.report(f"{alarm_line(alarm, self._public_url)}{note}")
            if not silenced:
                self._publish(alarm)
        return True

    def _publish(self, alarm: Alarm) -> None:
        if self._webhook is not None:
            self._post(self._webhook.alarm(alarm))

    def _post(self, body: bytes | None) -> None:
        if body is None:
            return
        if self._posting >= _WAITING:
            self.report("monitor: the webhook is too slow: an alarm was not sent to it")
            return
        self._posting += 1
        self._pool.submit(self._try_to_post, body)

    def _try_to_post(self, body: bytes) -> None:
        assert self._webhook is not None
        try:
            self._webhook.post(body)
        except Exception as error:  # whatever a webhook does, the monitor goes on
            self.report(f"monitor: the webhook did not take an alarm: {error}")
        finally:
            self._posting -= 1

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "id": self.id,
            "raised": self.raised,
            "kept": msgspec.to_builtins(self.alarms),
            "acted": self._acted,
            "withheld": sorted(self._withheld),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; the log says how much of it has been sent."""
        self.id, self.raised = state["id"], state["raised"]
        self.alarms = msgspec.convert(state["kept"], list[Alarm])
        self._acted, self._withheld = state.get("acted", 0), set(state.get("withheld", ()))
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


def alarm_line(alarm: Alarm, public_url: str = "") -> str:
    """Say an alarm in one line, with where the report tells it.

    Examples
    --------
    >>> alarm_line(Alarm(field="s", value="s1", since_ms=1736121600000, detected_ms=0,
    ...                  size=1.52, size_low=1.3, size_high=1.8))
    'ALARM open (warning): calibration of s1 since 2025-01-06T00:00:00Z: 1.52 (1.3 to 1.8) #alarm-0'
    """
    where = "everything" if not alarm.field else alarm.field
    if alarm.value:
        where = slice_name(alarm.field, alarm.value, "=")
    since = time_text(alarm.since_ms, "{0:%Y-%m-%dT%H:%M:%SZ}")
    size, low, high = (
        "inf" if x is None else f"{x:.3g}" for x in (alarm.size, alarm.size_low, alarm.size_high)
    )
    return (
        f"ALARM {alarm.status} ({alarm.severity}): {alarm.what} of {where} since {since}: "
        f"{size} ({low} to {high}){f'; {alarm.cause}' if alarm.cause else ''}"
        f"{f'. {alarm.action}' if alarm.action else ''} {alarm_link(alarm, public_url)}"
    )
