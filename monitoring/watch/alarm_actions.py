"""What is done about alarms: by people, and by the guard of live weights; records of a topic."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from monitoring.watch.detect.alarm import Alarm, slice_name
from streaming.log import EventLog, NewRecord, TopicPartition, TopicSettings
from streaming.time_text import stamp, time_text

__all__ = [
    "ALARM_ACTIONS", "ActionReader", "AlarmAction", "acknowledgement", "active_silences",
    "append_action", "handled", "rolled_back", "silence_of", "status_of",
]  # fmt: skip

ALARM_ACTIONS = "alarm_actions"
_AT = TopicPartition(ALARM_ACTIONS, 0)
_TOPIC = TopicSettings(ALARM_ACTIONS, 1, 90 * 86_400_000)
_KEPT = 500


class AlarmAction(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="alarm_action"):
    """Something that was done about an alarm, a slice, or the weights that are served.

    Parameters
    ----------
    v
        Version of the record's form.
    what
        ``acknowledge`` an alarm; ``silence`` a slice, or ``unsilence`` it; ``roll_back`` live
        weights to a version, or ``serve_live`` ones again.
    at_ms, by, why
        Wall clock, who, and a note.
    alarm, number
        Id of the alarm acknowledged, and the number that it is called by; or the version's number.
    field, value
        The slice silenced; no ``value``: all of the field, and that it goes missing; an empty
        field: alarms about everything.
    until_ms
        Wall clock at which the silence ends.
    """

    v: int = 1
    what: Literal["acknowledge", "silence", "unsilence", "roll_back", "serve_live"]
    at_ms: int
    by: str
    why: str = ""
    alarm: str = ""
    number: int | None = None
    field: str = ""
    value: str | None = None
    until_ms: int | None = None

    @property
    def text(self) -> str:
        """What was done, in words."""
        until = "" if self.until_ms is None else f" until {stamp(self.until_ms)} UTC"
        return f"{self.what.replace('_', ' ')} {self.about}{until}"

    @property
    def about(self) -> str:
        """The alarm, or the slice, in words."""
        if self.what == "acknowledge":
            return f"alarm {self.number}"
        if self.what in ("roll_back", "serve_live"):
            return f"{'to' if self.what == 'roll_back' else 'after'} version {self.number}"
        return (
            self.field
            if self.field and self.value is None
            else slice_name(self.field, self.value or "")
        )

    def covers(self, alarm: Alarm) -> bool:
        """Whether an alarm is about the slice."""
        return self.field == alarm.field and self.value in (None, alarm.value)


def append_action(log: EventLog, action: AlarmAction) -> None:
    """Append an action to its topic, which is made if need be."""
    log.create_topics([_TOPIC])
    with log.producer("alarm-actions") as producer, producer.transaction() as tx:
        tx.append(ALARM_ACTIONS, [NewRecord(None, msgspec.json.encode(action), 0)])


class ActionReader:
    """Reads the topic of actions from its start, and then what is new.

    Attributes
    ----------
    actions
        The last of all, oldest first.
    offset
        Of the next record to read.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.actions: list[AlarmAction] = []
        self.offset = 0

    def read(self) -> list[tuple[int, AlarmAction]]:
        """What is new, each with its offset; nothing where the topic was never made."""
        if self.offset == 0 and ALARM_ACTIONS not in self._log.topics():
            return []
        self.offset = max(self.offset, self._log.start_offsets(ALARM_ACTIONS)[0])
        new = []
        while records := self._log.read(_AT, self.offset):
            self.offset = records[-1].offset + 1
            for record in records:
                with suppress(msgspec.DecodeError):  # of a later version, or not ours
                    action = msgspec.json.decode(record.value, type=AlarmAction)
                    new.append((record.offset, action))
        self.actions = [*self.actions, *(action for _, action in new)][-_KEPT:]
        return new


def acknowledgement(alarm: Alarm, actions: Sequence[AlarmAction]) -> AlarmAction | None:
    """The last acknowledgement of an alarm."""
    known = (one for one in reversed(actions) if one.what == "acknowledge")
    return next((one for one in known if one.alarm == alarm.id), None)


def active_silences(actions: Sequence[AlarmAction], at_ms: int) -> list[AlarmAction]:
    """Silences that hold now: a later action on the same slice replaces the earlier one.

    Examples
    --------
    >>> mute = AlarmAction(what="silence", at_ms=0, by="ann", field="site", until_ms=60_000)
    >>> end = AlarmAction(what="unsilence", at_ms=9, by="bob", field="site")
    >>> [len(active_silences(done, 30_000)) for done in ([mute], [mute, end])]
    [1, 0]
    """
    about_slices = (one for one in actions if one.what in ("silence", "unsilence"))
    by_slice = {(one.field, one.value): one for one in about_slices}
    return [one for one in by_slice.values() if (one.until_ms or 0) > at_ms]


def rolled_back(actions: Sequence[AlarmAction]) -> str:
    """Say that live weights are not served, and why; empty: they are.

    Examples
    --------
    >>> back = AlarmAction(what="roll_back", at_ms=0, by="guard", number=3, why="noise")
    >>> rolled_back([back])
    'Rolled back: version 3 is served since 1970-01-01 00:00:00 UTC, for noise.'
    >>> rolled_back([back, AlarmAction(what="serve_live", at_ms=9, by="guard", number=4)])
    ''
    """
    served = [one for one in actions if one.what in ("roll_back", "serve_live")]
    if not served or served[-1].what == "serve_live":
        return ""
    last = served[-1]
    return (
        f"Rolled back: version {last.number} is served since {stamp(last.at_ms)} UTC, "
        f"for {last.why}."
    )


def silence_of(alarm: Alarm, actions: Sequence[AlarmAction], at_ms: int) -> AlarmAction | None:
    """The silence that an alarm is under now."""
    return next((one for one in active_silences(actions, at_ms) if one.covers(alarm)), None)


def handled(alarm: Alarm, actions: Sequence[AlarmAction], at_ms: int) -> str:
    """Who is on an open alarm, in words; empty: it is closed, or nobody is."""
    if alarm.closed_ms is not None:
        return ""
    silence, known = silence_of(alarm, actions, at_ms), acknowledgement(alarm, actions)
    texts = [] if known is None else [f"acknowledged by {known.by}"]
    if silence is not None:
        until = time_text(silence.until_ms or 0, "{0.day} {0:%b, %H:%M} UTC")
        texts.append(f"silenced by {silence.by} until {until}")
    return ", ".join(texts)


def status_of(alarm: Alarm, actions: Sequence[AlarmAction], at_ms: int) -> str:
    """How an alarm stands, in words.

    Examples
    --------
    >>> alarm = Alarm(id="a", since_ms=0, detected_ms=0)
    >>> seen = AlarmAction(what="acknowledge", at_ms=0, by="ann", alarm="a", number=0)
    >>> status_of(alarm, [], 0), status_of(alarm, [seen], 0)
    ('new', 'acknowledged by ann')
    """
    if alarm.closed_ms is not None or alarm.status == "closed":
        return "ended"
    return handled(alarm, actions, at_ms) or "new"
