"""Drift alarms as they reach the registry: the monitor's file is read, each alarm acted on once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from monitoring.registry.actions import roll_back_on_alarm
from monitoring.registry.client import Registry
from monitoring.registry.settings import GateSettings

__all__ = ["AlarmWatch", "DriftAlarm", "calls_for_rollback"]

_KINDS = ("calibration", "click_rate")
"""What another version may mend; missing fields and late clicks it cannot."""


class DriftAlarm(Protocol):
    """What is needed of an alarm."""

    @property
    def status(self) -> str:
        """``open`` or ``closed``."""

    @property
    def what(self) -> str:
        """What shifted."""

    @property
    def since_ms(self) -> int:
        """Event time at which it began."""


class _Line(msgspec.Struct, frozen=True):
    number: int
    status: str = ""
    what: str = ""
    since_ms: int = 0
    field: str = ""
    value: str = ""

    @property
    def said(self) -> str:
        where = f" of {self.field} {self.value}" if self.field else ""
        return f"{self.what}{where}"


class _State(msgspec.Struct):
    next: int = 0


def calls_for_rollback(alarm: DriftAlarm) -> bool:
    """Whether an earlier version could help.

    Examples
    --------
    >>> calls_for_rollback(_Line(0, "open", "calibration")), calls_for_rollback(_Line(0, "closed"))
    (True, False)
    """
    return alarm.status == "open" and alarm.what in _KINDS


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
        self._state = self._read()
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
        for alarm in self._new():
            if calls_for_rollback(alarm):
                self._act(alarm, now_ms)
            self._state.next = alarm.number + 1
            self._write()

    def _act(self, alarm: _Line, now_ms: int) -> None:
        try:
            done = roll_back_on_alarm(
                self.registry, alarm.since_ms, alarm.said, self.settings, now_ms
            )
        except BaseException:
            self._stamp = None  # look again
            raise
        if done:
            self.report(f"register: alarm: {alarm.said}: from version {done[0]} back to {done[1]}")

    def _changed(self) -> bool:
        try:
            found = self.file.stat()
        except OSError:
            return False
        stamp = (found.st_ino, found.st_mtime_ns)
        changed, self._stamp = stamp != self._stamp, stamp
        return changed

    def _new(self) -> list[_Line]:
        alarms = []
        for line in self.file.read_bytes().splitlines():
            try:
                alarms.append(msgspec.json.decode(line, type=_Line))
            except msgspec.DecodeError:
                continue
        return [alarm for alarm in alarms if alarm.number >= self._state.next]

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError):
            return _State()

    def _write(self) -> None:
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._state_file.with_suffix(".part")
        draft.write_bytes(msgspec.json.encode(self._state))
        draft.replace(self._state_file)
