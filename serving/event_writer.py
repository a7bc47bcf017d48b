"""Impressions and clicks into the event log: acknowledged when, and only when, they are durable.

All requests that wait are written together, in one transaction of one thread (group commit), so
that many small requests cost little more than one. What cannot be written is refused, and says
when to try again; a request that fails may be sent again as it is, for an id counts once: here,
as far back as this writer remembers, and in the joiner, for as long as its windows reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from features.events import Click, Impression
from serving.event_requests import (
    Accepted,
    EventRecord,
    EventsRefusedError,
    Key,
    LogAwayError,
    QueueFullError,
    WriteRequest,
)
from serving.heartbeats import Heartbeats, heartbeat
from streaming.freshness import event_note
from streaming.joiner_state import clock_of
from streaming.log import (
    EventLog,
    LogError,
    NewRecord,
    Producer,
    TopicPartition,
)
from streaming.log.partition import key_partitions
from streaming.settings import CLICKS, IMPRESSIONS, StreamSettings
from streaming.time_text import now_ms

__all__ = [
    "Accepted",
    "EventWriter",
    "EventsRefusedError",
    "LogAwayError",
    "QueueFullError",
]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_MOST_AT_ONCE = 5_000
_REMEMBERED = 100_000  # ids that are known as written
_CLOCK_MS = 2_000  # the stream's clock is looked at no more often


class EventWriter:
    """A thread that writes events.

    Parameters
    ----------
    open_log
        Opens the event log; called in the thread, and again after every failure.
    settings
        The stream's: topics that are missing are created by it.
    name
        Transactional id, another one for every process.
    now_ms
        Unix time.
    most_waiting
        Events that may wait. More: longer bursts are taken; they wait longer.
    patience_s
        How long a transaction may take before no more events are taken. Longer: rides out pauses;
        more requests wait in vain when the log is gone.
    identity
        Gives something that changes when what was opened is no longer the log, such as the inode
        of its file; asked after every commit, before the acknowledgement.

    Examples
    --------
    >>> from streaming.log import open_log
    >>> writer = EventWriter(lambda: open_log(":memory:"), StreamSettings(), "api")
    >>> click = Click(v=1, impression_id="i1", timestamp=1_736_121_600_000)
    >>> writer.submit([click]).result(), writer.submit([click]).result()
    (Accepted(written=1, duplicates=0), Accepted(written=0, duplicates=1))
    >>> writer.close()
    """

    def __init__(
        self,
        open_log: Callable[[], EventLog],
        settings: StreamSettings,
        name: str,
        *,
        now_ms: Callable[[], int] = now_ms,
        most_waiting: int = 20_000,
        patience_s: float = 2.0,
        identity: Callable[[], object] = lambda: None,
    ) -> None:
        self._open, self._settings, self._name = open_log, settings, name
        self._now_ms, self._identity = now_ms, identity
        self._most_waiting, self._patience_s = most_waiting, patience_s
        self._heartbeats = Heartbeats(settings.join)
        self._known: OrderedDict[Key, None] = OrderedDict()
        self._changed = threading.Condition()
        self._waiting: deque[WriteRequest] = deque()
        self._size = 0
        self._closing = False
        self._problem: str | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._busy_since: float | None = None
        self._log: EventLog | None = None
        self._producer: Producer | None = None
        self._opened: object = None
        self._partitions: dict[str, int] = {}
        self._clock_ms: int | None = None
        self._clock_read_ms = 0
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    # --- in any thread ---------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why events are refused now; None: they are taken."""
        if self._problem is None and self._is_stuck():
            return "the event log does not answer"
        return self._problem

    @property
    def waiting(self) -> int:
        """Events that wait to be written."""
        return self._size

    @property
    def max_ahead_ms(self) -> int:
        """How far ahead of our clock an event may be dated: the stream trusts no more."""
        return round(1000 * self._settings.join.max_ahead_s)

    def note(self, events: Sequence[Impression | Click]) -> str | None:
        """What the stream will do to events just written, by its clock; None: they count."""
        times = [event.timestamp for event in events]
        clicks = bool(events) and isinstance(events[0], Click)
        return event_note(self._clock_ms, times, self._settings.join, clicks=clicks)

    def submit(self, events: Sequence[Impression | Click]) -> Future[Accepted]:
        """Have events written, all or none; the future tells when they are durable.

        Raises
        ------
        LogAwayError
            The log is known to be unavailable: nothing was accepted. The future may raise it too.
        QueueFullError
            Too much waits.
        """
        request = WriteRequest([EventRecord.of(event) for event in events])
        with self._changed:
            if self._closing:
                raise LogAwayError("this server is shutting down", 1.0)
            if (problem := self.problem) is not None:
                raise LogAwayError(problem, max(self._pause_s, 1.0))
            if self._size and self._size + len(events) > self._most_waiting:
                raise QueueFullError(f"{self._size:,} events wait to be written", 1.0)
            self._waiting.append(request)
            self._size += len(events)
            self._changed.notify()
        return request.done

    async def write(
        self, events: Sequence[Impression | Click], timeout_s: float = 10.0
    ) -> Accepted:
        """Have events written, and wait until they are durable.

        Raises
        ------
        EventsRefusedError
            They are not known to be.
        """
        done = asyncio.wrap_future(self.submit(events))
        try:
            return await asyncio.wait_for(asyncio.shield(done), timeout_s)
        except TimeoutError:
            done.add_done_callback(_forget)  # written or not, nobody waits for it any more
            raise LogAwayError("the event log did not answer in time", 1.0) from None

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, and end the thread; a second call does nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _is_stuck(self) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > self._patience_s

    # --- in the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            requests = self._take()
            if requests is None:
                break
            self._attempt(requests)
        self._let_go()

    def _take(self) -> list[WriteRequest] | None:
        """What is to be written together; empty: heartbeats are due, or a new try of the log."""
        with self._changed:
            if not self._waiting and not self._closing:
                self._changed.wait(self._idle_s())
            if self._closing and not self._waiting:
                return None
            taken, size = [], 0
            while self._waiting and size < _MOST_AT_ONCE:
                taken.append(self._waiting.popleft())
                size += len(taken[-1].events)
            self._size -= size
            return taken

    def _idle_s(self) -> float | None:
        if self._log is None:
            return 0.0 if self._problem is None else self._pause_s
        beat = self._heartbeats.next_ms()
        return None if beat is None else max(beat - self._now_ms(), 10) / 1000

    def _attempt(self, requests: list[WriteRequest]) -> None:
        """Write some requests and answer them; on failure leave the log, to be opened again."""
        self._busy_since = time.monotonic()
        try:
            self._reopen()
            answers = self._commit(requests) if requests else []
            self._read_clock()
            for request, answer in zip(requests, answers, strict=True):
                request.settle(answer)
            requests = []  # what fails now is no longer their affair
            self._busy_since = time.monotonic()
            self._send_heartbeats()
        except Exception as error:  # whatever it is: answered, and tried anew
            self._fail(requests, error)
        finally:
            self._busy_since = None

    def _fail(self, requests: list[WriteRequest], error: Exception) -> None:
        self._let_go()
        if self._problem is not None:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        with self._changed:
            self._problem = f"the event log is unavailable: {error}"
            requests = [*requests, *self._waiting]
            self._waiting, self._size = deque(), 0
        for request in requests:
            request.settle(LogAwayError(self._problem, 1.0))

    def _reopen(self) -> None:
        if self._log is None:
            self._log = self._open()
            if not {IMPRESSIONS, CLICKS} <= self._log.topics().keys():
                self._log.create_topics(self._settings.topics())
            self._partitions = self._log.topics()
            self._producer = self._log.producer(self._name)
            self._opened = self._identity()
        self._problem, self._pause_s = None, _FIRST_PAUSE_S

    def _let_go(self) -> None:
        log, producer, self._log, self._producer = self._log, self._producer, None, None
        for held in (producer, log):
            if held is not None:
                with contextlib.suppress(Exception):  # it has failed already
                    held.close()

    def _commit(self, requests: list[WriteRequest]) -> list[Accepted]:
        """Write all that is new, in one transaction."""
        fresh: dict[Key, EventRecord] = {}
        answers = []
        for request in requests:
            before = len(fresh)
            for event in request.events:
                if event.key not in self._known:
                    fresh.setdefault(event.key, event)
            written = len(fresh) - before
            answers.append(Accepted(written, len(request.events) - written))
        self._append(list(fresh.values()))
        if self._identity() != self._opened:
            raise LogAwayError("its file was removed or replaced", 1.0)
        self._known.update(dict.fromkeys(fresh))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return answers

    def _append(self, events: list[EventRecord]) -> None:
        places = self._places(events)
        if places:
            self._send({at: [event.record for event in part] for at, part in places.items()})
        now = self._now_ms()
        for at, part in places.items():
            self._heartbeats.wrote(at, [event.time for event in part], now)

    def _read_clock(self) -> None:
        """See how far the stream is; what was written is durable, whatever comes of this."""
        now = self._now_ms()
        if self._log is not None and now >= self._clock_read_ms + _CLOCK_MS:
            with contextlib.suppress(LogError):
                self._clock_ms = clock_of(self._log)
                self._clock_read_ms = now

    def _places(self, events: list[EventRecord]) -> dict[TopicPartition, list[EventRecord]]:
        """Events by where their id belongs, as every publisher's key partitions them."""
        out: dict[TopicPartition, list[EventRecord]] = {}
        for topic in (IMPRESSIONS, CLICKS):
            part = [event for event in events if event.topic == topic]
            ids = [event.key[1].encode() for event in part]
            chosen = key_partitions(ids, self._partitions[topic]) if ids else []
            for event, partition in zip(part, chosen, strict=True):
                out.setdefault(TopicPartition(topic, partition), []).append(event)
        return out

    def _send(self, records: dict[TopicPartition, list[NewRecord]]) -> None:
        assert self._producer is not None
        with self._producer.transaction() as tx:
            for at, batch in records.items():
                tx.append(at.topic, batch)

    def _send_heartbeats(self) -> None:
        """Send the heartbeats that are due; after the answers, for nobody waits for these."""
        assert self._log is not None
        now = self._now_ms()
        due = {
            at: [heartbeat(at, time)]
            for at, time in self._heartbeats.due(now).items()
            if self._heartbeats.is_believable(self._log, at, now)
        }
        if due:
            self._send(due)


def _forget(done: asyncio.Future[Accepted]) -> None:
    if not done.cancelled():
        done.exception()
