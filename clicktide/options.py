"""Options that several commands have in common, so that they read the same everywhere."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "IdleSecondsOption",
    "LogOption",
    "NiceOption",
    "SpecOption",
    "StreamChangesOption",
    "StreamSettingsOption",
    "give_way",
    "say",
]

LogOption = Annotated[
    str,
    typer.Option(
        "--log",
        envvar="CLICKTIDE_LOG",
        help="Event log: run/log.db, sqlite:///run/log.db or kafka://host:9092",
    ),
]
SpecOption = Annotated[
    str,
    typer.Option(
        "--spec",
        envvar="CLICKTIDE_SPEC",
        help="Feature spec: a TOML file, or the name of a shipped one",
    ),
]
StreamSettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        help="TOML file of the stream's settings (docs/stream.md), the same for all processes",
    ),
]
StreamChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set-stream",
        metavar="KEY=VALUE",
        help="Change one of them, such as join.join_window_s=60; may be repeated",
    ),
]
IdleSecondsOption = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        min=0.0,
        help="End when all is read and nothing has come for so long [default: run on]",
    ),
]

NiceOption = Annotated[
    int,
    typer.Option(
        "--nice",
        envvar="CLICKTIDE_NICE",
        min=0,
        max=19,
        help="How far it gives way to other processes of this machine, such as a server: 0 not at "
        "all, 19 most",
    ),
]


def give_way(nice: int) -> None:
    """Lower this thread's priority, and that of all threads that it starts.

    Where Linux shares the cores out by session (autogroup), also that of the session, if it is
    this process's own: else niceness would count for nothing beside processes of other sessions.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such thing here
            Path("/proc/self/autogroup").write_text(str(nice), "ascii")


def say(line: str) -> None:
    """Tell people, on standard error."""
    print(line, file=sys.stderr, flush=True)
