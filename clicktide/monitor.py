"""The command ``clicktide monitor``: calibration and drift watched."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.process_resources import give_way
from clicktide.running_stream import running_stream
from clicktide.settings import STREAM, given_changes
from clicktide.stream_opening import open_stream

__all__ = ["monitor"]


def monitor(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    spec: options.SpecOption = None,
    slices: Annotated[
        str,
        typer.Option(
            "--slices",
            metavar="A,B",
            help="Fields to slice by instead of the spec's: also hour, weekday, new:ad, any column",
        ),
    ] = "",
    until_idle: options.UntilIdleOption = None,
    as_json: options.JsonOption = False,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    nice: options.NiceOption = 10,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Watch the calibration of a stream: by window of event time, overall and by slice.

    Reads the topic examples, as a group of its own, from where its state in DIR/monitor was saved:
    kill it at any moment and start it again, and every example counts once. Alarms go to the topic
    alarms, to alarms.jsonl, to standard error, and to a webhook if one is set.

    clicktide monitor --slices campaign,site,device --set monitor.windows.window_s=300
    """
    from monitoring.watch.process import Monitor

    say = begin_log("monitor")
    give_way(nice)
    given = [*(changes or ()), *given_changes("monitor", slices=slices or None)]
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=given, reads=(*STREAM, "monitor")
    )
    watched, known = stream.monitor_settings(), stream.load_spec()
    with (
        running_stream(stream) as at,
        Monitor(
            at.log, known, at.settings, watched, stream.monitor, now=time.time, report=say,
            pause=time.sleep,
        ) as process,
    ):  # fmt: skip
        process.run(stopping=at.stopping, until_idle_s=until_idle)
        figures = process.figures()
    if as_json:
        options.print_json(msgspec.structs.replace(figures, open=[]))
