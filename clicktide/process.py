"""A process of ours: how it starts, its memory and priority, the signals that stop it, its log.

What it logs are records of the standard library's logging, one a line:
``2026-11-28T17:02:11.345+00:00 INFO train: saved at 25,000 events``, or with ``--log-format json``
an object with these parts. Libraries' loggers (uvicorn's, MLflow's) go the same way. The choice
stands in the environment, so that child and worker processes share it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

__all__ = [
    "FORMAT",
    "LEVEL",
    "LogFormat",
    "LogLevel",
    "Stopped",
    "as_record",
    "begin_log",
    "collect_seldom",
    "do_without_probed",
    "give_way",
    "keep_freed_memory",
    "message_of",
    "now_ms",
    "stop_request",
    "write_error",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BYTES, _ARENAS = 1 << 28, 2
_PROBED = ("pandas", "scipy", "cffi", "yaml")


def collect_seldom() -> None:
    """Let Python look for cyclic garbage seldom, and not at all at the exit.

    Importing makes 140,000 objects that live to the end. By default they are looked through
    again and again as they come, and twice more when the process ends, which then takes half a
    second to go.
    """
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks of up to 256 MiB for the next batch.

    By default each batch's arrays come from the system anew, and the system zeroes their pages
    at first touch: a tenth of the time of a replay. What a thread frees is kept for the threads of
    its arena alone, so there are two arenas, not eight for each core. Elsewhere than on glibc
    nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BYTES)
        mallopt(_M_TRIM_THRESHOLD, _BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


class _Absent(MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say that a package is not installed."""
        if fullname in self.packages:
            raise ModuleNotFoundError(f"{fullname}: this process does without", name=fullname)
        return None


def do_without_probed() -> None:
    """Let this process take pandas, SciPy, cffi and yaml for not installed, from here on.

    pyarrow imports pandas, and numba SciPy, cffi and yaml, to see whether they are there: nearly a
    second of every start, in processes that use none of them.
    """
    sys.meta_path.insert(0, _Absent(_PROBED))


class Stopped(Exception):
    """The user asked to stop."""


class StopRequest:
    """Whether the user asked to stop; :meth:`check` between two batches raises then."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise :class:`Stopped` if it was asked for."""
        if self.asked:
            raise Stopped


@contextmanager
def signal_handler(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    """Handle some signals while inside."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """While inside, SIGINT and SIGTERM ask to stop; a second SIGINT interrupts at once."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.asked = True

    with signal_handler(ask, signal.SIGINT, signal.SIGTERM):
        yield request


def give_way(nice: int) -> None:
    """Lower this thread's priority, and that of all threads that it starts.

    Where Linux shares the cores out by session (autogroup), also that of the session, if it is
    this process's own: else niceness would count for nothing beside processes of other sessions.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such thing here
            Path("/proc/self/autogroup").write_text(str(nice), "ascii")


def now_ms() -> int:
    """Wall-clock time in ms since 1970."""
    return time.time_ns() // 1_000_000


FORMAT, LEVEL = "CLICKTIDE_LOG_FORMAT", "CLICKTIDE_LOG_LEVEL"
_NAME = "clicktide"
_RECORD = re.compile(r"\d{4}-\d\d-\d\dT\S+ [A-Z]+ [\w-]+: (?P<message>.*)")


class LogFormat(StrEnum):
    """How a record is written."""

    text = "text"
    json = "json"


class LogLevel(StrEnum):
    """The least level that is written."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class _Formatter(logging.Formatter):
    """One line a record, a traceback within it."""

    def __init__(self, process: str, form: str) -> None:
        super().__init__()
        self._process, self._form = process, form

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name.partition(".")[0] != _NAME:
            message = f"{record.name}: {message}"
        trace = self.formatException(record.exc_info) if record.exc_info else None
        return _line(record.created, record.levelname, self._process, message, trace, self._form)


def begin_log(process: str) -> Callable[[str], None]:
    """Send what this process logs to standard error; give a function that logs a line.

    Parameters
    ----------
    process
        Its name in each record; a line that begins with it loses it.
    """
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # its records come here, too
    level = _level()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(process, _form()))
    root, own = logging.getLogger(), logging.getLogger(_NAME)
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING) if level > logging.DEBUG else logging.INFO)
    own.setLevel(level)
    for name in ("mlflow", "alembic"):  # where one was imported before, it has made its own
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
        library.setLevel(logging.NOTSET)
    sys.excepthook = _log_exception
    threading.excepthook = lambda of: _log_exception(of.exc_type, of.exc_value, of.exc_traceback)
    return lambda line: own.info("%s", line.removeprefix(f"{process}: "))


def as_record(process: str, line: str) -> str:
    """Make a record of a line that a process wrote without this module, such as Valkey's.

    Examples
    --------
    >>> as_record("train", "2026-11-28T17:02:11.345+00:00 INFO train: saved")
    '2026-11-28T17:02:11.345+00:00 INFO train: saved'
    >>> as_record("train", "error: no such spec").partition(" ")[2]
    'ERROR train: no such spec'
    """
    if _RECORD.fullmatch(line) or line.startswith('{"time":'):
        return line
    message = line.removeprefix("error: ")
    level = "INFO" if message == line else "ERROR"
    return _line(datetime.now(UTC).timestamp(), level, process, message, None, _form())


def message_of(line: str) -> str:
    """Give the message of a record; of another line, all of it.

    Examples
    --------
    >>> message_of("2026-11-28T17:02:11.345+00:00 ERROR train: no such spec")
    'no such spec'
    """
    if found := _RECORD.fullmatch(line):
        return found["message"]
    if line.startswith('{"time":'):
        return str(json.loads(line)["message"])
    return line.removeprefix("error: ")


def write_error(message: str) -> bool:
    """Write an error as a record if that is the format; false if people are to read it."""
    if _form() != LogFormat.json:
        return False
    now = datetime.now(UTC).timestamp()
    print(_line(now, "ERROR", _NAME, message, None, LogFormat.json), file=sys.stderr, flush=True)
    return True


def _log_exception(kind: Any, error: Any, trace: Any) -> None:
    logging.getLogger(_NAME).critical("ended by an error of its own", exc_info=(kind, error, trace))


def _line(at: float, level: str, process: str, message: str, trace: str | None, form: str) -> str:
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    if form == LogFormat.json:
        about = {"time": time, "level": level, "process": process, "message": message}
        return json.dumps(about | ({"trace": trace} if trace else {}))
    text = message if trace is None else f"{message}: {trace}"
    return f"{time} {level} {process}: " + text.replace("\n", "\\n")


def _form() -> str:
    return os.environ.get(FORMAT, LogFormat.text)


def _level() -> int:
    name = os.environ.get(LEVEL, LogLevel.info).upper()
    return logging.getLevelNamesMapping().get(name, logging.INFO)
