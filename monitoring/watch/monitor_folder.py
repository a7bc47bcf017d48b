"""The monitor's folder: one monitor at a time, its closed windows, and its state.

The state is a file of plain data, checked when read: a line of text (name, format, SHA-256 of what
follows) and a Zstandard frame: the length of the JSON, the JSON, in which an array is a reference,
and the arrays' bytes. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zstandard

from features.errors import ClicktideError, SnapshotError
from features.whole_file import whole_file, write_json
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.monitor_files import Now, window_files
from monitoring.watch.window import ClosedWindow
from streaming.file_lock import hold_folder

__all__ = ["MonitorFolder", "load_state", "save_state"]


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


_MAGIC = b"clicktide-plain 1 "
_ARRAY = "\0array"
_KINDS = {"float64", "float32", "int64", "int32", "int8", "uint64", "uint32", "uint8", "bool"}
_MOST_BYTES = 1 << 31


def save_state(path: Path, data: Any) -> None:
    """Write dicts, lists, texts, numbers and arrays, in place of what is there.

    Raises
    ------
    ClicktideError
        It cannot be written; what was there still is.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_state(Path(folder) / "x", {"a": np.arange(3), "b": None})
    ...     load_state(Path(folder) / "x")
    {'a': array([0, 1, 2]), 'b': None}
    """
    parts: list[bytes] = []
    text = json.dumps(_packed(data, parts, [0])).encode()
    body = zstandard.ZstdCompressor(level=1).compress(
        b"".join([len(text).to_bytes(8, "little"), text, *parts])
    )
    with whole_file(path) as file:
        file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path) -> Any:
    """Read what :func:`save_state` wrote; arrays can be changed.

    Raises
    ------
    SnapshotError
        It cannot be read, is damaged or of another format.
    """
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head.startswith(_MAGIC):
        raise SnapshotError(f"{path}: not a file of this program's format. Fix: move it away")
    if head[len(_MAGIC) :].decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        raise SnapshotError(f"{path}: damaged: its checksum is wrong. Fix: move it away")
    whole = zstandard.ZstdDecompressor().decompress(body, max_output_size=_MOST_BYTES)
    size = int.from_bytes(whole[:8], "little")
    return _unpacked(json.loads(whole[8 : 8 + size]), memoryview(whole)[8 + size :])


def _packed(value: Any, parts: list[bytes], at: list[int]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.name not in _KINDS:
            raise TypeError(f"an array of {value.dtype} is not plain data")
        raw = np.ascontiguousarray(value).tobytes()
        place, at[0] = at[0], at[0] + len(raw)
        parts.append(raw)
        return {_ARRAY: [value.dtype.name, list(value.shape), place]}
    if isinstance(value, dict):
        return {key: _packed(member, parts, at) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(member, parts, at) for member in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, raw: memoryview) -> Any:
    if isinstance(value, list):
        return [_unpacked(member, raw) for member in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        kind, shape, at = value[_ARRAY]
        if kind not in _KINDS:
            raise SnapshotError(f"an array of {kind} is not plain data")
        size = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(raw, np.dtype(kind), size, at).reshape(shape).copy()
    return {key: _unpacked(member, raw) for key, member in value.items()}
