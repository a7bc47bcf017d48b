"""The command ``clicktide monitor``: watches calibration and drift of a stream."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from clicktide.interrupts import stop_request
from clicktide.options import (
    LogOption,
    NiceOption,
    StreamChangesOption,
    StreamSettingsOption,
    give_way,
    say,
)
from features.spec_file import load_spec
from monitoring.process import Monitor
from monitoring.settings import load_monitor_settings
from streaming.log import open_log
from streaming.settings import load_stream_settings

__all__ = ["monitor"]


def monitor(
    log: LogOption = "run/log.db",
    spec: Annotated[
        str,
        typer.Option(
            "--spec",
            envvar="CLICKTIDE_SPEC",
            help="Feature spec, whose fields are the slices: a TOML file, or a shipped one's name",
        ),
    ] = "sim",
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", help="Folder of its state, windows and alarms; it goes on from there"
        ),
    ] = Path("run/monitor"),
    slices: Annotated[
        str,
        typer.Option(
            "--slices",
            metavar="A,B",
            help="Fields to slice by instead of the spec's: also hour, weekday, new:ad, any column",
        ),
    ] = "",
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop once all that is in the log is counted")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the final figures as one JSON object")
    ] = False,
    settings: StreamSettingsOption = None,
    changes: StreamChangesOption = None,
    monitor_settings: Annotated[
        Path | None,
        typer.Option(
            "--monitor-settings", help="TOML file with a table [monitor], docs/monitor.md"
        ),
    ] = None,
    monitor_changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set-monitor",
            metavar="KEY=VALUE",
            help="Change one of those, e.g. windows.window_s=300; repeatable",
        ),
    ] = None,
    nice: NiceOption = 10,
) -> None:
    """Watch the calibration of a stream: by window of event time, overall and by slice.

    Reads the topic examples, as a group of its own, from where its state in --dir was saved: kill
    it at any moment and start it again, and every example counts once. Alarms go to the topic
    alarms, to alarms.jsonl, to standard error, and to a webhook if one is set.

    clicktide monitor --log run/log.db --spec sim --slices campaign,site,device
    """
    give_way(nice)
    own = [*(monitor_changes or []), *([f"slices={slices}"] if slices else [])]
    watched = load_monitor_settings(monitor_settings, own)
    shared, known = load_stream_settings(settings, changes or []), load_spec(spec)
    with open_log(log) as events, stop_request() as request:
        events.create_topics(shared.topics())
        with Monitor(
            events, known, shared, watched, folder, now=time.time, report=say, pause=time.sleep
        ) as process:
            process.run(stopping=lambda: request.asked, until_idle=until_idle)
            figures = process.figures()
    if as_json:
        typer.echo(msgspec.json.encode(msgspec.structs.replace(figures, open=[])).decode())
