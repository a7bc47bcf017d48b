"""The trainer: reads a topic of examples and learns it; its model carries its log position.

Readers find the weights in its live file as they are learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from features.errors import ClicktideError, SnapshotError
from features.spec import Spec
from learning.click_learner import ClickLearner
from learning.live import LiveWriter, create_live, open_live, renew_live
from learning.snapshot import Snapshot, load_snapshot, save_snapshot
from learning.touched import occupancy
from streaming.file_lock import hold_folder
from streaming.log import EventLog
from streaming.log.records import RecordMark
from streaming.process import Process
from streaming.replay import Replay
from streaming.settings import StreamSettings
from streaming.trainer_log import Chunk, ChunkReader, TrainReport
from streaming.weights_topic import TrainerPosition, WeightsPublisher

__all__ = ["LiveFile", "LostLiveError", "Trainer"]

Report = Callable[[str], None]


class Trainer(Process):
    """Learns the examples of a log, all partitions, from where its snapshot was made.

    With one partition the model is, bit for bit, that of an unbroken run, whatever was killed
    when. With several, what is read at one time is sorted by event time.

    Parameters
    ----------
    log
        Whose examples topic exists; used by the calling thread alone.
    spec
        The feature spec.
    settings
        How often to save, how much to read.
    folder
        Where the snapshot is kept; a second trainer on it is refused.
    now
        Wall-clock seconds since 1970.
    report
        Takes lines for people.
    live
        Where readers find the weights as they are learned; ``None``: nowhere.
    publish_weights
        Whether to publish them to the log too, for readers on other machines.
    pause
        Waits so many seconds.
    standby
        Called again and again while another trainer works on the folder, and may raise; then this
        one takes over. ``None``: another one is an error.

    Raises
    ------
    ClicktideError
        Another trainer works on the folder; its snapshot is damaged, or of another spec or log.
    """

    def __init__(
        self,
        log: EventLog,
        spec: Spec,
        settings: StreamSettings,
        folder: Path,
        *,
        now: Callable[[], float],
        report: Report,
        pause: Callable[[float], None],
        live: Path | None = None,
        publish_weights: bool = False,
        standby: Callable[[], object] | None = None,
    ) -> None:
        super().__init__("train", report, pause=pause)
        self.topic = settings.learned_topic
        self.log, self.spec, self.settings, self.folder = log, spec, settings, folder
        self.now, self.saved = now, True
        self._lock = hold_folder(folder, "trainer", standby)
        try:
            self._begin(live)
            self._weights_out = self._publisher() if publish_weights else None
        except BaseException:
            self._lock.close()
            raise
        at = ", ".join(map(str, self.offsets))
        report(f"train: {self.events:,} events learned; reading {self.topic} from offset {at}")

    # --- starting --------------------------------------------------------------------------

    def _begin(self, live: Path | None) -> None:
        """Take up the model and its place in the log."""
        self.replay, extra = self._restored()
        self.event_time = int(extra.get("event_time", 0))
        self.offsets, self._marks = self.ask(lambda: self._starts(extra))
        self._saved_offsets = list(self.offsets)
        vectoriser = self.replay.learner.vectoriser
        assert vectoriser is not None
        self._chunks = ChunkReader(self.log, vectoriser, self.offsets, self.settings)
        self._live = (
            None
            if live is None
            else LiveFile(live, self.replay.learner, self._now_ms(), self.report)
        )
        self._show(new=True)
        self._out = TrainReport(self.log, self.topic, len(self.offsets), self.report)
        self._saved_at, self._reported_at = self.now(), 0.0
        self._reported_offsets: list[int] = []
        self._occupancy: dict[str, float] = {}  # at the last save
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._learning = ThreadPoolExecutor(1, thread_name_prefix="learn")
        self._pending: Future[Chunk] | None = None

    def _publisher(self) -> WeightsPublisher:
        settings = self.settings
        return WeightsPublisher(
            self.log,
            self.replay.learner,
            every_s=settings.train.publish_every_s,
            full_every_s=settings.train.publish_full_every_s,
            precision=settings.train.publish_precision,
            now=self.now,
            report=self.report,
        )

    def _restored(self) -> tuple[Replay, dict[str, Any]]:
        if not (self.folder / "snapshot.json").exists():
            return Replay(ClickLearner(self.spec)), {}
        snapshot = load_snapshot(self.folder, self.spec)
        if "offsets" not in snapshot.extra:
            raise SnapshotError(
                f"{self.folder}: its model was not saved by a trainer, so it has no position in "
                "the log. Fix: give the trainer a folder of its own"
            )
        return Replay.resumed(snapshot), dict(snapshot.extra)

    def _starts(self, extra: dict[str, Any]) -> tuple[list[int], list[RecordMark | None]]:
        """Where to begin each partition: the snapshot's place, else its first record."""
        starts = self.log.start_offsets(self.topic)
        if "offsets" not in extra:
            return starts, [None] * len(starts)
        if (before := extra.get("topic", self.topic)) != self.topic:
            raise ClicktideError(
                f"{self.folder}: its model was learned from the topic {before}, and by "
                f"join.label_after_s it would go on with {self.topic}. Fix: restore the setting, "
                "or move the folder away to begin anew"
            )
        offsets = [int(offset) for offset in extra["offsets"]]
        marks = list(extra["stream"])
        ends = self.log.end_offsets(self.topic)
        same = len(offsets) == len(ends) and all(map(int.__le__, offsets, ends))
        if not same or not self.log.holds(self.topic, marks):
            raise ClicktideError(
                f"{self.folder}: its model was learned from another log than this one (offsets "
                f"{offsets}, here up to {ends}). Fix: give the log it was learned from, or "
                "another folder"
            )
        return offsets, marks

    # --- the loop --------------------------------------------------------------------------

    @property
    def events(self) -> int:
        """Events learned so far, corrections not counted."""
        return self.replay.progress.overall.events

    def work(self) -> bool:
        """Read some records, and learn those read before; false if there were neither.

        While a chunk is learned, the one after it is read and hashed.
        """
        pending, self._pending = self._pending, None
        learning = None if pending is None else self._learning.submit(self._learn, pending)
        try:
            if parts := self.ask(self._chunks.read):
                self._pending = self._preparing.submit(self._chunks.ready, parts)
        finally:
            if learning is not None:
                learning.result()
        if learning is None:
            self._show(new=False)
        self._keep()
        return learning is not None or self._pending is not None

    def _learn(self, prepared: Future[Chunk]) -> None:
        """Learn a chunk when it is ready; runs in a thread while the log is read on."""
        chunk = prepared.result()
        for ready in chunk.ready:
            self.replay.learn(ready)
            if self._weights_out is not None:
                self._weights_out.learned(ready.hashed)
        self._out.rejected(chunk.rejects)
        for partition, offset, mark in chunk.reached:
            self.offsets[partition], self._marks[partition] = offset, mark
        self.event_time = max(self.event_time, chunk.event_time)
        self._show(new=True)

    def _show(self, *, new: bool) -> None:
        if self._live is not None:
            now = self._now_ms()
            self._live.update(self.events, self.event_time, self.offsets, now, new=new)

    # --- keeping ---------------------------------------------------------------------------

    def _keep(self) -> None:
        """Publish, save and tell when it is time."""
        self._publish()
        now = self.now()
        due = now - self._saved_at >= self.settings.train.snapshot_every_s
        if due and self.offsets != self._saved_offsets:
            self.save()
        news = self._pending is None and self.offsets != self._reported_offsets
        if now - self._reported_at >= (TrainReport.SOON_S if news else TrainReport.EVERY_S):
            self._report_progress()

    def _publish(self, *, at_once: bool = False) -> None:
        if self._weights_out is not None:
            reached = TrainerPosition(self.events, self.event_time, self.offsets)
            self._weights_out.publish(reached, at_once=at_once)

    def save(self) -> bool:
        """Save the model with its position; whether that went well."""
        extra = dict(self.replay.snapshot(self.topic).extra) | {
            "topic": self.topic,
            "offsets": self.offsets,
            "stream": self._marks,
            "event_time": self.event_time,
        }
        self._saved_at = self.now()
        weights = self.replay.learner.weights
        self._occupancy = {} if weights is None else occupancy(weights)
        try:
            save_snapshot(self.folder, Snapshot(self.replay.learner, self.replay.progress, extra))
        except SnapshotError as error:
            self.report(f"train: NOT SAVED, learning goes on, next try later: {error}")
            self.saved = False
            return False
        if not self.saved:
            self.report("train: saved again")
        self.saved, self._saved_offsets = True, list(self.offsets)
        self._report_progress()
        return True

    def _report_progress(self) -> None:
        """Commit how far it is, for people and tools to see."""
        self._reported_at, self._reported_offsets = self.now(), list(self.offsets)
        figures = self.replay.progress.overall.figures()
        about = {
            "learned": self.events,
            "corrections": self.replay.corrections,
            "rejected": sum(self.replay.rejected.values()),
            "event_time": self.event_time,
            "log_loss": figures.log_loss,
            "calibration": figures.calibration_ratio,
            "occupancy": self._occupancy,
            "at": self._now_ms(),
        }
        self._out.commit(self.offsets, json.dumps(about))

    def _now_ms(self) -> int:
        return int(self.now() * 1000)

    def finish(self) -> None:
        """Save; what was read ahead is read again next time.

        Raises
        ------
        SnapshotError
            It could not be saved.
        """
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._publish(at_once=True)
        if not self.save():
            raise SnapshotError(
                f"{self.folder}: the last of the model could not be saved; what was saved before "
                "is kept, and the next trainer learns the rest again. Fix: free space"
            )
        self.report(f"train: saved at {self.events:,} events")

    def close(self) -> None:
        """Let go of the thread, the producer and the folder."""
        self._preparing.shutdown(cancel_futures=True)
        self._learning.shutdown()
        self._out.close()
        if self._weights_out is not None:
            self._weights_out.close()
        self._lock.close()


_LOOK_MS = 1000
"""How often it is seen whether the file is still there and whole."""


class LostLiveError(SnapshotError):
    """The live file was truncated: what was learned since the last snapshot is gone with it."""


class LiveFile:
    """Where readers find the weights as they are learned.

    Parameters
    ----------
    path
        Of the file.
    learner
        Learns into it from here on.
    now_ms
        Wall-clock time.
    report
        Takes lines for people.
    """

    def __init__(
        self, path: Path, learner: ClickLearner, now_ms: int, report: Callable[[str], None]
    ) -> None:
        self.path, self._report = path, report
        self._look_at = 0
        self._opened(create_live(path, learner, now_ms))

    def update(
        self, events: int, event_time: int, offsets: Sequence[int], now_ms: int, *, new: bool
    ) -> None:
        """Say how far the weights are.

        Raises
        ------
        LostLiveError
            The file was truncated.
        """
        if now_ms >= self._look_at:
            self._look_at = now_ms + _LOOK_MS
            self._look(now_ms)
        self._writer.update(events, event_time, offsets, now_ms, new=new)

    def _opened(self, writer: LiveWriter) -> None:
        self._writer = writer
        about = self.path.stat()
        self._is, self._size = (about.st_dev, about.st_ino), about.st_size

    def _look(self, now_ms: int) -> None:
        """Make the file anew if it was deleted, or replaced by what nobody can serve."""
        try:
            about = self.path.stat()
        except OSError:
            self._renew(now_ms, "deleted")
            return
        if (about.st_dev, about.st_ino) != self._is:
            if not self._is_another():
                self._renew(now_ms, "replaced by something else")
        elif about.st_size < self._size:
            raise LostLiveError(
                f"{self.path}: it was truncated, and what was learned since the last snapshot with "
                "it. Fix: start the trainer again, which learns that again; `clicktide up` does so"
            )

    def _is_another(self) -> bool:
        """Whether another trainer's weights of this spec stand there: they are left alone."""
        try:
            open_live(self.path, self._writer.learner.spec)
        except SnapshotError:
            return False
        return True

    def _renew(self, now_ms: int, what: str) -> None:
        try:
            self.path.unlink(missing_ok=True)
            self._opened(renew_live(self._writer, now_ms))
        except (SnapshotError, OSError) as error:
            self._report(f"train: {error}")
            return
        self._report(f"train: {self.path} was {what}; made anew")
