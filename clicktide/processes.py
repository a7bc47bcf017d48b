"""What `clicktide up` leaves in its folder for others to read: who runs, and the lock."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from features.errors import ClicktideError

__all__ = ["Running", "local_processes", "locked", "read_running", "write_running"]


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
    monitor
        Changes of the monitor's settings: its state is bound to them.
    """

    pid: int
    log: str
    spec: str
    redis: str | None = None
    children: dict[str, dict[str, int | None]] = {}
    monitor: tuple[str, ...] = ()


def write_running(folder: Path, running: Running) -> None:
    """Write ``up.json``, whole or not at all."""
    new = folder / "up.json.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(running)))
    os.replace(new, folder / "up.json")


def read_running(folder: Path) -> Running | None:
    """Read ``up.json``; None if there is none to be used."""
    try:
        return msgspec.json.decode((folder / "up.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one supervisor; the kernel lets go of it when that ends.

    Raises
    ------
    ClicktideError
        Another one has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "up.lock").open("a")
    except OSError as error:
        raise ClicktideError(
            f"{folder}: cannot be written ({error.strerror}). Fix: --dir FOLDER"
        ) from error
    with file:
        if not _take_soon(file.fileno()):
            running = read_running(folder)
            who = f"pid {running.pid}" if running else "another process"
            raise ClicktideError(
                f"{folder}: clicktide up runs here already ({who}). "
                "Fix: stop that one, or give another folder with --dir"
            )
        yield


def local_processes(folder: Path) -> dict[str, Any] | None:
    """The processes that ``clicktide up`` runs, or last ran, in a folder."""
    running = read_running(folder)
    if running is None:
        return None
    up = _locked_now(folder)
    children = {
        name: {**at, "runs": up and at["pid"] is not None and _exists(at["pid"])}
        for name, at in running.children.items()
    }
    return {"pid": running.pid, "runs": up, "children": children}


def _locked_now(folder: Path) -> bool:
    try:
        with (folder / "up.lock").open() as file:
            return not _take(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def _take_soon(number: int) -> bool:
    """Try for half a second: a look of ``clicktide status`` holds the lock for a moment."""
    for _ in range(5):
        if _take(number):
            return True
        time.sleep(0.1)
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _take(number: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(number, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
