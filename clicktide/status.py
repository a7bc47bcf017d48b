"""The command ``clicktide status``: how a stream stands, told from its event log alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from clicktide.interrupts import stop_request
from clicktide.options import DirOption, JsonOption, LogOption
from clicktide.processes import local_processes
from clicktide.status_show import status_json, status_view
from clicktide.stream_folder import open_stream
from features.errors import ClicktideError
from streaming.log import EventLog, open_log
from streaming.log.opening import SqliteSettings, log_settings
from streaming.status import Look, look_at

__all__ = ["status"]


def status(
    folder: DirOption = None,
    log: LogOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again until Ctrl-C")] = (
        False
    ),
    every: Annotated[
        float,
        typer.Option("--every", min=0.1, help="Seconds between two looks; rates are over these"),
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Tell how a stream stands: lags, what was joined and learned, freshness.

    It only reads, and needs nothing but the log: run it wherever that
    can be reached.

    clicktide status

    clicktide status --watch

    clicktide status --log kafka://localhost:9092 --json
    """
    stream = open_stream(folder, needs_spec=False, begin=False)
    url = log or stream.log
    home = folder or (_folder_of(url) if log else stream.path)
    with _open_existing(url) as opened, stop_request() as request:
        view = _View(opened, url, home, every, lambda: request.asked)
        if watch and not as_json:
            view.watch()
        else:
            view.once(as_json)


@dataclass
class _View:
    """One call of the command."""

    opened: EventLog
    log: str
    folder: Path | None
    every: float
    asked: Callable[[], bool]

    def look(self) -> Look:
        return look_at(self.opened, time.time_ns() // 1_000_000)

    def shown(self, look: Look, before: Look) -> tuple[Look, str, dict[str, float], Any]:
        processes = None if self.folder is None else local_processes(self.folder)
        return look, self.log, look.rates(before), processes

    def once(self, as_json: bool) -> None:
        """Two looks, for the rates."""
        before = self.look()
        self.pause()
        shown = self.shown(self.look(), before)
        if as_json:
            print(msgspec.json.format(msgspec.json.encode(status_json(*shown))).decode())
        else:
            Console().print(status_view(*shown))

    def watch(self) -> None:
        """Draw until asked to stop."""
        before = self.look()
        with Live(status_view(*self.shown(before, before)), auto_refresh=False) as live:
            while not self.asked():
                self.pause()
                now = self.look()
                live.update(status_view(*self.shown(now, before)), refresh=True)
                before = now

    def pause(self) -> None:
        until = time.monotonic() + self.every
        while not self.asked() and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.1, left))


def _open_existing(url: str) -> EventLog:
    """Open a log without making it.

    Raises
    ------
    ClicktideError
        There is none.
    """
    path = _path_of(url)
    if path is not None and not path.is_file():
        raise ClicktideError(
            f"{path}: there is no event log. Fix: clicktide up starts a stream and makes it, "
            "or name another with --dir or --log"
        )
    return open_log(url)


def _path_of(url: str) -> Path | None:
    """The file of an embedded log."""
    settings = log_settings(url, {})
    return Path(settings.path) if isinstance(settings, SqliteSettings) else None


def _folder_of(url: str) -> Path | None:
    path = _path_of(url)
    return None if path is None else path.parent
