"""Promote, roll back, pin: what people, the gate and alarms do to versions.

Each is a few calls that can be made again: one that was interrupted is repaired by repeating it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from features.whole_file import file_stamp, read_json, write_json
from monitoring.registry.client import Registry
from monitoring.registry.settings import GateSettings
from monitoring.registry.versions import (
    CHAMPION,
    PREVIOUS,
    SERVE,
    NoVersionError,
    Version,
    champion_of,
    rollback_target,
)
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.monitor_files import read_alarms

__all__ = ["AlarmWatch", "alarm_target", "pin", "promote", "roll_back", "unpin"]


def promote(registry: Registry, number: int, now_ms: int, why: str) -> Version:
    """Make a version the champion; the one before it is ``previous``.

    Raises
    ------
    NoVersionError
        There is none of this number.
    """
    before = registry.aliases().get(CHAMPION)
    wanted = registry.update(
        registry.version(number), gate="passed", reasons=(why,), champion_at_ms=now_ms
    )
    if before is not None and before != number:
        registry.set_alias(PREVIOUS, before)
    registry.set_alias(CHAMPION, number)
    return wanted


def roll_back(registry: Registry, number: int | None, now_ms: int, why: str) -> tuple[int, int]:
    """Go back to an earlier version, and serve it until :func:`unpin`.

    The version that is left is no target of a rollback any more, and while serving is pinned the
    gate promotes nothing.

    Parameters
    ----------
    registry
        Of the versions.
    number
        Where to; ``None``: to the champion before this one.
    now_ms
        Wall-clock time.
    why
        Kept with the version that is left.

    Returns
    -------
    left, reached
        Numbers of the versions.

    Raises
    ------
    NoVersionError
        There is nowhere to go back to.
    """
    versions = registry.versions()
    champion = champion_of(versions)
    target = rollback_target(versions) if number is None else registry.version(number)
    if champion is None or target is None:
        raise NoVersionError(_nowhere(registry, versions, champion))
    registry.set_alias(SERVE, target.number)  # first what serving looks at
    if target.number != champion.number:
        registry.set_alias(CHAMPION, target.number)
        registry.update(champion, gate="rolled_back", reasons=(why,), champion_at_ms=0)
        _move_previous(registry, [v for v in versions if v is not champion], target)
    registry.update(target, champion_at_ms=now_ms)
    return champion.number, target.number


def _nowhere(registry: Registry, versions: list[Version], champion: Version | None) -> str:
    """Say that there is nothing to go back to, what there is instead, and what to do."""
    where = f"model {registry.model!r} at {registry.where}"
    others = [v for v in versions if v is not champion]
    listed = ", ".join(f"{v.number} ({v.gate}, {v.events:,} events)" for v in others[-5:][::-1])
    if champion is None:
        what = "it has no champion, so nothing to go back from"
        fix = "`clicktide models promote V` makes one of them champion"
    else:
        what = f"version {champion.number} is its first champion: no champion to go back to"
        fix = "`clicktide models rollback --to V` goes to one of them all the same"
    if not others:
        listed = "none"
        fix = "wait for the next version (`clicktide register` makes one every few minutes)"
    return f"{where}: {what}. Other versions: {listed}. Fix: {fix}"


def _move_previous(registry: Registry, versions: list[Version], champion: Version) -> None:
    """Let ``previous`` be the champion before the one that stands now."""
    older = [v for v in versions if v.champion_at_ms and v.number != champion.number]
    older = [v for v in older if v.champion_at_ms <= (champion.champion_at_ms or v.champion_at_ms)]
    if older:
        last = max(older, key=lambda v: (v.champion_at_ms, v.number))
        registry.set_alias(PREVIOUS, last.number)
    else:
        registry.delete_alias(PREVIOUS)


def pin(registry: Registry, number: int) -> Version:
    """Serve this version until :func:`unpin`; it is kept meanwhile."""
    wanted = registry.version(number)
    registry.set_alias(SERVE, number)
    return wanted


def unpin(registry: Registry) -> None:
    """Serve again what the serving policy says, and let the gate promote."""
    registry.delete_alias(SERVE)


def alarm_target(since_ms: int, versions: Sequence[Version]) -> Version | None:
    """The version that a drift alarm rolls back to; ``None``: the champion knows nothing of it.

    Parameters
    ----------
    since_ms
        Event time at which the drift began, as the alarm says.
    versions
        All there are.

    Examples
    --------
    >>> old = Version(number=1, created_ms=0, event_time=10, champion_at_ms=1)
    >>> new = Version(number=2, created_ms=0, event_time=30, champion_at_ms=2,
    ...               aliases=("champion",))
    >>> alarm_target(20, [old, new]).number
    1
    """
    champion = champion_of(versions)
    if champion is None or champion.event_time < since_ms:
        return None
    return rollback_target(versions, since_ms)


_KINDS = ("calibration", "click_rate")
"""What another version may mend; missing fields and late clicks it cannot."""


class _State(msgspec.Struct):
    next: int = 0


class AlarmWatch:
    """Rolls back on alarms, if the settings say so.

    Parameters
    ----------
    file
        The monitor's ``alarms.jsonl``: an alarm to a line, each with its ``number``.
    folder
        Where the number of the next alarm is kept.
    registry, settings
        What rolls back, and whether.
    report
        Takes lines for people.
    """

    def __init__(
        self,
        file: Path,
        folder: Path,
        registry: Registry,
        settings: GateSettings,
        report: Callable[[str], None],
    ) -> None:
        self.file, self._state_file = file, folder / "alarms.json"
        self.registry, self.settings, self.report = registry, settings, report
        self._state = read_json(self._state_file, _State) or _State()
        self._stamp: tuple[int, int] | None = None

    def step(self, now_ms: int) -> None:
        """Act on alarms that are new.

        Raises
        ------
        RegistryError
            It does not answer; the same alarms are tried again.
        """
        if not self.settings.roll_back_on_alarm or not self._changed():
            return
        for alarm in read_alarms(self.file):
            if alarm.number < self._state.next:
                continue
            if alarm.status == "open" and alarm.what in _KINDS:
                self._act(alarm, now_ms)
            self._state.next = alarm.number + 1
            write_json(self._state_file, self._state)

    def _act(self, alarm: Alarm, now_ms: int) -> None:
        what = f"{alarm.what} of {alarm.where}" if alarm.field else alarm.what
        stamp, self._stamp = self._stamp, None  # look again if the registry does not answer
        if SERVE not in self.registry.aliases():
            target = alarm_target(alarm.since_ms, self.registry.versions())
            if target is not None:
                left, reached = roll_back(self.registry, target.number, now_ms, f"alarm: {what}")
                self.report(f"register: alarm: {what}: from version {left} back to {reached}")
        self._stamp = stamp

    def _changed(self) -> bool:
        stamp = file_stamp(self.file)
        changed, self._stamp = stamp not in (None, self._stamp), stamp
        return changed
