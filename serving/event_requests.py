"""Requests to write events: what waits for the writer, and how it is answered."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from features.errors import ClicktideError
from features.events import Click, Impression, encode_event
from streaming.log import NewRecord
from streaming.settings import CLICKS, IMPRESSIONS

__all__ = [
    "Accepted",
    "EventRecord",
    "EventsRefusedError",
    "Key",
    "LogAwayError",
    "QueueFullError",
    "WriteRequest",
]

Key = tuple[str, str]


class EventsRefusedError(ClicktideError):
    """Events were not accepted; send them again later, with the same ids.

    Parameters
    ----------
    message
        Why.
    retry_after_s
        When to try again.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{message}. Fix: send it again in {retry_after_s:g} s, same ids")


class LogAwayError(EventsRefusedError):
    """The event log cannot be written now."""


class QueueFullError(EventsRefusedError):
    """More events wait than the writer takes on."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request: all of it is durable.

    Parameters
    ----------
    written
        Events written for this request.
    duplicates
        Events whose id had been written before.
    """

    written: int
    duplicates: int


@dataclass(slots=True)
class EventRecord:
    """An event, ready to be written."""

    topic: str
    key: Key
    time: int
    record: NewRecord

    @classmethod
    def of(cls, event: Impression | Click) -> EventRecord:
        """Make it ready."""
        clicked = type(event) is Click
        key = (event.kind if isinstance(event, Click) else IMPRESSIONS, event.impression_id)
        record = NewRecord(event.impression_id.encode(), encode_event(event))
        return cls(CLICKS if clicked else IMPRESSIONS, key, event.timestamp, record)


@dataclass(slots=True)
class WriteRequest:
    """A request that waits to be written."""

    events: list[EventRecord]
    done: Future[Accepted] = field(default_factory=Future)

    def settle(self, answer: Accepted | Exception) -> None:
        """Answer it."""
        if not self.done.set_running_or_notify_cancel():
            return
        if isinstance(answer, Exception):
            self.done.set_exception(answer)
        else:
            self.done.set_result(answer)
