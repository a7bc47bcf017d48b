"""The command ``clicktide train``: learn the examples of an event log as they come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

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
from clicktide.show import summary_json
from clicktide.stream_folder import SPEC, STREAM, open_stream
from clicktide.warm import warm_up
from streaming.examples import ExampleReader
from streaming.live_file import LostLiveError
from streaming.log import open_log
from streaming.settings import EXAMPLES
from streaming.sources import Position
from streaming.train_process import Trainer

__all__ = ["train"]


def train(
    folder: DirOption = None,
    log: LogOption = None,
    spec: SpecOption = None,
    live: Annotated[
        Path | None,
        typer.Option(
            "--live",
            help="Keep the weights in this mapped file, where servers on this machine see every "
            "event as soon as it is learned; quickest in /dev/shm [default: DIR/live.weights]",
        ),
    ] = None,
    publish_weights: Annotated[
        bool,
        typer.Option(
            "--publish-weights",
            help="Also publish the weights to the log, for servers on other machines "
            "(`clicktide serve --follow`); publish_every_s says how often",
        ),
    ] = False,
    until_idle: UntilIdleOption = None,
    as_json: JsonOption = False,
    settings: SettingsOption = None,
    changes: SetOption = None,
    nice: NiceOption = 10,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Learn the examples of an event log, each scored before it is learned.

    The model in DIR/model carries its place in the log: kill the trainer at any moment and start it
    again, and it goes on to the same model. Ctrl-C saves and stops; one trainer to a folder.

    clicktide train

    clicktide train --dir ads --until-idle 0 --json
    """
    say = begin_log("train")
    give_way(nice)
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=changes, reads=(STREAM, SPEC)
    )
    known, shared = stream.load_spec(), stream.stream_settings()
    ExampleReader(known.source, [known.source.label]).batches(b"{}", lambda i: ("", i), Position())
    warm_up(known, Console(stderr=True))
    with open_log(stream.log) as events, stop_request() as request:
        if EXAMPLES not in events.topics():
            events.create_topics(shared.topics())
        with Trainer(
            events,
            known,
            shared,
            stream.model,
            now=time.time,
            report=say,
            pause=time.sleep,
            live=live or stream.live,
            publish_weights=publish_weights,
        ) as trainer:
            before, start = trainer.events, time.perf_counter()
            try:
                trainer.run(stopping=lambda: request.asked, until_idle_s=until_idle)
            except LostLiveError as error:  # no fault of the settings: another start mends it
                say(f"train: {error}")
                raise typer.Exit(1) from None
            seconds = time.perf_counter() - start
    if as_json:
        typer.echo(msgspec.json.encode(_summary(trainer, stream.log, before, seconds)).decode())


def _summary(trainer: Trainer, log: str, before: int, seconds: float) -> dict[str, Any]:
    """What ``--json`` prints: as replay's, and where the log stands."""
    replay = trainer.replay
    figures = summary_json(
        replay, log=log, spec=trainer.spec, learned=trainer.events - before, seconds=seconds
    )
    return figures | {
        "corrections": replay.corrections,
        "amendments": replay.amendments,
        "event_time": trainer.event_time,
        "offsets": trainer.offsets,
    }
