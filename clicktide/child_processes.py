"""The child processes of ``clicktide up``: how they start, what they print, their log files."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from clicktide.process_log import FORMAT, LogFormat, as_record, message_of
from clicktide.supervisor import Child

__all__ = ["LogFile", "Spawned", "clicktide_command", "show_on", "spawn"]

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
        output = self._process.stdout
        assert output is not None
        with output:
            while line := output.readline(1 << 16):
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
