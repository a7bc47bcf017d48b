"""Versions that wait on disk to be published: a few, the newest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from monitoring.registry.snapshots import Look, stage

__all__ = ["Queue"]


class _State(msgspec.Struct):
    last_s: float = 0.0
    last_arrays: str = ""


class Queue:
    """Folders of snapshots, oldest first; it survives the process.

    Parameters
    ----------
    folder
        Where they lie.
    keep
        At most so many: the oldest goes when one more comes.
    report
        Takes lines for people.
    """

    def __init__(self, folder: Path, keep: int, report: Callable[[str], None]) -> None:
        self.folder, self.keep, self.report = folder / "waiting", keep, report
        self._state_file = folder / "queue.json"
        self._state = self._read()

    @property
    def last_s(self) -> float:
        """When a snapshot was last put here."""
        return self._state.last_s

    @property
    def last_arrays(self) -> str:
        """Which one that was."""
        return self._state.last_arrays

    def put(self, model: Path, found: Look, now: float) -> None:
        """Keep the snapshot that is there now.

        Raises
        ------
        SnapshotError
            It cannot be kept.
        """
        name = f"{int(now * 1000):015d}-{found.events}"
        stage(model, self.folder / name)
        self._state = _State(now, found.arrays)
        draft = self._state_file.with_suffix(".part")
        draft.write_bytes(msgspec.json.encode(self._state))
        draft.replace(self._state_file)
        for extra in self.waiting()[: -self.keep]:
            self.report(f"register: {extra.name} is left out: a newer version waits as well")
            self.done(extra)

    def waiting(self) -> list[Path]:
        """Snapshots that wait."""
        found = self.folder.glob("*-*") if self.folder.exists() else ()
        return sorted(path for path in found if not path.name.endswith(".part"))

    def done(self, staged: Path) -> None:
        """Forget one."""
        shutil.rmtree(staged, ignore_errors=True)

    def drop_oldest(self) -> None:
        """Forget the oldest, which cannot be used."""
        for staged in self.waiting()[:1]:
            self.done(staged)

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError):
            return _State()
