"""The command ``clicktide join``: labelled examples of impressions and clicks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.running_stream import running_stream
from clicktide.settings import STREAM
from clicktide.stream_opening import open_stream

if TYPE_CHECKING:
    from streaming.join_process import JoinProcess

__all__ = ["join"]

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
    with running_stream(stream) as at:
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
