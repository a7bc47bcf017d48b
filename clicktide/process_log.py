"""What a process of ours logs: records of the standard library's logging, one a line.

``2026-11-28T17:02:11.345+00:00 INFO train: saved at 25,000 events``, or with ``--log-format json``
an object with these parts. Libraries' loggers (uvicorn's, MLflow's) go the same way. The choice
stands in the environment, so that child and worker processes share it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

__all__ = [
    "FORMAT",
    "LEVEL",
    "LogFormat",
    "LogLevel",
    "as_record",
    "begin_log",
    "message_of",
    "write_error",
]

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
    # it warns of each step of its own above 0.1 s, which a busy machine has by the hundred
    if level > logging.DEBUG:
        logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
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
