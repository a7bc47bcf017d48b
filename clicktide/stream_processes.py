"""The processes of a stream: ``clicktide join``, ``count``, ``train`` and ``monitor``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.process_resources import give_way
from clicktide.settings import SPEC, STREAM, given_changes
from clicktide.stream_opening import open_stream, running_stream
from features.errors import ClicktideError

if TYPE_CHECKING:
    from features.spec import Spec
    from streaming.join_process import JoinProcess

__all__ = ["count", "join", "monitor", "train"]

_STATUS_EVERY_S = 3.0
Say = Callable[[str], None]


InstanceOption = Annotated[
    str,
    typer.Option(
        "--instance",
        help="This joiner's name: the same after a restart, another one for each joiner that "
        "runs at once",
    ),
]


def join(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    instance: InstanceOption = "join-0",
    until_idle: options.UntilIdleOption = None,
    as_json: options.JsonOption = False,
    health: options.HealthOption = None,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Join impressions and clicks into labelled examples, for as long as they come.

    Reads the topics impressions and clicks, writes early_examples (for the
    trainer, 30 s after an impression), examples (for who judges) and
    dead_letters. An example is labelled when its join window has
    passed in event time: clicked or not. A click after that makes a
    correction. Whatever kills it, started again it goes on where its
    last transaction ended: nothing is lost or given out twice.

    clicktide join

    clicktide join --dir ads --instance join-1

    Ctrl-C or SIGTERM ends it between two batches.
    """
    from streaming.join_process import JoinProcess

    say = begin_log("join")
    stream = open_stream(
        folder, log=log, settings=settings, changes=changes, reads=STREAM, needs_spec=False
    )
    with running_stream(stream, "join", health) as at:
        process = JoinProcess(at.log, at.settings, instance, say)
        windows = at.settings.join
        early = f", early labels after {windows.label_after_s:g} s" * windows.has_early_labels
        say(f"{instance}: join window {windows.join_window_s:g} s{early}")
        status = _join_status(process, say) if sys.stderr.isatty() else lambda: None
        try:
            process.run(lambda: status() or at.stopping(), until_idle)
            counts = {**process.counts(), "pending": process.pending()}
        finally:
            process.close()
    if as_json:
        options.print_json({"read": process.read, **dict(sorted(counts.items()))})
        return
    listed = ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items()))
    say(f"{instance}: read {process.read:,} records; since the group began: {listed}")


def _join_status(process: JoinProcess, say: Say) -> Callable[[], None]:
    """A function that logs, each few seconds, how far the joiner is."""
    last, read = time.monotonic(), process.read

    def show() -> None:
        nonlocal last, read
        now = time.monotonic()
        if now - last < _STATUS_EVERY_S:
            return
        rate = (process.read - read) / (now - last)
        last, read = now, process.read
        examples = process.counts()["examples"]
        say(f"{rate:,.0f} events/s, {examples:,} examples, {process.pending():,} pending")

    return show


def count(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    spec: options.SpecOption = None,
    redis: options.RedisOption = None,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    instance: Annotated[
        str, typer.Option("--instance", help="This process's name, the same after a restart")
    ] = "count-0",
    until_idle: options.UntilIdleOption = None,
    as_json: options.JsonOption = False,
    health: options.HealthOption = None,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Count views and clicks into the feature store, as soon as they are known.

    Reads the topics impressions and clicks. Whatever kills it or the
    store, started again it goes on: nothing is lost or counted twice.
    While the store is away it waits, and tries again.

    clicktide count --redis redis://localhost

    Ctrl-C or SIGTERM ends it between two batches.
    """
    from features.counters.redis_store import open_counters
    from features.counters.stored import StoredCounters
    from streaming.count_process import CountProcess

    say = begin_log("count")
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, 
        changes=[*(changes or ()), *given_changes("stream", redis=redis)],
        reads=STREAM,
    )  # fmt: skip
    url = stream.store_url()
    if url is None:
        raise ClicktideError("count: no feature store. Fix: --redis URL, or clicktide up keeps one")
    counters = StoredCounters(stream.load_spec())
    patience_s = stream.stream_settings().count.store_timeout_s
    store = open_counters(url, counters.plan, counters.name, timeout_s=patience_s)
    with running_stream(stream, "count", health) as at:
        process = CountProcess(at.log, at.settings, store, counters, instance, say)
        try:
            process.run(at.stopping, until_idle)
        finally:
            process.close()
    if as_json:
        options.print_json({"read": process.read, "counted": process.counted})
    say(f"{instance}: read {process.read:,} records, {process.counted:,} views and clicks")


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


StandbyOption = Annotated[
    bool,
    typer.Option(
        "--standby",
        help="Where another trainer works on DIR: wait, ready, and take over when it ends",
    ),
]


def train(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    spec: options.SpecOption = None,
    live: LiveOption = None,
    publish_weights: PublishWeightsOption = False,
    standby: StandbyOption = False,
    until_idle: options.UntilIdleOption = None,
    as_json: options.JsonOption = False,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    nice: options.NiceOption = 10,
    health: options.HealthOption = None,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Learn the early examples of an event log, each scored before it is learned.

    The model in DIR/model carries its place in the log: kill the trainer at any moment and start it
    again, and it goes on to the same model. Ctrl-C saves and stops; one trainer to a folder, others
    with --standby, also on another machine that shares the folder.

    clicktide train

    clicktide train --dir ads --until-idle 0 --json
    """
    from rich.console import Console

    from clicktide.kernels import warm_up
    from streaming.train_process import LostLiveError, Trainer

    say = begin_log("train")
    give_way(nice)
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=changes, reads=(*STREAM, SPEC)
    )
    known = stream.load_spec()
    _check_reads_examples(known)
    warm_up(known, Console(stderr=True))
    with (
        running_stream(stream, "train", health) as at,
        Trainer(
            at.log, known, at.settings, stream.model, now=time.time, report=say,
            pause=time.sleep, live=live or stream.live, publish_weights=publish_weights,
            standby=_standing_by(stream.model, at.stopping, say) if standby else None,
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


def _standing_by(folder: Path, stopping: Callable[[], bool], say: Say) -> Callable[[], None]:
    """What a trainer does while another one works: say so once, and end when it is asked to."""
    told = False

    def wait() -> None:
        nonlocal told
        if not told:
            say(f"train: standing by: another trainer works on {folder}")
        told = True
        if stopping():
            say("train: stopped")
            raise typer.Exit(0)

    return wait


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
    health: options.HealthOption = None,
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
        running_stream(stream, "monitor", health) as at,
        Monitor(
            at.log, known, at.settings, watched, stream.monitor, now=time.time, report=say,
            pause=time.sleep,
        ) as process,
    ):  # fmt: skip
        process.run(stopping=at.stopping, until_idle_s=until_idle)
        figures = process.figures()
    if as_json:
        options.print_json(msgspec.structs.replace(figures, open=[]))
