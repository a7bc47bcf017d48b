"""Which processes ``clicktide up`` runs in a folder: ``up.json``, and the lock of the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import msgspec

from features.whole_file import whole_file
from streaming.file_lock import is_locked, lock_file

__all__ = ["Running", "local_processes", "lock_folder", "read_running", "write_running"]

_LOOK_S = 0.5
"""A look of ``clicktide status`` holds the lock for a moment: so long it is waited for."""


class Running(msgspec.Struct):
    """The contents of ``up.json``.

    Parameters
    ----------
    pid
        Of the supervisor.
    log, spec, redis
        What it runs on.
    children
        Process number and starts, by name.
    """

    pid: int
    log: str
    spec: str
    redis: str | None = None
    children: dict[str, dict[str, int | None]] = {}


def write_running(folder: Path, running: Running) -> None:
    """Write ``up.json``, whole or not at all."""
    with whole_file(folder / "up.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(running)))


def read_running(folder: Path) -> Running | None:
    """Read ``up.json``; None if there is none to be used."""
    try:
        return msgspec.json.decode((folder / "up.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def lock_folder(folder: Path) -> IO[str]:
    """Lock a folder for one supervisor, until the file is closed or the process ends.

    Raises
    ------
    ClicktideError
        Another one has it, or it cannot be written.
    """

    def conflict() -> str:
        running = read_running(folder)
        who = f"pid {running.pid}" if running else "another process"
        return (
            f"{folder}: clicktide up runs here already ({who}). "
            "Fix: stop that one, or give another folder with --dir"
        )

    return lock_file(folder / "up.lock", conflict, patience_s=_LOOK_S)


def local_processes(folder: Path) -> dict[str, Any] | None:
    """The processes that ``clicktide up`` runs, or last ran, in a folder."""
    running = read_running(folder)
    if running is None:
        return None
    up = is_locked(folder / "up.lock")
    children = {
        name: {**at, "runs": up and at["pid"] is not None and _exists(at["pid"])}
        for name, at in running.children.items()
    }
    return {"pid": running.pid, "runs": up, "children": children}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
