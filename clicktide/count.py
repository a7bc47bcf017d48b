"""The command ``clicktide count``: keeps the counters in the feature store."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from clicktide.interrupts import stop_request
from clicktide.options import (
    IdleSecondsOption,
    LogOption,
    StreamChangesOption,
    StreamSettingsOption,
)
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.spec_file import load_spec
from streaming.count_process import CountProcess
from streaming.log import open_log
from streaming.settings import load_stream_settings

__all__ = ["count"]


def count(
    redis: Annotated[
        str,
        typer.Option(
            "--redis",
            envvar="CLICKTIDE_REDIS",
            help="The feature store: redis://HOST:PORT, unix:///SOCKET or redis+cluster://HOST:PORT",
        ),
    ],
    log: LogOption = "run/log.db",
    spec: Annotated[
        str,
        typer.Option(
            "--spec",
            envvar="CLICKTIDE_SPEC",
            help="Feature spec with [[counters]]: a TOML file, or the name of a shipped one",
        ),
    ] = "sim",
    settings: StreamSettingsOption = None,
    set_stream: StreamChangesOption = None,
    instance: Annotated[
        str, typer.Option("--instance", help="This process's name, the same after a restart")
    ] = "count-0",
    until_idle: IdleSecondsOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the final counts as one JSON object")
    ] = False,
) -> None:
    """Count views and clicks into the feature store, as soon as they are known.

    Reads the topics impressions and clicks. Whatever kills it or the
    store, started again it goes on: nothing is lost or counted twice.
    While the store is away it waits, and tries again.

    clicktide count --log run/log.db --redis redis://localhost --spec my.toml

    Ctrl-C or SIGTERM ends it between two batches.
    """
    stream = load_stream_settings(settings, set_stream or ())
    counters = StoredCounters(load_spec(spec))
    store = open_counters(redis, counters.plan, counters.name)
    with open_log(log) as opened:
        opened.create_topics(stream.topics())
        process = CountProcess(opened, stream, store, counters, instance, _say)
        try:
            with stop_request() as request:
                process.run(lambda: request.asked, until_idle)
        finally:
            process.close()
    if as_json:
        counts = {"read": process.read, "counted": process.counted}
        typer.echo(msgspec.json.encode(counts).decode())
    _say(f"{instance}: read {process.read:,} records, {process.counted:,} views and clicks")


def _say(line: str) -> None:
    print(f"count: {line}", file=sys.stderr, flush=True)
