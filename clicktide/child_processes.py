"""The child processes of ``clicktide up``: start, log files, which run, the lock of the folder."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from clicktide.process_log import FORMAT, LogFormat, as_record, message_of
from clicktide.supervise import Child
from features.errors import ClicktideError
from features.whole_file import whole_file

__all__ = [
    "LogFile",
    "Running",
    "Spawned",
    "local_processes",
    "locked",
    "own_command",
    "read_running",
    "show_on",
    "spawn",
    "write_running",
]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LogFile:
    """A text file of bounded size: when it is full it becomes ``NAME.1`` and a new one begins.

    Parameters
    ----------
    path
        The file; lines are added to what is there.
    most_bytes
        Its size at most, about; with ``NAME.1`` twice that is kept.
    """

    def __init__(self, path: Path, most_bytes: int = 4 << 20) -> None:
        self.path, self.most_bytes = path, most_bytes
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Add a line; a full disk is no reason to stop the stream."""
        try:
            if self._file.tell() + len(line) > self.most_bytes:
                self._turn_over()
            self._file.write(line)
        except OSError as error:
            print(f"{self.path}: cannot be written: {error.strerror}", file=sys.stderr)

    def _turn_over(self) -> None:
        self._file.close()
        os.replace(self.path, self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Close it."""
        self._file.close()


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
        self._log = LogFile(folder / f"{child.name}.log")
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
        said = self._process.stdout
        assert said is not None
        with said:
            while line := said.readline(1 << 16):
                text = line.decode("utf-8", "replace").rstrip()
                if not text:
                    continue
                self._log.write((as_record(self._name, text) + "\n").encode())
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


def own_command(*arguments: str, module: str = "clicktide") -> list[str]:
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
    with whole_file(folder / "up.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(running)))


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
