"""The child processes of ``clicktide up``: how they start, what they print, and which ones run."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

import msgspec

from clicktide.process_log import FORMAT, LogFormat, as_record, message_of
from clicktide.supervisor import Child
from features.whole_file import read_json, write_json
from streaming.file_lock import is_locked, lock_file

__all__ = [
    "Running",
    "Spawned",
    "clicktide_command",
    "local_processes",
    "lock_folder",
    "read_running",
    "show_on",
    "spawn",
    "write_running",
]

_PR_SET_PDEATHSIG = 1
_LOG_BYTES = 4 << 20  # of a log file; when it is full it becomes NAME.log.1
_LOOK_S = 0.5
"""A look of ``clicktide status`` holds the lock for a moment: so long it is waited for."""
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Spawned:
    """A running child; a thread passes on what it says.

    Parameters
    ----------
    child
        What to start.
    folder
        Where ``NAME.log`` is.
    show
        Is given the name and each line.
    """

    def __init__(self, child: Child, folder: Path, show: Callable[[str, str], None]) -> None:
        self._name, self._show, self._last = child.name, show, ""
        path = folder / f"{child.name}.log"
        self._log = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
        self._process = subprocess.Popen(
            list(child.command),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **child.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone
            preexec_fn=_dies_with(os.getpid()),
            pass_fds=tuple(child.fds),
        )
        self.pid = self._process.pid
        self._thread = threading.Thread(target=self._pass_on, name=child.name, daemon=True)
        self._thread.start()

    def _pass_on(self) -> None:
        output = self._process.stdout
        assert output is not None
        with output:
            while line := output.readline(1 << 16):
                text = line.decode("utf-8", "replace").rstrip()
                if not text:
                    continue
                # what cannot be written, as on a full disk, is told on standard error, and no more
                self._log.emit(logging.makeLogRecord({"msg": as_record(self._name, text)}))
                if any(map(str.isalnum, text)):  # not the frame around a message
                    self._last = message_of(text)
                self._show(self._name, text)
        self._log.close()

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and what it started; wait until it is gone and all it said is passed on."""
        try:
            os.killpg(self.pid, signal.SIGKILL)  # its session's group, ours alone
        except (ProcessLookupError, PermissionError):  # gone; macOS says the latter of zombies
            self._process.kill()
        self._process.wait()
        self._thread.join(timeout=2)

    def last_line(self) -> str:
        """The last line that it said."""
        return self._last


def clicktide_command(*arguments: str, module: str = "clicktide") -> list[str]:
    """The command line of one of our commands, or of another module, for a child process.

    It starts with a safe path (``-P``): what lies in the folder where it runs, such as a package
    ``features``, is not taken for ours.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def spawn(folder: Path, show: Callable[[str, str], None]) -> Callable[[Child], Spawned]:
    """What starts children that log to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return lambda child: Spawned(child, folder, show)


def _dies_with(parent: int) -> Callable[[], None] | None:
    """The kernel kills the child when its parent ends in whatever way, ``kill -9`` too (Linux)."""
    if _libc is None:
        return None
    prctl = _libc.prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(1)

    return ask


def show_on(stream: IO[str]) -> Callable[[str, str], None]:
    """What prints ``name | line``, the name in a colour of its own where it is a terminal."""
    coloured = stream.isatty() and not os.environ.get("NO_COLOR")
    as_json = os.environ.get(FORMAT) == LogFormat.json
    lock = threading.Lock()

    def show(name: str, line: str) -> None:
        if as_json:
            name, line = "", as_record(name or "up", line)
        tag = f"{name or 'up':>6} |"
        if coloured:
            tag = f"\033[{31 + sum(map(ord, name)) % 6}m{tag}\033[0m"
        try:
            with lock:
                print(*([] if as_json else [tag]), line, file=stream, flush=True)
        except OSError:  # whoever read it has left; the log files have it all
            pass

    return show


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
    write_json(folder / "up.json", running)


def read_running(folder: Path) -> Running | None:
    """Read ``up.json``; None if there is none to be used."""
    return read_json(folder / "up.json", Running)


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
