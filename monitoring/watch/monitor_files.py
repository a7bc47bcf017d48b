"""What the monitor leaves in its folder, and reading it: for reports, dashboards and people.

::

    run/monitor/
    ├── state            all that a restart needs (monitoring.watch.monitor_folder)
    ├── now.json         Now: figures, open windows, health, every few seconds
    ├── alarms.jsonl     the last alarms, one a line, oldest first
    └── windows/         ClosedWindow as JSON, a file each, named by start and end (ms)
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.errors import ClicktideError
from features.whole_file import read_json
from monitoring.watch.alarm_actions import AlarmAction
from monitoring.watch.detect.alarm import Alarm, current_first, newest_alarms
from monitoring.watch.figures import SliceFigures
from monitoring.watch.repair.state_machine import RepairedSlice
from monitoring.watch.skew import Skew
from monitoring.watch.state_machine import StaleWeights
from monitoring.watch.window import ClosedWindow
from streaming.freshness import Freshness
from streaming.joiner_state import JoinerState

__all__ = [
    "LabelHealth", "MonitorState", "Now", "label_health", "read_alarms", "read_monitor",
    "window_files",
]  # fmt: skip


class LabelHealth(msgspec.Struct, frozen=True):
    """Shares of what the joiner has committed, since the stream began or between two moments.

    Parameters
    ----------
    impressions, clicks
        Records read.
    join_rate
        Clicks that labelled an example, late ones included, over all clicks that were read and
        are not copies.
    late_share
        Late clicks among those that labelled an example.
    orphan_share
        Clicks whose impression did not come, of all clicks.
    duplicate_clicks, duplicate_impressions
        Share of copies.
    rejected_share
        Impressions rejected for any other reason.
    click_rate
        Clicks that were on time, over examples.
    """

    impressions: int
    clicks: int
    join_rate: float | None = None
    late_share: float | None = None
    orphan_share: float | None = None
    duplicate_clicks: float | None = None
    duplicate_impressions: float | None = None
    rejected_share: float | None = None
    click_rate: float | None = None

    def click_shares(self) -> dict[str, float]:
        """What became of the clicks, in words; what is not known is left out.

        Examples
        --------
        >>> LabelHealth(100, 10, join_rate=0.9).click_shares()
        {'clicks joined': 0.9}
        """
        shares = {
            "clicks joined": self.join_rate,
            "came late": self.late_share,
            "without impression": self.orphan_share,
            "sent twice": self.duplicate_clicks,
        }
        return {name: share for name, share in shares.items() if share is not None}


def label_health(now: JoinerState, before: JoinerState | None = None) -> LabelHealth:
    """Read the health of labels off the joiner's counts.

    Parameters
    ----------
    now
        Counts up to now.
    before
        Counts at an earlier moment: the health of what came since.

    Examples
    --------
    >>> state = JoinerState(100, 10, 98, 7, 1, 1, {"impressions": {"duplicate_impression": 1},
    ...                     "clicks": {"orphan_click": 2}}, 0, False)
    >>> health = label_health(state)
    >>> health.join_rate, health.orphan_share, health.late_share
    (0.8, 0.2, 0.125)
    """
    earlier = {} if before is None else _counts(before)
    one = {name: value - earlier.get(name, 0) for name, value in _counts(now).items()}
    clicks, impressions = one["clicks"], one["impressions"]
    copies, shown_twice = one.get("duplicate_click", 0), one.get("duplicate_impression", 0)
    joined = one["examples_clicked"] + one["corrections"]
    return LabelHealth(
        impressions=impressions,
        clicks=clicks,
        join_rate=_share(joined, clicks - copies),
        late_share=_share(one["corrections"], joined),
        orphan_share=_share(one.get("orphan_click", 0), clicks),
        duplicate_clicks=_share(copies, clicks),
        duplicate_impressions=_share(shown_twice, impressions),
        rejected_share=_share(one["rejected"] - shown_twice, impressions),
        click_rate=_share(one["examples_clicked"], one["examples"]),
    )


def _counts(state: JoinerState) -> dict[str, int]:
    names = ("impressions", "clicks", "examples", "examples_clicked", "corrections")
    clicks, impressions = (state.rejected.get(topic, {}) for topic in ("clicks", "impressions"))
    counts = {name: getattr(state, name) for name in names}
    return {**counts, "rejected": sum(impressions.values()), **clicks, **impressions}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None


_NAME = re.compile(r"(\d+)-(\d+)\.json")


class Now(msgspec.Struct, frozen=True):
    """The stream as the monitor last told.

    Parameters
    ----------
    at_ms
        Wall clock of then.
    event_time_ms
        The latest impression.
    seen, corrections
        Examples counted, and late clicks on top of these.
    unscored
        Examples without a prediction, not counted.
    rejected
        Lines that are no example.
    after_close
        Rows that came for windows that had closed.
    lost
        Records that retention removed before they were read.
    overall
        Figures of everything since the monitor began (no AUC, no ECE).
    fields
        Names of the slice fields.
    window_s
        Present length of a window.
    open
        Windows that are not in a file yet, oldest first; those that are not ``final`` may still
        be changed by late clicks.
    health
        Of the labels, since the stream began.
    recent_health
        Of the labels, since the previous window closed.
    freshness
        How far the trainer, the monitor and the weights were.
    stale
        Stretches whose predictions were made with old weights.
    skew
        Of the counters that impressions carry; ``None``: the spec has none.
    alarms_open
        Alarms kept that have not been closed, as they were sent.
    alarm_actions
        What people have done about alarms, the last of it, oldest first.
    predictions
        ``served``, or ``own``: predicted by the monitor's own learner.
    repairs, repairs_on
        Slices whose predictions are repaired, what gains the most first; and whether serving is
        told.
    """

    at_ms: int
    event_time_ms: int
    seen: int
    corrections: int
    unscored: int
    rejected: int
    after_close: int
    lost: int
    overall: SliceFigures
    fields: list[str]
    window_s: float
    open: list[ClosedWindow] = []
    health: LabelHealth | None = None
    recent_health: LabelHealth | None = None
    freshness: Freshness = Freshness()
    stale: list[StaleWeights] = []
    skew: Skew | None = None
    alarms_open: list[Alarm] = []
    alarm_actions: list[AlarmAction] = []
    predictions: str = "served"
    repairs: list[RepairedSlice] = []
    repairs_on: bool = True


class MonitorState(msgspec.Struct, frozen=True):
    """All that a monitor's folder tells.

    Parameters
    ----------
    now
        Figures of the last save.
    windows
        Closed windows and then the open ones, oldest first.
    alarms
        The last alarms, oldest first, as they were sent.
    """

    now: Now
    windows: list[ClosedWindow]
    alarms: list[Alarm]

    def newest_alarms(self) -> list[Alarm]:
        """The last telling of each alarm: those that go on, then the others."""
        return current_first(newest_alarms([*self.now.alarms_open, *self.alarms]))

    def counted(self) -> list[ClosedWindow]:
        """Windows with impressions, oldest first."""
        return [window for window in self.windows if window.overall.count]


def read_monitor(folder: str | os.PathLike[str], most_windows: int = 0) -> MonitorState:
    """Read a monitor's folder while the monitor is at work, or after.

    Parameters
    ----------
    folder
        The monitor's ``--dir``.
    most_windows
        Only so many of the newest windows; 0: all.

    Raises
    ------
    ClicktideError
        There is no monitor's state.
    """
    root = Path(folder)
    try:
        now = msgspec.json.decode((root / "now.json").read_bytes(), type=Now)
    except OSError as error:
        raise ClicktideError(
            f"{root}: no monitor has saved here. Fix: run `clicktide monitor --dir {root}` first"
        ) from error
    except msgspec.DecodeError as error:
        raise ClicktideError(
            f"{root / 'now.json'}: {error}. Fix: start the monitor again"
        ) from error
    begin = now.open[0].start_ms if now.open else None
    files = [f for f in window_files(root) if begin is None or f.start_ms < begin]
    kept = (read_json(file.path, ClosedWindow) for file in files[-most_windows:])
    windows = [*(window for window in kept if window is not None), *now.open]
    return MonitorState(now, windows[-most_windows:], read_alarms(root / "alarms.jsonl"))


class WindowFile(NamedTuple):
    """A closed window's file."""

    start_ms: int
    end_ms: int
    path: Path


def window_files(root: Path) -> list[WindowFile]:
    """Files of closed windows, oldest first."""
    paths = (root / "windows").glob("*.json")
    names = ((_NAME.fullmatch(path.name), path) for path in paths)
    return sorted(WindowFile(int(name[1]), int(name[2]), path) for name, path in names if name)


def read_alarms(path: Path) -> list[Alarm]:
    """Read the alarms that a monitor has raised; lines of another format are left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    alarms = []
    for line in lines:
        with suppress(msgspec.DecodeError):
            alarms.append(msgspec.json.decode(line, type=Alarm))
    return alarms
