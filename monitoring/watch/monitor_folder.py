"""The monitor's folder: one monitor at a time, its closed windows, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from features.errors import ClicktideError
from features.whole_file import whole_file, write_json
from monitoring.watch.closed_window import ClosedWindow
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.monitor_files import Now, window_files
from monitoring.watch.state_file import load_state, save_state
from streaming.file_lock import hold_folder

__all__ = ["MonitorFolder"]


FORMAT = 2
_STATE = "state"


class MonitorFolder:
    """Writes a folder so that whoever reads it, or kills the writer, finds it whole.

    A closed window's file is written before the state that no longer has the window; files of
    windows that the state has still open, from a write that was interrupted, are removed.

    Parameters
    ----------
    path
        Of the folder; made if need be.
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
        self._lock = hold_folder(path, "monitor")

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
        state: dict[str, Any] = load_state(path)
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
        ClicktideError
            It cannot be written; what was there still is.
        """
        for window in self.pending:
            name = f"{window.start_ms}-{window.end_ms}.json"
            write_json(self.path / "windows" / name, window)
        save_state(self.path / _STATE, {"format": FORMAT, **state})
        self.pending.clear()
        with whole_file(self.path / "alarms.jsonl") as file:
            file.writelines(msgspec.json.encode(alarm) + b"\n" for alarm in alarms)
        self.tell(now)
        for old in window_files(self.path)[: -self.keep_windows]:
            old.path.unlink(missing_ok=True)

    def tell(self, now: Now) -> None:
        """Write the figures of now alone, for whoever looks."""
        write_json(self.path / "now.json", now)

    def _forget_after(self, closed_to_ms: int) -> None:
        for file in window_files(self.path):
            if file.end_ms > closed_to_ms:
                file.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another monitor have the folder."""
        self._lock.close()
