"""The command ``clicktide train``: examples learned as they come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.process_resources import give_way
from clicktide.running_stream import running_stream
from clicktide.settings import SPEC, STREAM
from clicktide.stream_opening import open_stream
from features.spec import Spec

__all__ = ["LiveOption", "PublishWeightsOption", "train"]

LiveOption = Annotated[
    Path | None,
    typer.Option(
        "--live",
        help="Keep the weights in this mapped file, where servers on this machine see every "
        "event as soon as it is learned; quickest in /dev/shm [default: DIR/live.weights]",
    ),
]
PublishWeightsOption = Annotated[
    bool,
    typer.Option(
        "--publish-weights",
        help="Also publish the weights to the log, for servers on other machines "
        "(`clicktide serve --follow`); train.publish_every_s says how often",
    ),
]


def train(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    spec: options.SpecOption = None,
    live: LiveOption = None,
    publish_weights: PublishWeightsOption = False,
    until_idle: options.UntilIdleOption = None,
    as_json: options.JsonOption = False,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    nice: options.NiceOption = 10,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Learn the early examples of an event log, each scored before it is learned.

    The model in DIR/model carries its place in the log: kill the trainer at any moment and start it
    again, and it goes on to the same model. Ctrl-C saves and stops; one trainer to a folder.

    clicktide train

    clicktide train --dir ads --until-idle 0 --json
    """
    from rich.console import Console

    from clicktide.kernels import warm_up
    from streaming.live_file import LostLiveError
    from streaming.train_process import Trainer

    say = begin_log("train")
    give_way(nice)
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=changes, reads=(*STREAM, SPEC)
    )
    known = stream.load_spec()
    _check_reads_examples(known)
    warm_up(known, Console(stderr=True))
    with (
        running_stream(stream) as at,
        Trainer(
            at.log, known, at.settings, stream.model, now=time.time, report=say,
            pause=time.sleep, live=live or stream.live, publish_weights=publish_weights,
        ) as trainer,
    ):  # fmt: skip
        before, start = trainer.events, time.perf_counter()
        try:
            trainer.run(stopping=at.stopping, until_idle_s=until_idle)
        except LostLiveError as error:  # no fault of the settings: another start mends it
            say(f"train: {error}")
            raise typer.Exit(1) from None
        seconds = time.perf_counter() - start
    if as_json:
        options.print_json(_train_summary(trainer, stream.log, before, seconds))


def _check_reads_examples(spec: Spec) -> None:
    """Refuse a spec by which the examples of a stream cannot be read."""
    from streaming.examples import ExampleReader
    from streaming.sources import Position

    ExampleReader(spec.source, [spec.source.label]).batches(b"{}", lambda i: ("", i), Position())


def _train_summary(trainer: Any, log: str, before: int, seconds: float) -> dict[str, Any]:
    """What ``--json`` prints: as replay's, and where the log stands."""
    from clicktide.run_summary import summary_json

    replay, learned = trainer.replay, trainer.events - before
    figures = summary_json(replay, log=log, spec=trainer.spec, learned=learned, seconds=seconds)
    return figures | {
        "corrections": replay.corrections,
        "amendments": replay.amendments,
        "event_time": trainer.event_time,
        "offsets": trainer.offsets,
    }
