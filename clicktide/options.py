"""Options that several commands have in common, and what ``--json`` prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from clicktide.process_log import FORMAT, LEVEL, LogFormat, LogLevel

__all__ = [
    "DirOption",
    "ForceOption",
    "HealthOption",
    "JsonOption",
    "LogFormatOption",
    "LogLevelOption",
    "LogOption",
    "MlflowOption",
    "NiceOption",
    "PageOption",
    "PortOption",
    "RedisOption",
    "RejectsOption",
    "SetOption",
    "SettingsOption",
    "SlicesOption",
    "SpecOption",
    "StrictOption",
    "UntilIdleOption",
    "WorkersOption",
    "print_json",
]


def _set_variable(name: str, value: str | None) -> str | None:
    """Put an option where child and worker processes look for it."""
    if value is not None:
        os.environ[name] = value
    return value


DirOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The stream's folder, the same for all its commands: log, settings, model, weights, "
        "monitor, versions [default: run]",
    ),
]
HealthOption = Annotated[
    str | None,
    typer.Option(
        "--health",
        metavar="[HOST:]PORT",
        help="Tell here over HTTP, at /healthz, whether it works and how far behind it is",
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log",
        envvar="CLICKTIDE_LOG",
        help="Event log: a file, or kafka://HOST:PORT [default: DIR/log.db, or what DIR remembers]",
    ),
]
SpecOption = Annotated[
    str | None,
    typer.Option(
        "--spec",
        envvar="CLICKTIDE_SPEC",
        help="Feature spec: a TOML file, or the name of a shipped one "
        "[default: market, or what DIR remembers]",
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings", help="TOML file of settings (docs/stream.md) [default: DIR/clicktide.toml]"
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting: stream.partitions=4, join.join_window_s=60, serve.workers=4, "
        "monitor.windows.window_s=300, registry.keep_versions=20 (`clicktide settings` lists "
        "them), or one of the spec: learner.kind=single; may be repeated",
    ),
]
UntilIdleOption = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        min=0.0,
        help="End when all is read and nothing has come for so long [default: run on]",
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        envvar="CLICKTIDE_REDIS",
        help="The feature store: redis://HOST:PORT, unix:///SOCKET, redis+cluster:// or "
        "redis+sentinel:// (docs/connections.md) "
        "[default: the one that clicktide up keeps in DIR]",
    ),
]
MlflowOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        envvar="MLFLOW_TRACKING_URI",
        metavar="URL",
        help="MLflow: http://HOST:PORT or sqlite:///FILE [default: DIR/mlflow.db]",
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port", envvar="CLICKTIDE_PORT", help="Serve predictions at this port [default: 8000]"
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Serving processes that share the port [default: 1]"),
]
LogFormatOption = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format",
        envvar=FORMAT,
        callback=lambda value: _set_variable(FORMAT, value),
        help="How it and its children write what they log [default: text]",
    ),
]
LogLevelOption = Annotated[
    LogLevel | None,
    typer.Option(
        "--log-level",
        envvar=LEVEL,
        callback=lambda value: _set_variable(LEVEL, value),
        help="The least level that they write [default: info]",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what exists")]
RejectsOption = Annotated[
    Path | None,
    typer.Option("--rejects", help="Keep every bad row, with its reason, as JSON Lines"),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row")]
SlicesOption = Annotated[
    str, typer.Option("--slices", help="Columns to slice the report by, such as campaign,site")
]
PageOption = Annotated[
    Path, typer.Option("--out", help="The page; the same as JSON is written beside it")
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


def print_json(value: Any, *, err: bool = False) -> None:
    """Print a result as one line of JSON; ``err``: on standard error."""
    typer.echo(msgspec.json.encode(value).decode(), err=err)
