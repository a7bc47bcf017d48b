"""The monitor: reads the examples topic, counts it by window and slice, and says what is wrong.

Its state carries its position in the log: kill it anywhere, start it again, and every example is
counted once. A group of its own; it writes nothing that the other processes read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from features.errors import ClicktideError, SnapshotError
from features.spec import Spec
from monitoring.detectors import Detectors, NoDetectors
from monitoring.feed import Feed
from monitoring.health import Freshness, freshness, label_health
from monitoring.keeper import Keeper
from monitoring.outbox import GROUP, Outbox, post_to
from monitoring.settings import MonitorSettings
from monitoring.state import Now
from monitoring.watch import Watch
from monitoring.windows import ClosedWindow, figures_of
from streaming.log import EventLog, LogUnavailableError, OffsetError, Record, TopicPartition
from streaming.settings import EXAMPLES, StreamSettings
from streaming.status import JoinerState, Look, look_at

__all__ = ["GROUP", "Monitor"]

_AHEAD = 20_000
"""About so many examples are read at a time."""
_FIRST_WAIT_S, _MOST_WAIT_S, _IDLE_S = 0.1, 5.0, 0.05
_ALARM_EVERY_S = 2.0
_T = TypeVar("_T")


class Monitor:
    """Watches the examples of a log, all partitions, from where its state was saved.

    Parameters
    ----------
    log
        Whose examples topic exists; used by the calling thread alone.
    spec
        The feature spec: its fields are the slices.
    stream, settings
        Of the stream, and of the monitor.
    folder
        Where the state is kept; a second monitor on it is refused.
    now
        Wall-clock seconds since 1970.
    report
        Takes lines for people.
    pause
        Waits so many seconds.
    detectors
        What raises alarms.

    Raises
    ------
    ClicktideError
        Another monitor works on the folder; its state is damaged, or of another log or settings.
    """

    def __init__(
        self,
        log: EventLog,
        spec: Spec,
        stream: StreamSettings,
        settings: MonitorSettings,
        folder: Path,
        *,
        now: Callable[[], float],
        report: Callable[[str], None],
        pause: Callable[[float], None],
        detectors: Detectors | None = None,
    ) -> None:
        self.log, self.stream, self.settings = log, stream, settings
        self.now, self.report, self.pause = now, report, pause
        self.feed = Feed(spec, settings, folder)
        names = [field.name for field in self.feed.fields]
        self._keeper = Keeper(folder, settings.keep_windows)
        self.watch = Watch(names, settings.windows, detectors or NoDetectors(), self._closed)
        post = post_to(settings.webhook, pause) if settings.webhook else None
        try:
            self.outbox = Outbox(log, settings.keep_alarms, report, post)
            self._begin(names)
        except BaseException:
            self._keeper.close()
            raise
        at = ", ".join(map(str, self.offsets))
        report(f"monitor: {self.watch.seen:,} examples seen; reading {EXAMPLES} from offset {at}")

    def _begin(self, names: list[str]) -> None:
        """Take up the state and its place in the log."""
        self.lost = 0
        self._joined_s: float | None = None
        self._watched_s: float | None = None
        self._look: Look | None = None
        self._at_close: JoinerState | None = None
        self._before_close: JoinerState | None = None
        self._saved_at = self.now()
        self.saved = True
        self.offsets = self._retrying(lambda: self.log.start_offsets(EXAMPLES))
        self._marks: list[list[int] | None] = [None] * len(self.offsets)
        self._newest = [0] * len(self.offsets)
        state = self._keeper.load({"fields": names})
        if state is not None:
            self._restore(state)
        self._saved_offsets: list[int] | None = list(self.offsets) if state is not None else None

    def _restore(self, state: dict[str, Any]) -> None:
        marks = state["marks"]
        if len(marks) != len(self.offsets) or not all(
            self._is_there(partition, mark) for partition, mark in enumerate(marks)
        ):
            raise ClicktideError(
                f"{self._keeper.folder}: its state was made from another log than this one. "
                "Fix: give the log it was made from, or another --dir"
            )
        self.offsets, self._marks = list(state["offsets"]), marks
        self._newest = list(state["newest"])
        self.lost = state["lost"]
        self.feed.restore(state["feed"])
        self.watch.restore(state)
        self.outbox.restore(state["outbox"])

    def _is_there(self, partition: int, mark: list[int] | None) -> bool:
        """Whether the last record counted still stands where it stood, if it can be told."""
        if mark is None or mark[0] < self.log.start_offsets(EXAMPLES)[partition]:
            return True
        try:
            found = self.log.read(TopicPartition(EXAMPLES, partition), mark[0], 1)
        except OffsetError:
            return False
        return bool(found) and [found[0].offset, zlib.crc32(found[0].value)] == mark

    # --- the loop --------------------------------------------------------------------------

    def run(self, *, stopping: Callable[[], bool], until_idle: bool = False) -> None:
        """Watch until asked to stop, or until there is nothing more to read."""
        while not stopping():
            if self.step():
                continue
            if until_idle:
                break
            self.pause(_IDLE_S)
        if not self.save():
            raise SnapshotError(f"{self._keeper.folder}: the last of it could not be saved")
        self.report(f"monitor: saved at {self.watch.seen:,} examples")

    def step(self) -> bool:
        """Read and count some records; false if there were none."""
        partition, records = self._retrying(self._read)
        if records:
            self._count(partition, records)
        waited = self.now() - self._saved_at
        urgent = self.outbox.waiting and waited >= _ALARM_EVERY_S
        if urgent or (waited >= self.settings.save_every_s and self.offsets != self._saved_offsets):
            self.save()
        return bool(records)

    def _read(self) -> tuple[int, list[Record]]:
        """The next records of the partition that is furthest behind and has any."""
        most = max(1, min(self.stream.batch, _AHEAD // self.stream.examples_per_record))
        for partition in sorted(range(len(self.offsets)), key=self._newest.__getitem__):
            at = TopicPartition(EXAMPLES, partition)
            try:
                records = self.log.read(at, self.offsets[partition], most)
            except OffsetError:
                records = self._after_gap(at, most)
            if records:
                return partition, records
        return 0, []

    def _after_gap(self, at: TopicPartition, most: int) -> list[Record]:
        """Go on after what retention has removed unread."""
        start = self.log.start_offsets(at.topic)[at.partition]
        offset = self.offsets[at.partition]
        if start <= offset:
            raise ClicktideError(
                f"{EXAMPLES}-{at.partition}: offset {offset} is past the end of the log. "
                "Fix: give the log that the state was made from, or another --dir"
            )
        gap = start - offset
        self.lost += gap
        self.report(f"monitor: LOST {gap:,} records of {EXAMPLES}-{at.partition}: retention")
        self.offsets[at.partition] = start
        return self.log.read(at, start, most)

    def _count(self, partition: int, records: list[Record]) -> None:
        for scored in self.feed.read(records):
            self.outbox.take(self.watch.update(scored))
            newest = int(scored.time_ms.max(initial=0))
            self._newest[partition] = max(self._newest[partition], newest)
        last = records[-1]
        self.offsets[partition] = last.offset + 1
        self._marks[partition] = [last.offset, zlib.crc32(last.value)]
        self._joined_s = (last.timestamp_ms - self._newest[partition]) / 1000
        self._watched_s = self.now() - last.timestamp_ms / 1000

    def _closed(self, window: ClosedWindow) -> None:
        self._keeper.closed(window)
        self._before_close, self._at_close = self._at_close, self._joiner()

    def _retrying(self, ask: Callable[[], _T]) -> _T:
        """Ask the log until it answers."""
        wait = _FIRST_WAIT_S
        while True:
            try:
                return ask()
            except LogUnavailableError as error:
                self.report(f"monitor: the log does not answer, again in {wait:g} s: {error}")
                self.pause(wait)
                wait = min(2 * wait, _MOST_WAIT_S)

    # --- keeping ---------------------------------------------------------------------------

    def save(self) -> bool:
        """Save everything, then send the alarms that are new; whether it was saved."""
        self._saved_at = self.now()
        self._look = self._retrying(lambda: look_at(self.log, self._now_ms()))
        try:
            self._keeper.save(self._state(), self.figures(), self.outbox.kept)
        except SnapshotError as error:
            self.report(f"monitor: NOT SAVED, watching goes on, next try later: {error}")
            self.saved = False
            return False
        self.feed.saved()
        self.saved, self._saved_offsets = True, list(self.offsets)
        about = {"seen": self.watch.seen, "at": self._now_ms()}
        self.outbox.send(dict(enumerate(self.offsets)), about)
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "fields": self.watch.windows.fields,
            "offsets": self.offsets,
            "marks": self._marks,
            "newest": self._newest,
            "feed": self.feed.state(),
            "lost": self.lost,
            "outbox": self.outbox.state(),
            **self.watch.state(),
        }

    def figures(self) -> Now:
        """The stream as it is now."""
        watch, windows = self.watch, self.watch.windows
        joiner = self._joiner()
        return Now(
            at_ms=self._now_ms(),
            event_time_ms=windows.time_ms,
            seen=watch.seen,
            corrections=watch.corrections,
            unscored=watch.unscored,
            rejected=self.feed.rejected,
            after_close=windows.after_close,
            lost=self.lost,
            overall=figures_of(watch.sums),
            fields=windows.fields,
            window_s=windows.window_ms / 1000,
            open=windows.open_windows(),
            health=None if joiner is None else label_health(joiner),
            recent_health=None if joiner is None else label_health(joiner, self._before_close),
            freshness=self._freshness(),
            alarms_open=self.outbox.open(),
            predictions=self.feed.predictions,
        )

    def _joiner(self) -> JoinerState | None:
        return None if self._look is None else self._look.joiner

    def _freshness(self) -> Freshness:
        return freshness(self._look, self._joined_s, self._watched_s, self.watch.version)

    def _now_ms(self) -> int:
        return int(self.now() * 1000)

    def close(self) -> None:
        """Let go of the producer and the folder."""
        self.outbox.close()
        self._keeper.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
