"""The monitor: reads the examples topic, counts it by window and slice, and says what is wrong.

Its state carries its position in the log: kill it anywhere, start it again, and every example is
counted once. A group of its own; it writes nothing that the other processes read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from features.errors import ClicktideError, SnapshotError
from features.spec import Spec
from monitoring.watch.alarm_delivery import GROUP, Outbox
from monitoring.watch.alarm_webhook import open_webhook
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.examples import ExampleFeed
from monitoring.watch.figures import figures_of
from monitoring.watch.monitor_files import Now, label_health
from monitoring.watch.monitor_folder import MonitorFolder
from monitoring.watch.predictor import Predictor
from monitoring.watch.repair.state_machine import SliceRepair
from monitoring.watch.repair.table import RepairPublication, RepairTable
from monitoring.watch.settings import MonitorSettings, fixed_settings
from monitoring.watch.state_machine import Watch
from monitoring.watch.topic_reader import TopicReader
from monitoring.watch.window import ClosedWindow
from streaming.freshness import Freshness, freshness, reader
from streaming.joiner_state import JoinerState
from streaming.log import EventLog, LogUnavailableError, Record
from streaming.process import Process
from streaming.settings import EXAMPLES, StreamSettings
from streaming.status import Look, look_at

__all__ = ["GROUP", "Monitor"]

_AHEAD = 20_000
"""About so many examples are read at a time."""
_ALARM_EVERY_S = 2.0


class Monitor(Process):
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
        What raises alarms; ``None``: those of :mod:`monitoring.watch.detect`.
    predictor
        Whose predictions are watched in place of those served, see
        :class:`monitoring.watch.examples.ExampleFeed`; then no alarm is raised and none is sent.

    Raises
    ------
    ClicktideError
        Another monitor works on the folder; its state is damaged, or of another log or settings.
    """

    kind = "monitor"

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
        detectors: SequentialDetector | None = None,
        predictor: Callable[[int], Predictor] | None = None,
    ) -> None:
        super().__init__(self.kind, report, pause=pause)
        self.log, self.stream, self.settings, self.now = log, stream, settings, now
        self.feed = ExampleFeed(spec, settings, folder, predictor)
        names = [field.name for field in self.feed.fields]
        self.folder = MonitorFolder(folder, settings.keep_windows)
        repair = None
        if predictor is None:
            detectors = detectors or SequentialDetector(settings.detect)
            repair = SliceRepair(self.feed.fields, settings.repair)
        self.watch = Watch(
            names, settings.windows, detectors, self._closed, stream.join.first_label_s, repair
        )
        self.outbox: Outbox | None = None
        self.repairs: RepairPublication | None = None
        try:
            if predictor is None:
                hook = open_webhook(settings, pause)
                self.outbox = Outbox(log, settings.keep_alarms, report, hook, settings.public_url)
                self.repairs = RepairPublication(log, report)
            self._begin(names)
        except BaseException:
            self.folder.close()
            raise
        at = ", ".join(map(str, self.reader.offsets))
        self._say(f"{self.watch.seen:,} examples seen; reading {EXAMPLES} from offset {at}")

    def _begin(self, names: list[str]) -> None:
        """Take up the state and its place in the log."""
        self._joined_s: float | None = None
        self._watched_s: float | None = None
        self._look: Look | None = None
        self._at_close: JoinerState | None = None
        self._before_close: JoinerState | None = None
        self._saved_at = self._told_at = self.now()
        self.saved = True
        most = max(1, min(self.stream.batch, _AHEAD // self.stream.examples_per_record))
        self.reader = self.ask(lambda: TopicReader(self.log, EXAMPLES, most, self._say))
        self._fixed = {"fields": names, **fixed_settings(self.settings)}
        state = self.folder.load(self._fixed)
        if state is not None:
            self._restore(state)
        self._saved_offsets = list(self.reader.offsets) if state is not None else None
        self.resumed = state is not None

    def _restore(self, state: dict[str, Any]) -> None:
        if not self.ask(lambda: self.reader.restore(state["tail"])):
            raise ClicktideError(
                f"{self.folder.path}: its state was made from another log than this one. "
                "Fix: give the log it was made from, or another --dir"
            )
        self.feed.restore(state["feed"])
        self.watch.restore(state)
        if self.outbox is not None:
            self.outbox.restore(state["outbox"])

    def _say(self, line: str) -> None:
        self.report(f"{self.name}: {line}")

    # --- the loop --------------------------------------------------------------------------

    def work(self) -> bool:
        """Read and count some records; whether there were any."""
        records = self.ask(self.reader.read)
        if records:
            self._count(records)
        self._keep()
        return bool(records)

    def finish(self) -> None:
        """Save, or say that it cannot be done."""
        if not self.save():
            raise SnapshotError(f"{self.folder.path}: the last of it could not be saved")
        self._say(f"saved at {self.watch.seen:,} examples")

    def _count(self, records: list[Record]) -> None:
        newest = 0
        for scored in self.feed.read(records):
            alarms = self.watch.update(scored)
            if self.outbox is not None:
                self.outbox.take(alarms)
            newest = max(newest, int(scored.time_ms.max(initial=0)))
        newest = self.reader.done(records, newest)
        arrived = records[-1].timestamp_ms
        self._joined_s = (arrived - newest) / 1000
        self._watched_s = self.now() - arrived / 1000

    def _closed(self, window: ClosedWindow) -> None:
        self.folder.closed(window)
        self._before_close, self._at_close = self._at_close, self._joiner()

    # --- keeping ---------------------------------------------------------------------------

    def _keep(self) -> None:
        """Save, publish and tell when it is time."""
        now = self.now()
        if self.repairs is not None and self.feed.predictions == "served":
            repair, on = self.watch.repair, self.settings.repair.on
            self.repairs.send(repair.table if repair is not None and on else RepairTable(0), now)
        waited = now - self._saved_at
        urgent = bool(self.outbox and self.outbox.waiting) and waited >= _ALARM_EVERY_S
        due = waited >= self.settings.save_every_s and self.reader.offsets != self._saved_offsets
        if urgent or due:
            self.save()
        elif now - self._told_at >= self.settings.tell_every_s:
            self._tell()

    def save(self) -> bool:
        """Save everything, then send the alarms that are new; whether it was saved."""
        self._saved_at = self._told_at = self.now()
        self._look_at_log()
        try:
            alarms = [] if self.outbox is None else self.outbox.alarms
            self.folder.save(self._state(), self.figures(), alarms)
        except ClicktideError as error:
            self._say(f"NOT SAVED, watching goes on, next try later: {error}")
            self.saved = False
            return False
        self.feed.saved()
        self.saved, self._saved_offsets = True, list(self.reader.offsets)
        if self.outbox is not None:
            about = {
                "seen": self.watch.seen,
                "at": self._now_ms(),
                "event_time": self.watch.windows.time_ms,
                "weights_s": self.watch.weights.age_s,
            }
            self.outbox.send(dict(enumerate(self.reader.offsets)), about)
        return True

    def _look_at_log(self) -> None:
        """See how the stream stands; while the log does not answer, as it stood before."""
        with suppress(LogUnavailableError):
            self._look = look_at(self.log, self._now_ms())
        if self.outbox is not None:
            self.outbox.follow(self._now_ms())

    def _tell(self) -> None:
        """Refresh what people look at; it ages while nothing comes, too."""
        self._told_at = self.now()
        self._look_at_log()
        with suppress(ClicktideError):  # a full disk is told by the next save
            self.folder.tell(self.figures())

    def _state(self) -> dict[str, Any]:
        return {
            **self._fixed,
            "tail": self.reader.state(),
            "feed": self.feed.state(),
            "outbox": None if self.outbox is None else self.outbox.state(),
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
            lost=self.reader.lost,
            overall=figures_of(watch.sums),
            fields=windows.fields,
            window_s=windows.window_ms / 1000,
            open=[*self.folder.pending, *windows.open_windows()],
            health=None if joiner is None else label_health(joiner),
            recent_health=None if joiner is None else label_health(joiner, self._before_close),
            freshness=self._freshness(),
            stale=self.watch.weights.stretches,
            skew=None if self.feed.skew is None else self.feed.skew.figures(),
            alarms_open=[] if self.outbox is None else self.outbox.open(),
            alarm_actions=[] if self.outbox is None else self.outbox.actions,
            predictions=self.feed.predictions,
            repairs=[] if watch.repair is None else watch.repair.figures(),
            repairs_on=self.settings.repair.on,
        )

    def _joiner(self) -> JoinerState | None:
        return None if self._look is None else self._look.joiner

    def _freshness(self) -> Freshness:
        look, now_ms, watch = self._look, self._now_ms(), self.watch
        seen = None
        if look is not None:
            ends = sum(topic.records for name, topic in look.topics.items() if name == EXAMPLES)
            lag = max(0, ends - sum(self.reader.offsets))
            seen = reader(look, GROUP, watch.windows.time_ms, now_ms, lag)
        return msgspec.structs.replace(
            Freshness() if look is None else freshness(look),
            at_ms=now_ms,
            monitor=seen,
            weights_s=watch.weights.age_s,
            joined_s=self._joined_s,
            watched_s=self._watched_s,
            served_version=watch.version,
        )

    def _now_ms(self) -> int:
        return int(self.now() * 1000)

    def close(self) -> None:
        """Let go of the producer and the folder."""
        if self.outbox is not None:
            self.outbox.close()
        if self.repairs is not None:
            self.repairs.close()
        self.folder.close()
