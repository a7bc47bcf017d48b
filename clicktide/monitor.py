"""The command ``clicktide monitor``: watches calibration and drift of a stream."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from clicktide.interrupts import stop_request
from clicktide.options import (
    DirOption,
    JsonOption,
    LogFormatOption,
    LogLevelOption,
    LogOption,
    NiceOption,
    SetOption,
    SettingsOption,
    SpecOption,
    UntilIdleOption,
    give_way,
)
from clicktide.process_log import begin_log
from clicktide.stream_folder import STREAM, open_stream
from monitoring.watch.process import Monitor
from streaming.log import open_log

__all__ = ["monitor"]


def monitor(
    folder: DirOption = None,
    log: LogOption = None,
    spec: SpecOption = None,
    slices: Annotated[
        str,
        typer.Option(
            "--slices",
            metavar="A,B",
            help="Fields to slice by instead of the spec's: also hour, weekday, new:ad, any column",
        ),
    ] = "",
    until_idle: UntilIdleOption = None,
    as_json: JsonOption = False,
    settings: SettingsOption = None,
    changes: SetOption = None,
    nice: NiceOption = 10,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Watch the calibration of a stream: by window of event time, overall and by slice.

    Reads the topic examples, as a group of its own, from where its state in DIR/monitor was saved:
    kill it at any moment and start it again, and every example counts once. Alarms go to the topic
    alarms, to alarms.jsonl, to standard error, and to a webhook if one is set.

    clicktide monitor --slices campaign,site,device --set monitor.windows.window_s=300
    """
    say = begin_log("monitor")
    give_way(nice)
    reads = (STREAM, "monitor")
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=changes, reads=reads
    )
    watched = stream.monitor_settings([f"slices={slices}"] if slices else [])
    shared, known = stream.stream_settings(), stream.load_spec()
    with open_log(stream.log) as events, stop_request() as request:
        events.create_topics(shared.topics())
        with Monitor(
            events,
            known,
            shared,
            watched,
            stream.monitor,
            now=time.time,
            report=say,
            pause=time.sleep,
        ) as process:
            process.run(stopping=lambda: request.asked, until_idle_s=until_idle)
            figures = process.figures()
    if as_json:
        typer.echo(msgspec.json.encode(msgspec.structs.replace(figures, open=[])).decode())
