"""The monitor's folder: one monitor at a time, its saved state, its closed windows, its alarms."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from features.errors import ClicktideError, SnapshotError
from monitoring.watch.closed_window import ClosedWindow
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.records import Now, window_files, write_text
from monitoring.watch.state_file import load_plain, save_plain

__all__ = ["MonitorFolder"]

FORMAT = 2
_STATE = "state"


class MonitorFolder:
    """Writes a folder so that whoever reads it, or kills the writer, finds it whole.

    A closed window's file is written before the state that no longer has the window; files of
    windows that the state has still open, from a write that was interrupted, are removed.

    Parameters
    ----------
    folder
        Made if need be.
    keep_windows
        Files of closed windows that stay.

    Attributes
    ----------
    pending
        Closed windows that the next save will write.

    Raises
    ------
    ClicktideError
        Another monitor works there, or it cannot be written.
    """

    def __init__(self, path: Path, keep_windows: int) -> None:
        self.path, self.keep_windows = path, keep_windows
        self.pending: list[ClosedWindow] = []
        self._lock = _lock(path)

    def closed(self, window: ClosedWindow) -> None:
        """Keep a window that has closed; it is written with the next state."""
        self.pending.append(window)

    def load(self, must_be: Mapping[str, Any]) -> dict[str, Any] | None:
        """Read the saved state, ``None`` if there is none.

        Raises
        ------
        ClicktideError
            It is damaged, or of other slices or settings than these.
        """
        path = self.path / _STATE
        if not path.exists():
            self._forget_after(0)
            return None
        state: dict[str, Any] = load_plain(path)
        if state.get("format") != FORMAT:
            raise ClicktideError(
                f"{self.path}: its state has format {state.get('format')!r}, not {FORMAT}: "
                "another version of Clicktide saved it. Fix: name another --dir, or remove this "
                "one; the monitor then begins anew"
            )
        for name, value in must_be.items():
            if state.get(name) != value:
                raise ClicktideError(
                    f"{self.path}: its state has {name} {state.get(name)!r}, not {value!r}. "
                    "Fix: the settings it was begun with, or another --dir"
                )
        self._forget_after(int(state["windows"]["closed_to_ms"]))
        return state

    def save(self, state: Mapping[str, Any], now: Now, alarms: Sequence[Alarm]) -> None:
        """Write everything; the state last of what a restart needs.

        Raises
        ------
        SnapshotError
            It cannot be written; what was there still is.
        """
        try:
            for window in self.pending:
                name = f"{window.start_ms}-{window.end_ms}.json"
                write_text(self.path / "windows" / name, msgspec.json.encode(window))
            save_plain(self.path / _STATE, {"format": FORMAT, **state})
            self.pending.clear()
            lines = b"".join(msgspec.json.encode(alarm) + b"\n" for alarm in alarms)
            write_text(self.path / "alarms.jsonl", lines)
            self.tell(now)
            for old in window_files(self.path)[: -self.keep_windows]:
                old.path.unlink(missing_ok=True)
        except OSError as error:
            raise SnapshotError(
                f"{self.path}: cannot be written: {error.strerror or error}. Fix: free space"
            ) from error

    def tell(self, now: Now) -> None:
        """Write the figures of now alone, for whoever looks."""
        write_text(self.path / "now.json", msgspec.json.encode(now))

    def _forget_after(self, closed_to_ms: int) -> None:
        for file in window_files(self.path):
            if file.end_ms > closed_to_ms:
                file.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another monitor have the folder."""
        self._lock.close()


def _lock(folder: Path) -> Any:
    """Hold the folder; the system lets go of it with the process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "monitor.lock").open("a")
    except OSError as error:
        raise ClicktideError(
            f"{folder}: cannot be written: {error.strerror}. Fix: name a writable folder"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ClicktideError(
            f"{folder}: another monitor works here. Fix: stop it, or give another --dir"
        ) from error
    return file
