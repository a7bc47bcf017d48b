"""The command ``clicktide join``: labels impressions as their join windows close."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
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
    SetOption,
    SettingsOption,
    UntilIdleOption,
)
from clicktide.process_log import begin_log
from clicktide.stream_folder import STREAM, open_stream
from streaming.join_process import JoinProcess
from streaming.log import open_log
from streaming.settings import StreamSettings

__all__ = ["join"]

_STATUS_EVERY_S = 3.0
Say = Callable[[str], None]


def join(
    folder: DirOption = None,
    log: LogOption = None,
    settings: SettingsOption = None,
    changes: SetOption = None,
    instance: Annotated[
        str,
        typer.Option(
            "--instance",
            help="This joiner's name: the same after a restart, another one for each joiner that "
            "runs at once",
        ),
    ] = "join-0",
    until_idle: UntilIdleOption = None,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Join impressions and clicks into labelled examples, for as long as they come.

    Reads the topics impressions and clicks, writes examples and
    dead_letters. An impression is labelled when its join window has
    passed in event time: clicked or not. A click after that makes a
    correction. Whatever kills it, started again it goes on where its
    last transaction ended: nothing is lost or given out twice.

    clicktide join

    clicktide join --dir ads --instance join-1

    Ctrl-C or SIGTERM ends it between two batches.
    """
    say = begin_log("join")
    where = open_stream(
        folder, log=log, settings=settings, changes=changes, reads=[STREAM], needs_spec=False
    )
    stream = where.stream_settings()
    with open_log(where.log) as opened:
        opened.create_topics(stream.topics())
        process = JoinProcess(opened, stream, instance, say)
        try:
            _run(process, stream, until_idle, say)
            _print_counts(process, as_json, say)
        finally:
            process.close()


def _run(process: JoinProcess, stream: StreamSettings, until_idle: float | None, say: Say) -> None:
    say(f"{process.instance}: join window {stream.join.join_window_s:g} s")
    with stop_request() as request:
        status = _status(process, say) if sys.stderr.isatty() else lambda: None

        def stopped() -> bool:
            status()
            return request.asked

        process.run(stopped, until_idle)


def _status(process: JoinProcess, say: Say) -> Callable[[], None]:
    """A function that says, each few seconds, how it goes."""
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


def _print_counts(process: JoinProcess, as_json: bool, say: Say) -> None:
    counts = {**process.counts(), "pending": process.pending()}
    if as_json:
        typer.echo(msgspec.json.encode({"read": process.read, **counts}, order="sorted").decode())
        return
    said = ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items()))
    say(f"{process.instance}: read {process.read:,} records; since the group began: {said}")
