"""The challenge process: reads the examples that the trainer reads, and learns in shadow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from features.errors import ClicktideError, SnapshotError
from monitoring.registry.challenge_windows import ChallengeWindow
from monitoring.registry.shadow import Shadow
from streaming.log import EventLog, LogUnavailableError, OffsetError, TopicPartition
from streaming.settings import EXAMPLES

__all__ = ["Challenge"]

_RECORDS = 200
_IDLE_S, _MOST_WAIT_S = 0.1, 5.0


class Challenge:
    """Learns in shadow until asked to stop.

    Parameters
    ----------
    log
        Whose examples topic exists.
    shadow
        What learns.
    folder
        Where its windows are written, and its snapshot.
    now
        Wall-clock seconds since 1970.
    report
        Takes lines for people.
    pause
        Waits so many seconds.
    every_s
        Wall-clock seconds between writes.
    offsets
        Where to begin, by partition; ``None``: with the oldest examples.
    publish
        Takes windows that have closed since the last time, in a thread; may be slow, and may fail.
    """

    def __init__(
        self,
        log: EventLog,
        shadow: Shadow,
        folder: Path,
        *,
        now: Callable[[], float],
        report: Callable[[str], None],
        pause: Callable[[float], object],
        every_s: float = 30.0,
        offsets: list[int] | None = None,
        publish: Callable[[list[ChallengeWindow]], None] | None = None,
    ) -> None:
        self.log, self.shadow, self.folder = log, shadow, folder
        self.now, self.report, self.pause, self.every_s = now, report, pause, every_s
        self.offsets = log.start_offsets(EXAMPLES) if offsets is None else list(offsets)
        self.events = 0
        self._publish, self._pool = publish, ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._publishing: Future[None] | None = None
        windows = shadow.windows.closed
        self._published_ms = windows[-1].end_ms if windows else 0
        self._saved_at = now()

    def run(self, *, stopping: Callable[[], bool], until_idle_s: float | None = None) -> None:
        """Learn until asked to stop, or all is read and nothing has come for so long; then save."""
        wait, idle_s = _IDLE_S, 0.0
        while not stopping():
            try:
                found = self.step()
            except LogUnavailableError as error:
                self.report(f"challenge: the log does not answer, again in {wait:g} s: {error}")
                self.pause(wait)
                wait = min(2 * wait, _MOST_WAIT_S)
                continue
            wait = _IDLE_S
            if found:
                idle_s = 0.0
            elif until_idle_s is not None and idle_s >= until_idle_s:
                break
            else:
                self.pause(_IDLE_S)
                idle_s += _IDLE_S
            if self.now() - self._saved_at >= self.every_s:
                self.save()
        self.save()
        self._pool.shutdown()

    def step(self) -> bool:
        """Learn some records of each partition; whether there were any."""
        found = False
        for partition, offset in enumerate(self.offsets):
            try:
                records = self.log.read(TopicPartition(EXAMPLES, partition), offset, _RECORDS)
            except OffsetError as error:
                raise ClicktideError(
                    f"{EXAMPLES}-{partition}: offset {offset} is no longer in the log: {error}. "
                    f"Fix: move {self.folder} away to begin anew with what is left"
                ) from error
            if records:
                found = True
                self.events += self.shadow.learn(records)
                self.offsets[partition] = records[-1].offset + 1
        return found

    def save(self) -> None:
        """Write windows and snapshot, and hand closed windows on; an error is told, not fatal."""
        self._saved_at = self.now()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.shadow.save(self.folder, self.offsets)
            self.shadow.windows.write(self.folder / "windows.jsonl")
            self.shadow.slices.write(self.folder / "slices.json")
        except (OSError, SnapshotError) as error:
            self.report(f"challenge: NOT SAVED, next try later: {error}")
        self._hand_on()

    def _hand_on(self) -> None:
        busy = self._publishing is not None and not self._publishing.done()
        closed = [w for w in self.shadow.windows.closed if w.end_ms > self._published_ms]
        if self._publish is None or busy or not closed:
            return
        self._published_ms = closed[-1].end_ms
        self._publishing = self._pool.submit(self._guarded, closed)

    def _guarded(self, windows: list[ChallengeWindow]) -> None:
        assert self._publish is not None
        try:
            self._publish(windows)
        except ClicktideError as error:
            self.report(f"challenge: windows not in MLflow: {error}")
