"""Writing a source's events to the log, each transaction with the position that it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any

import msgspec
import numpy as np

from features.batch import Batch, Position, Reject
from features.errors import ClicktideError
from features.events import Heartbeat, encode_event, time_of
from streaming.joiner.settings import JoinerSettings
from streaming.log import EventLog, NewRecord, TopicPartition
from streaming.log import Position as LogPosition
from streaming.log.records import dump_metadata
from streaming.prepare import TimeOrder
from streaming.publish.pace import Lockstep, Pacer
from streaming.publish.rows import PublishBatch, RowReader
from streaming.publish.timeline import Out, PublishState, Timeline
from streaming.settings import CLICKS, IMPRESSIONS, StreamSettings
from streaming.time_text import span

__all__ = ["Publisher", "longest_wait_ms", "publish_group"]

_PLACE = TopicPartition(IMPRESSIONS, 0)  # where the position is committed
_LOOKED_AT = 100  # last records of a partition that tell its time


def publish_group(source: str, prefix: str = "") -> str:
    """Group under which a source's position is kept; with an id prefix it is another one."""
    return f"publish:{prefix + ':' if prefix else ''}{source}"


class Publisher:
    """Publishes one source into a log.

    Parameters
    ----------
    log
        With the topics impressions and clicks.
    group
        :func:`publish_group`: keeps the position, and fences an earlier publisher.
    reader
        Makes events of rows.
    settings
        Of the stream.
    pacer
        When each event is due.
    batch
        Events of a transaction at most. More: faster; less of it is visible while it runs.
    serve
        Given the impressions of a transaction, as JSON, gives them as they were served: with
        probability, counters and model version.
    lockstep
        Waits, before each slice of event time, for those who read what was published before.

    Attributes
    ----------
    state
        As committed.
    time_order
        Counts the impressions that come too late for the joiner.
    """

    def __init__(
        self,
        log: EventLog,
        group: str,
        reader: RowReader,
        settings: StreamSettings,
        *,
        pacer: Pacer,
        batch: int = 1_000,
        serve: Callable[[list[bytes]], list[bytes]] | None = None,
        lockstep: Lockstep | None = None,
    ) -> None:
        self._log, self._group, self._reader, self._settings = log, group, reader, settings
        self._pacer, self._batch, self._serve = pacer, batch, serve
        self._lockstep = lockstep
        self._producer = log.producer(group)
        self.state = PublishState(recipe=reader.recipe)
        self.resumed = False
        self._timeline = Timeline(self.state)
        self._sending: list[Out] = []
        self._rejects: list[tuple[int, Reject]] = []
        self._on_reject: Callable[[Reject], None] = lambda reject: None
        self._on_commit: Callable[[], None] = lambda: None
        join = settings.join
        self.time_order = TimeOrder(round(1000 * (join.join_window_s + join.out_of_order_s)))

    def restore(self, *, resume: bool) -> None:
        """Take up the committed position.

        Raises
        ------
        ClicktideError
            There is one, and this is not meant to go on from it; or it does not fit.
        """
        committed = self._log.committed(self._group, _PLACE)
        if committed is None:
            return
        if not resume:
            raise ClicktideError(
                f"{self._group}: this log already holds {committed.offset:,} rows of this source. "
                "Fix: --resume goes on where that ended; --id-prefix NAME publishes it once more"
            )
        self.state = PublishState.load(committed.metadata, self._reader.recipe)
        self.resumed = True
        self._timeline = Timeline(self.state)
        self._reader.shift_ms = self.state.shift_ms

    @property
    def columns(self) -> list[str]:
        """Columns of the source that are needed."""
        return self._reader.columns

    @property
    def start(self) -> Position | None:
        """Where reading the source must begin."""
        return self.state.begin.position

    def run(
        self,
        batches: Generator[Batch],
        *,
        events: int | None = None,
        end: bool = True,
        on_reject: Callable[[Reject], None] = lambda reject: None,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """Publish to the end of the source.

        Parameters
        ----------
        batches
            Of the source from :attr:`start` on; closed at the end.
        events
            Stop after so many impressions of this run.
        end
            Whether to close the stream with heartbeats. Without, a run stopped by ``events``
            leaves its clicks waiting, for a later one to go on exactly.
        on_reject
            Called with every bad row; may raise.
        on_commit
            Called after every transaction and while waiting; may raise.
        """
        last = None if events is None else self.state.impressions + events
        self._on_reject, self._on_commit = on_reject, on_commit
        with closing(batches):
            whole = all(self._part(batch, last) for batch in batches)
        if whole or end:
            self._send(self._timeline.rest(), None)
        self._commit(ended=end)
        on_commit()

    def _part(self, batch: Batch, last: int | None) -> bool:
        """Publish a batch; False when enough impressions are out."""
        timeline = self._timeline
        first = timeline.first
        part: PublishBatch = self._reader(batch, first)
        self._check_order(part)
        self._rejects += [(first + n, r) for n, r in part.rejects if first + n >= timeline.rows]
        going = self._send(timeline.events(part), last)
        if self._lockstep is None:
            self._commit()
        self._on_commit()
        return going

    def _send(self, events: Iterable[Out], last: int | None) -> bool:
        """Collect events and write them when they are due; False when enough are out."""
        left = -1 if last is None else last - self.state.impressions
        for out in events:
            if not out.is_click:
                if not left:
                    return False
                left -= 1
            self._make_way(out)
            if self.state.first_ms is None and not self._sending:
                self._check_time(out.time)
            self._sending.append(out)
        return True

    def _check_order(self, part: PublishBatch) -> None:
        """Refuse a log whose times go back, before the joiner rejects most of it."""
        late = self.time_order.add(np.array([shown.time for shown in part.shown], np.int64))
        if 2 * late <= len(part.shown):
            return
        order, source = self.time_order, self._group.removeprefix("publish:")
        raise ClicktideError(
            f"{source}: times go back by {span(order.furthest_ms / 1000)}: the joiner, which "
            f"waits {span(order.slack_ms / 1000)}, would reject {late:,} of these "
            f"{len(part.shown):,} impressions as too_late. "
            "Fix: sort the log by its times, oldest first"
        )

    def _make_way(self, out: Out) -> None:
        """Write what is collected when it is much, or the next event is not due yet."""
        full = len(self._sending) >= self._batch
        if self._lockstep is not None:
            if self._lockstep.begins(out.time) or full:
                self._commit(beat_ms=out.time - 1)
                self._on_commit()
                self._lockstep.wait()
            return
        if full:
            self._commit()
            self._on_commit()
        if self._pacer.speed is not None and self._pacer.wait_s(out.time) > 0:
            self._commit()
            self._pacer.wait(out.time, self._on_commit)

    def _check_time(self, first_ms: int) -> None:
        """Refuse to publish what every consumer would reject."""
        join = self._settings.join
        for topic in (IMPRESSIONS, CLICKS):
            latest = _latest_time(self._log, topic)
            late_ms = 1000 * (join.join_window_s + join.out_of_order_s)
            if latest is not None and latest > first_ms + late_ms:
                raise ClicktideError(
                    f"topic {topic} already holds events up to {latest:,} ms, the first to be "
                    f"published is of {first_ms:,} ms: all would be rejected as too_late. Fix: "
                    "--shift now lets it begin now, --shift ends-now end now; or publish into "
                    "a new log"
                )

    def _commit(self, *, ended: bool = False, beat_ms: int | None = None) -> None:
        """Write what is collected, with the position that it leaves, and heartbeats behind it."""
        rejected = self._pass_rejects()
        state = self._next_state(rejected, ended=ended)
        if ended and state.last_ms is not None:
            beat_ms = state.last_ms + longest_wait_ms(self._settings.join)
        if state == self.state and (beat_ms is None or state.last_ms is None):
            return
        records_of = {IMPRESSIONS: self._impressions(), CLICKS: self._records(clicks=True)}
        with self._producer.transaction() as tx:
            for topic, records in records_of.items():
                if records:
                    tx.append(topic, records)
                if beat_ms is not None:
                    tx.append(topic, self._heartbeats(topic, beat_ms))
            tx.commit(self._group, {_PLACE: LogPosition(state.rows, dump_metadata(state))})
        self.state = state
        self._sending.clear()

    def _records(self, *, clicks: bool) -> list[NewRecord]:
        return [NewRecord(out.key, out.value) for out in self._sending if out.is_click == clicks]

    def _impressions(self) -> list[NewRecord]:
        records = self._records(clicks=False)
        if self._serve is None or not records:
            return records
        served = self._serve([record.value for record in records])
        return [r._replace(value=value) for r, value in zip(records, served, strict=True)]

    def _pass_rejects(self) -> dict[str, int]:
        """Hand on the bad rows that are passed by; the counts of all so far."""
        counts = Counter(self.state.rejected)
        passed = 0
        for row, reject in self._rejects:
            if row >= self._timeline.rows:
                break
            self._on_reject(reject)
            counts[reject.reason] += 1
            passed += 1
        del self._rejects[:passed]
        return dict(counts)

    def _next_state(self, rejected: dict[str, int], *, ended: bool) -> PublishState:
        state, timeline, begin = self.state, self._timeline, self._timeline.mark()
        if begin.position is not None:  # a commit's metadata is small, however many files were read
            begin = msgspec.structs.replace(begin, position=begin.position.short())
        clicks = sum(out.is_click for out in self._sending)
        times = [out.time for out in self._sending]
        changes: dict[str, Any] = {
            "begin": begin,
            "rows": timeline.rows,
            "clicks_to": timeline.clicks_to,
            "shift_ms": self._reader.shift_ms,
            "impressions": state.impressions + len(times) - clicks,
            "clicks": state.clicks + clicks,
            "rejected": rejected,
            "ended": ended,
        }
        if times:
            changes["first_ms"] = times[0] if state.first_ms is None else state.first_ms
            changes["last_ms"] = max(times if state.last_ms is None else [*times, state.last_ms])
        return msgspec.structs.replace(state, **changes)

    def _heartbeats(self, topic: str, time_ms: int) -> list[NewRecord]:
        """Two to each partition, for one alone would not move time."""
        beats = [encode_event(Heartbeat(v=1, timestamp=time_ms + i)) for i in range(2)]
        partitions = self._log.topics()[topic]
        return [NewRecord(None, beat, p) for p in range(partitions) for beat in beats]


def longest_wait_ms(join: JoinerSettings) -> int:
    """After this long in event time nothing of an event waits any more in the joiner."""
    windows = join.join_window_s + join.late_window_s + 2 * join.out_of_order_s
    return round(1000 * windows) + 1_000


def _latest_time(log: EventLog, topic: str) -> int | None:
    """Event time that a topic has come to, ms; None if it is empty.

    A single event may carry a wrong clock, so the second highest of the last ones counts.
    """
    latest = None
    ends = zip(log.start_offsets(topic), log.end_offsets(topic), strict=True)
    for partition, (start, end) in enumerate(ends):
        begin = max(start, end - _LOOKED_AT)
        records = log.read(TopicPartition(topic, partition), begin, _LOOKED_AT)
        times = sorted(t for record in records if (t := time_of(record.value)) is not None)
        if times:
            found = times[-2] if len(times) > 1 else times[0]
            latest = found if latest is None else max(latest, found)
    return latest
