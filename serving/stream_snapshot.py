"""One look at the stream for the dashboard: the log, the monitor's folder and the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from features.errors import ClicktideError
from features.whole_file import file_stamp
from monitoring.watch.alarm_actions import rolled_back, silence_of, status_of
from monitoring.watch.detect.alarm import Severity
from monitoring.watch.figures import CLICKS, SUMS, SliceFigures, figures_of
from monitoring.watch.formatting import headline_of, side_of
from monitoring.watch.monitor_files import MonitorState, read_monitor
from streaming.freshness import Freshness, ages, clock_note, freshness, reader, stale
from streaming.log import EventLog
from streaming.status import Look, look_at

__all__ = ["AlarmView", "StreamLooker", "StreamSnapshot", "WindowView"]

_WINDOWS, _ALARMS = 90, 8
_CALM_CLICKS = 300.0


class WindowView(msgspec.Struct, frozen=True):
    """A window or some: start in event time, impressions, clicks, ratio, interval, loss, NE."""

    start: int
    count: int
    clicks: float
    ratio: float | None
    low: float | None
    high: float | None
    log_loss: float | None
    ne: float | None


class AlarmView(msgspec.Struct, frozen=True):
    """An alarm in words; ``number`` is that of its anchor in the report."""

    said: str
    what: str
    field: str
    value: str
    side: str
    since: int
    ended: int | None
    cause: str
    action: str
    number: int = 0
    severity: Severity = "warning"
    status: str = "new"
    silenced: bool = False


class StreamSnapshot(msgspec.Struct, frozen=True):
    """How the stream stands.

    Parameters
    ----------
    at_ms
        When it was looked at.
    rates
        Per second since the look before: records by topic, and ``learned``.
    records
        Ever appended, by topic.
    lags
        Records each group has still to read.
    pending, stalled
        Impressions waiting for their label; whether clicks seem to have stopped.
    freshness
        Seconds, by what they are of.
    stale
        What must be said before anything else, such as that nobody watches.
    warnings
        What else is not as it should be.
    rejected
        Events accepted and then rejected, by topic and reason, ever.
    clock_ahead_s
        The stream's clock over the wall clock; below 0: behind.
    trainer
        Figures of the trainer since it began.
    tables
        How full the learner's tables are, by name.
    recent, windows, alarms
        Of the monitor; absent where none runs.
    labels
        Shares, by what they are of.
    served_version
        Model version of the newest impression that names one.
    monitor_problem
        Why there is nothing of a monitor.
    monitor_at_ms
        When the monitor saved last.
    """

    at_ms: int
    rates: dict[str, float]
    records: dict[str, int]
    lags: dict[str, int]
    pending: int | None
    stalled: bool
    freshness: dict[str, float]
    trainer: dict[str, float]
    tables: dict[str, float] = {}
    recent: WindowView | None = None
    windows: tuple[WindowView, ...] = ()
    alarms: tuple[AlarmView, ...] = ()
    labels: dict[str, float] = {}
    served_version: str | None = None
    monitor_problem: str = ""
    monitor_at_ms: int | None = None
    stale: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rejected: dict[str, int] = {}
    clock_ahead_s: float | None = None


class StreamLooker:
    """Looks at a stream.

    Parameters
    ----------
    log
        The event log; closed with this.
    monitor
        Folder of the monitor.
    now_ms
        The wall clock.
    """

    def __init__(self, log: EventLog, monitor: Path, now_ms: Callable[[], int]) -> None:
        self._log, self._monitor, self._now_ms = log, monitor, now_ms
        self._before: Look | None = None
        self._read: tuple[tuple[int, int], MonitorState] | None = None

    def look(self) -> StreamSnapshot:
        """How it stands."""
        look = look_at(self._log, self._now_ms())
        before, self._before = self._before or look, look
        state, problem = self._state()
        fresh = _freshness(look, state)
        note = clock_note(fresh, look.at_ms)
        return StreamSnapshot(
            at_ms=look.at_ms,
            rates=look.rates(before),
            records={name: topic.records for name, topic in look.topics.items()},
            lags={group: look.lag(group) for group in look.groups},
            pending=None if look.joiner is None else look.joiner.pending,
            stalled=look.joiner is not None and look.joiner.stalled,
            freshness=ages(fresh),
            trainer=_trainer(look),
            tables={} if look.trainer is None else look.trainer.occupancy,
            recent=None if state is None else _recent(state),
            windows=() if state is None else _windows(state),
            alarms=() if state is None else _alarms(state, look.at_ms),
            labels={} if state is None else _labels(state),
            served_version=fresh.served_version,
            monitor_problem=problem,
            monitor_at_ms=None if state is None else state.now.at_ms,
            stale=stale(fresh, look.at_ms),
            warnings=tuple(filter(None, (note, self._rolled_back(state)))),
            rejected=look.rejected(),
            clock_ahead_s=_ahead_s(fresh),
        )

    def _rolled_back(self, state: MonitorState | None) -> str:
        return "" if state is None else rolled_back(state.now.alarm_actions)

    def _state(self) -> tuple[MonitorState | None, str]:
        """The monitor's folder, read anew when it has been written."""
        written = file_stamp(self._monitor / "now.json")
        if written is None:
            return None, "no monitor has saved yet: clicktide monitor"
        if self._read is None or self._read[0] != written:
            try:
                self._read = written, read_monitor(self._monitor, most_windows=_WINDOWS)
            except ClicktideError as error:
                return None, str(error)
        return self._read[1], ""

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def _freshness(look: Look, state: MonitorState | None) -> Freshness:
    """The log's facts, and the monitor's own where it tells them."""
    facts = freshness(look)
    if state is None:
        return facts
    own = state.now.freshness
    return msgspec.structs.replace(
        facts,
        monitor=reader(look, "monitor", state.now.event_time_ms, state.now.at_ms),
        weights_s=own.weights_s,
        joined_s=own.joined_s,
        watched_s=own.watched_s,
        served_version=own.served_version,
    )


def _ahead_s(fresh: Freshness) -> float | None:
    return None if fresh.clock_ms is None else (fresh.clock_ms - fresh.at_ms) / 1000


def _trainer(look: Look) -> dict[str, float]:
    if look.trainer is None:
        return {}
    of = look.trainer
    known = {"learned": of.learned, "log loss": of.log_loss, "calibration": of.calibration}
    return {name: value for name, value in known.items() if value is not None}


def _recent(state: MonitorState) -> WindowView | None:
    """The newest windows that together have some hundred clicks."""
    taken = state.counted()
    if not taken:
        return None
    sums, since = np.zeros(SUMS), 0
    for window in reversed(taken):
        sums, since = sums + np.array(window.sums), window.start_ms
        if sums[CLICKS] >= _CALM_CLICKS:
            break
    return _view(since, figures_of(sums))


def _windows(state: MonitorState) -> tuple[WindowView, ...]:
    return tuple(_view(window.start_ms, window.overall) for window in state.counted())


def _view(start_ms: int, f: SliceFigures) -> WindowView:
    return WindowView(
        start_ms, f.count, f.clicks, f.calibration_ratio, f.calibration_low, f.calibration_high,
        f.log_loss, f.normalised_entropy,
    )  # fmt: skip


def _alarms(state: MonitorState, at_ms: int) -> tuple[AlarmView, ...]:
    """Those that go on, then the newest of the others."""
    done = state.now.alarm_actions
    return tuple(
        AlarmView(
            headline_of(a), a.what, a.field, a.value, side_of(a), a.since_ms, a.closed_ms, a.cause,
            a.action, a.opening, a.severity, status_of(a, done, at_ms),
            silence_of(a, done, at_ms) is not None,
        )
        for a in state.newest_alarms()[:_ALARMS]
    )  # fmt: skip


def _labels(state: MonitorState) -> dict[str, float]:
    """Since the window before, or else since the beginning."""
    for health in (state.now.recent_health, state.now.health):
        if health is not None and health.join_rate is not None:
            return health.click_shares()
    return {}
