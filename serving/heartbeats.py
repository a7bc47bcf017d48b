"""Heartbeats of the API, so that a lone event need not wait for the next one.

A joiner does not believe the time of a single event that is far ahead of its partition: it holds
it until another follows (:mod:`streaming.joiner.held_events`). Behind an API with little traffic
the next may be an hour away. The API dates events by its own clock, so it may give its word: a
heartbeat behind an event that is dated now, and others, while an impression waits for its label,
every few seconds. Only impressions get those others: whether the silence of clicks means anything
is for the joiner's stall guard to say.

It sends none where the log is being filled with events of another time, such as a replay of
an old log: that would push their time ahead, and they would be rejected as late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from features.events import Heartbeat, encode_event, time_of
from streaming.joiner.settings import JoinerSettings
from streaming.log import EventLog, NewRecord, Record, TopicPartition
from streaming.settings import IMPRESSIONS

__all__ = ["Heartbeats"]

_LOOKED_AT = 20  # last records of a partition that tell which time it lives in
_RECENT_MS = 10_000
_BEAT_EVERY_MS = 10_000
"""Between two heartbeats to a partition where an impression waits. Shorter: labels come sooner
after the windows; more records."""
_AHEAD_MS = 1_000  # of our clock: another machine's may differ by so much


class Heartbeats:
    """Which heartbeats are due.

    Parameters
    ----------
    join
        The stream's windows.
    """

    def __init__(self, join: JoinerSettings) -> None:
        self._believed_ms = round(500 * join.max_ahead_s)  # half of it, to be safe
        self._tolerated_ms = round(1000 * max(join.out_of_order_s, 5.0))
        self._beat_ms = min(_BEAT_EVERY_MS, max(self._believed_ms, 1))
        # one window twice over: the watermark trails the time by out_of_order_s
        self._waits_ms = round(1000 * (join.join_window_s + 2 * join.out_of_order_s)) + 1_000
        self._vouched: dict[TopicPartition, int] = {}
        self._owed: dict[TopicPartition, int] = {}
        self._label_due: dict[TopicPartition, int] = {}
        self._next_beat: dict[TopicPartition, int] = {}

    def wrote(self, at: TopicPartition, times: Iterable[int], now_ms: int) -> None:
        """Note the times of events that have been written to a partition.

        Examples
        --------
        >>> from streaming.log import TopicPartition
        >>> heartbeats, clicks = Heartbeats(JoinerSettings()), TopicPartition("clicks", 0)
        >>> for time in 1_000_000, 1_001_000, 2_000_000:
        ...     heartbeats.wrote(clicks, [time], now_ms=time)
        ...     print(list(heartbeats.due(time).values()))
        [1000000]
        []
        [2000000]
        """
        ours = [t for t in times if now_ms - self._tolerated_ms <= t <= now_ms + _AHEAD_MS]
        if not ours:
            return
        latest = max(ours)
        if at.topic == IMPRESSIONS:
            self._label_due[at] = latest + self._waits_ms
            self._next_beat.setdefault(at, now_ms + self._beat_ms)
        if latest > self._vouched.get(at, 0) + self._believed_ms:
            self._owed[at] = latest

    def due(self, now_ms: int) -> dict[TopicPartition, int]:
        """Heartbeats to send now: their times by partition; each is given once."""
        out, self._owed = self._owed, {}
        for at, beat in list(self._next_beat.items()):
            if beat <= now_ms:
                out[at] = max(now_ms, out.get(at, 0))
                self._next_beat[at] = now_ms + self._beat_ms
                if now_ms > self._label_due[at]:
                    del self._next_beat[at], self._label_due[at]
        self._vouched.update(out)
        return out

    def next_ms(self) -> int | None:
        """When :meth:`due` is to be asked next; None: nothing waits."""
        return min(self._next_beat.values(), default=None)

    def is_believable(self, log: EventLog, at: TopicPartition, now_ms: int) -> bool:
        """Whether what came into a partition lately is dated when it came."""
        start, end = log.start_offsets(at.topic), log.end_offsets(at.topic)
        first = max(start[at.partition], end[at.partition] - _LOOKED_AT)
        recent = self._recent(log.read(at, first, _LOOKED_AT), now_ms)
        return all(abs(time - taken) <= self._tolerated_ms for time, taken in recent)

    @staticmethod
    def _recent(records: Sequence[Record], now_ms: int) -> Iterator[tuple[int, int]]:
        for record in records:
            time = time_of(record.value) if record.timestamp_ms >= now_ms - _RECENT_MS else None
            if time is not None:
                yield time, record.timestamp_ms


def heartbeat(at: TopicPartition, time_ms: int) -> NewRecord:
    """A heartbeat for a partition."""
    return NewRecord(None, encode_event(Heartbeat(v=1, timestamp=time_ms)), at.partition)
