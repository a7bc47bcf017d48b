"""The register process: from the trainer's snapshots to model versions, judged and tidied."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from features.errors import ClicktideError, SnapshotError
from monitoring.registry.actions import AlarmWatch
from monitoring.registry.client import Registry
from monitoring.registry.gate import judge_newest, waiting
from monitoring.registry.guard import Guard
from monitoring.registry.publisher import VersionPublisher
from monitoring.registry.settings import RegistrySettings
from monitoring.registry.snapshots import Queue, SnapshotCache, snapshot_summary
from monitoring.registry.versions import RegistryError, beyond_retention, champion_of
from streaming.log import EventLog

__all__ = ["Register", "purge"]

_FIRST_WAIT_S, _MOST_WAIT_S = 2.0, 60.0
_NEAR = 3
OpenLog = Callable[[], AbstractContextManager[EventLog]]


class Register:
    """Publishes, judges and deletes versions, a step at a time; training knows nothing of it.

    Parameters
    ----------
    model
        Folder of the trainer's snapshots; only read.
    folder
        What this process keeps: versions that wait, where it is.
    registry
        Where versions go.
    open_log
        The event log whose examples candidates are judged on.
    settings
        How often, how many, what the gate asks.
    now
        Wall-clock seconds since 1970.
    report
        Takes lines for people.
    attach
        Files to keep with every version, such as the drift report; those that exist are.
    prepare
        Called before each version is registered, such as to write what is attached.
    alarms
        The monitor's ``alarms.jsonl``: what it says may roll back, if the settings allow it.
    guard
        That rolls back by itself, in a thread of its own: what it has pinned does not hold the
        gate.
    """

    def __init__(
        self,
        model: Path,
        folder: Path,
        registry: Registry,
        open_log: OpenLog,
        settings: RegistrySettings,
        *,
        now: Callable[[], float],
        report: Callable[[str], None],
        attach: tuple[Path, ...] = (),
        prepare: Callable[[], None] = lambda: None,
        alarms: Path | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.model, self.registry, self.settings = model, registry, settings
        self.open_log, self.now, self.report = open_log, now, report
        self.prepare = prepare
        self.queue = Queue(folder, settings.keep_queued, report)
        self.publisher = VersionPublisher(registry, folder, settings, attach)
        self.snapshots = SnapshotCache(registry, folder / "versions")
        self.alarms = (
            None if alarms is None else AlarmWatch(alarms, folder, registry, settings.gate, report)
        )
        self.guard = guard
        self._points_at = self._try_at = 0.0
        self._wait = _FIRST_WAIT_S
        self._down = False

    def step(self) -> None:
        """Do what is due."""
        now = self.now()
        try:
            self._look(now)
        except SnapshotError as error:
            self.report(f"register: {error}")
        if now >= self._try_at:
            self._send(now)
            try:
                if self.alarms is not None:
                    self.alarms.step(int(now * 1000))
            except RegistryError as error:
                self._later(now, error)

    def finish(self) -> None:
        """Send what waits, once; what cannot be sent waits on disk for the next time."""
        self._try_at = 0.0
        self._send(self.now())

    def _look(self, now: float) -> None:
        """Note the figures of the trainer's snapshot, and queue it, when it is time."""
        last = self.queue.last
        noted = now - self._points_at < self.settings.metrics_every_s
        queued = now - last.last_s < self.settings.version_every_s
        summary = None if noted and queued else snapshot_summary(self.model)
        if summary is None:
            return
        if not noted:
            self._points_at = now
            self.publisher.note(summary, int(now * 1000))
        if not queued and summary.events and summary.place != last.last_place:  # it has learned
            self.queue.put(self.model, summary, now)

    def _send(self, now: float) -> None:
        """Publish what waits, and judge and tidy after each; if MLflow is away, later."""
        if not self.queue.waiting() and not self.publisher.due(now):
            return
        try:
            self.publisher.send_points(now)
            for staged in self.queue.waiting():
                self._judge()
                self.prepare()
                number = self.publisher.publish(staged, int(now * 1000))
                self.snapshots.put(number, staged)
                self.report(f"register: version {number} of {self.registry.model}")
                self._tidy()
        except RegistryError as error:
            self._later(now, error)
            return
        except SnapshotError as error:
            self.report(f"register: a version is left out: {error}")
            self.queue.done(self.queue.waiting()[0])
            return
        if self._down:
            self.report("register: MLflow answers again")
        self._down, self._wait = False, _FIRST_WAIT_S

    def _later(self, now: float, error: RegistryError) -> None:
        if not self._down:
            self.report(f"register: versions wait on disk: {error}")
        self._down = True
        self._try_at, self._wait = now + self._wait, min(2 * self._wait, _MOST_WAIT_S)

    def _judge(self) -> None:
        """Judge the newest candidate that enough examples have come after."""
        try:
            with self.open_log() as log:
                judge_newest(
                    self.registry, log, self.snapshots, self.settings.gate, int(self.now() * 1000),
                    self.report, 0 if self.guard is None else self.guard.pinned,
                )  # fmt: skip
        except RegistryError:
            raise
        except ClicktideError as error:
            self.report(f"register: not judged now: {error}")

    def _tidy(self) -> None:
        settings = self.settings
        versions = self.registry.versions()
        for version in beyond_retention(versions, settings.keep_versions, settings.keep_champions):
            self.registry.delete(version)
        self.publisher.sweep(versions)
        near = [champion_of(versions), *waiting(versions)[-_NEAR:]]
        self.snapshots.keep_only({version.number for version in near if version is not None})
        purge(self.registry.url, settings.keep_points, self.report)


_PREFIX = "sqlite:///"
_DELETED_VERSIONS = (
    "SELECT name, version FROM model_versions AS v WHERE current_stage = ? AND version < "
    "(SELECT max(version) FROM model_versions AS w WHERE w.name = v.name)"
)
_LONG_SERIES = (
    "SELECT run_uuid, key, count(*) FROM metrics GROUP BY run_uuid, key HAVING count(*) > ?"
)
_DELETE_POINTS = (
    "DELETE FROM metrics WHERE rowid IN (SELECT rowid FROM metrics WHERE run_uuid = ? "
    "AND key = ? ORDER BY step, timestamp LIMIT ?)"
)


def purge(url: str, keep_points: int, report: Callable[[str], None]) -> None:
    """Remove rows of deleted versions, and the oldest points of long metric series.

    SQLite uses the space again, so the file stays at its largest size so far.

    Parameters
    ----------
    url
        MLflow's tracking URI; anything but a SQLite file is left alone.
    keep_points
        Points that each series of a run keeps.
    report
        Takes lines for people.
    """
    path = Path(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as database, database:
            # The newest number of each model stays, so that none is ever given again.
            versions = database.execute(_DELETED_VERSIONS, ("Deleted_Internal",)).fetchall()
            for table in ("model_version_tags", "model_versions"):
                delete = f"DELETE FROM {table} WHERE name = ? AND version = ?"
                database.executemany(delete, versions)
            for run, key, count in database.execute(_LONG_SERIES, (keep_points,)).fetchall():
                database.execute(_DELETE_POINTS, (run, key, count - keep_points))
    except sqlite3.Error as error:
        report(f"register: {path} could not be tidied, it only grows a little: {error}")
