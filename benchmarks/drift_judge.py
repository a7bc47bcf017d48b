"""Whether the alarms of a simulated stream are right: found, named, dated, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.drift_scenarios import NEW_ADVERTISER
from monitoring.watch.detect.alarm import Alarm

__all__ = ["Verdict", "judge", "table"]

WANTED = {
    "down50": ("campaign", ("calibration", "click_rate"), 8_000),
    "up50": ("campaign", ("calibration", "click_rate"), 8_000),
    "up100": ("campaign", ("calibration", "click_rate"), 8_000),
    "newadv": ("advertiser", ("new_value",), None),
    "version": ("", ("calibration",), None),
    "stale": ("", ("calibration",), None),
    "down30": ("campaign", ("calibration", "click_rate"), 20_000),
    "over10": ("", ("calibration",), None),
    "missing": ("site", ("missing",), None),
    "delay3": ("", ("click_delay",), None),
    "bots": ("site", ("calibration",), None),
}
CAUSES = {
    "newadv": "new",
    "version": "model version",
    "stale": "stale weights",
    "missing": "is missing",
    "delay3": "clicks come later",
    "bots": "bots",
}
"""What the cause told must say. Of the others the clicks themselves changed, or the predictions
in a way that is not logged: there no cause is the right one."""
NO_CAUSE = "no cause found"
OF_A_CAMPAIGN = ("down50", "down30", "up50", "up100")
BOTS_SITE = 9
REALLY_WRONG = 0.08  # a slice whose predictions are off by more than this is not alarmed wrongly


class Columns(Protocol):
    """A stream's columns by name."""

    campaign: int

    def __getitem__(self, name: str) -> np.ndarray: ...


@dataclass(frozen=True)
class Verdict:
    """What came of one stream.

    Parameters
    ----------
    found
        Whether the wanted alarm was raised, for the right slice.
    waited
        Rows of the slice from the change to the alarm.
    in_time
        Whether that is soon enough, where a limit is set.
    dated
        Error of the start, as a share of ``waited``.
    covered
        Whether the interval of the start holds the change.
    cause
        Whether the wanted alarm tells the right cause: ``right``, ``none`` or ``wrong``.
    unproved
        Other alarms that tell a cause, though not that of the scenario.
    true, false
        Other alarms: about slices that really were miscalibrated by the simulator's truth, as a
        consequence or by themselves; and about such as were not.
    names
        What the others were about.
    """

    found: bool
    waited: int
    in_time: bool
    dated: float
    covered: bool
    cause: str
    unproved: int
    true: int
    false: int
    names: tuple[str, ...]


def judge(name: str, stream: Columns, alarms: list[Alarm], change: int) -> Verdict:
    """Compare alarms with what was done to the stream."""
    wanted = WANTED.get(name)
    right = [a for a in alarms if wanted and _is_right(a, name, stream, change)][:1]
    others = [a for a in alarms if a not in right]
    true = sum(_really_wrong(a, name, stream, change) for a in others)
    names = tuple(f"{a.what} {a.where}: {a.cause}" for a in others)
    unproved = sum(_cause(a, name) == "wrong" for a in others)
    rest = unproved, true, len(others) - true, names
    if not right or wanted is None:
        return Verdict(False, 0, False, np.inf, False, "", *rest)
    waited, error = _timing(right[0], name, stream, change)
    covered = _covers(right[0], name, stream, change)
    in_time = wanted[2] is None or waited <= wanted[2]
    cause = _cause(right[0], name)
    return Verdict(True, waited, in_time, error / waited, covered, cause, *rest)


def _cause(alarm: Alarm, name: str) -> str:
    """What the cause told is worth; where none is the right one, that is ``right``."""
    if name in CAUSES and CAUSES[name] in alarm.cause:
        return "right"
    if NO_CAUSE in alarm.cause:
        return "none" if name in CAUSES else "right"
    return "wrong"


def _covers(alarm: Alarm, name: str, stream: Columns, change: int) -> bool:
    """The change is between the last row before it and the first that it is about."""
    first = change + int(np.argmax(_rows(name, stream)[change:]))
    low, high = alarm.since_low_ms or alarm.since_ms, alarm.since_high_ms or alarm.since_ms
    return low <= int(stream["time"][first]) and high >= int(stream["time"][change])


def _is_right(alarm: Alarm, name: str, stream: Columns, change: int) -> bool:
    field, kinds, _ = WANTED[name]
    value = {"campaign": f"campaign-{stream.campaign}", "site": f"site-{BOTS_SITE}"}.get(field, "")
    value = {"missing": "", "newadv": f"advertiser-{NEW_ADVERTISER}"}.get(name, value)
    if alarm.detected_event < change:
        return False
    return alarm.field == field and alarm.value == value and alarm.what in kinds


def _rows(name: str, stream: Columns) -> np.ndarray:
    """Rows that the change is about."""
    if name in OF_A_CAMPAIGN:
        return stream["campaign"] == stream.campaign
    if name == "bots":
        return stream["site"] == BOTS_SITE
    if name == "newadv":
        return stream["advertiser"] == NEW_ADVERTISER
    return stream["y"] > 0 if name == "delay3" else np.ones(len(stream["p"]), np.bool_)


def _timing(alarm: Alarm, name: str, stream: Columns, change: int) -> tuple[int, int]:
    """Rows of the slice until the alarm, and between the start and its estimate."""
    count = np.concatenate([[0], np.cumsum(_rows(name, stream))])
    since = int(np.searchsorted(stream["time"], alarm.since_ms))
    waited = int(count[alarm.detected_event + 1] - count[change])
    return max(1, waited), abs(int(count[since] - count[change]))


def _really_wrong(alarm: Alarm, name: str, stream: Columns, change: int) -> bool:
    """Whether the alarmed slice was miscalibrated since its start, by the simulator's truth."""
    if alarm.what not in ("calibration", "click_rate"):
        return False
    start = int(np.searchsorted(stream["time"], alarm.since_ms))
    part = slice(start, alarm.detected_event + 1)
    rows = np.ones(part.stop - part.start, np.bool_)
    if alarm.field:
        rows = stream[alarm.field][part] == int(alarm.value.rpartition("-")[2])
    if name in ("bots", "newadv", *OF_A_CAMPAIGN):  # the truth kept is that without the change
        rows &= ~_rows(name, stream)[part]
    if not rows.any():
        return False
    ratio = stream["p"][part][rows].sum() / stream["truth"][part][rows].sum()
    return abs(float(np.log(ratio))) > REALLY_WRONG


def table(verdicts: dict[str, list[Verdict]]) -> str:
    """A line per scenario, for benchmarks/README.md."""
    head = (
        "| scenario | streams | found and named | in time | dated within 20 % | interval holds it "
        "| cause right | none | wrong | median wait | no false alarm | false | other true "
        "| other causes |"
    )
    lines = [head, "|---" * 14 + "|"]
    for name, each in verdicts.items():
        waits = [v.waited for v in each if v.found]
        cells = [
            name,
            len(each),
            sum(v.found for v in each),
            sum(v.in_time for v in each),
            sum(v.dated <= 0.2 for v in each),
            sum(v.covered for v in each),
            *(sum(v.cause == kind for v in each) for kind in ("right", "none", "wrong")),
            int(np.median(waits)) if waits else "-",
            sum(v.false == 0 for v in each),
            sum(v.false for v in each),
            sum(v.true for v in each),
            sum(v.unproved for v in each),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
