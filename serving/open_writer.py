"""From the URL of an event log to a writer of it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from serving.event_writer import EventWriter
from streaming.log import EventLog, LogUnavailableError, open_log
from streaming.log.opening import SqliteSettings, log_settings
from streaming.settings import StreamSettings

__all__ = ["open_writer"]


def open_writer(url: str, settings: StreamSettings) -> EventWriter:
    """A writer of the log that a URL names, under a name of its own.

    Parameters
    ----------
    url, settings
        As for :func:`streaming.log.open_log` and :class:`EventWriter`.

    Examples
    --------
    >>> writer = open_writer(":memory:", StreamSettings())
    >>> writer.close()
    """
    name = f"api-{secrets.token_hex(6)}"
    log = log_settings(url, os.environ)
    if not isinstance(log, SqliteSettings):
        return EventWriter(lambda: open_log(url), settings, name)
    path = Path(log.path)
    seen = False

    def opened() -> EventLog:
        """Make the file the first time; later it must be there, for others still read that one."""
        nonlocal seen
        if seen and not path.exists():
            raise LogUnavailableError(
                f"{path} was removed. Fix: put it back; or restart the stream, to begin a new log"
            )
        log = open_log(url)
        seen = True
        return log

    return EventWriter(opened, settings, name, identity=lambda: _inode(path))


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
