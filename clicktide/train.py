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
    LogOption,
    NiceOption,
    SpecOption,
    StreamChangesOption,
    StreamSettingsOption,
    give_way,
    say,
)
from clicktide.show import summary_json
from clicktide.warm import warm_up
from features.spec_file import load_spec
from streaming.examples import ExampleReader
from streaming.live_file import LostLiveError
from streaming.log import open_log
from streaming.settings import EXAMPLES, load_stream_settings
from streaming.sources import Position
from streaming.train_process import Trainer

__all__ = ["train"]


def train(
    log: LogOption = "run/log.db",
    spec: SpecOption = "sim",
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", help="Folder of the model's snapshot; a trainer goes on from what is there"
        ),
    ] = Path("run/model"),
    live: Annotated[
        Path | None,
        typer.Option(
            "--live",
            help="Also keep the weights in this mapped file, where a server on this machine sees "
            "every event as soon as it is learned; best in /dev/shm",
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
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop once all that is in the log is learned")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the final figures as one JSON object")
    ] = False,
    settings: StreamSettingsOption = None,
    changes: StreamChangesOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the spec for this run"),
    ] = None,
    nice: NiceOption = 10,
) -> None:
    """Learn the examples of an event log, each scored before it is learned.

    The model in --dir carries its place in the log: kill the trainer at any moment and start it
    again, and it goes on to the same model. Ctrl-C saves and stops; one trainer to a folder.

    clicktide train --log run/log.db --spec sim --dir run/model --live /dev/shm/live.weights
    clicktide train --until-idle --json
    """
    give_way(nice)
    known = load_spec(spec, overrides or [])
    shared = load_stream_settings(settings, changes or [])
    ExampleReader(known.source, [known.source.label]).batches(b"{}", lambda i: ("", i), Position())
    warm_up(known, Console(stderr=True))
    with open_log(log) as events, stop_request() as request:
        if EXAMPLES not in events.topics():
            events.create_topics(shared.topics())
        with Trainer(
            events,
            known,
            shared,
            folder,
            now=time.time,
            report=say,
            pause=time.sleep,
            live=live,
            publish_weights=publish_weights,
        ) as trainer:
            before, start = trainer.events, time.perf_counter()
            try:
                trainer.run(stopping=lambda: request.asked, until_idle=until_idle)
            except LostLiveError as error:  # no fault of the settings: another start mends it
                say(f"train: {error}")
                raise typer.Exit(1) from None
            seconds = time.perf_counter() - start
    if as_json:
        typer.echo(msgspec.json.encode(_summary(trainer, log, before, seconds)).decode())


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
