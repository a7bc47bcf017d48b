"""The command ``clicktide count``: keeps the counters in the feature store."""

from __future__ import annotations

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
    RedisOption,
    SetOption,
    SettingsOption,
    SpecOption,
    UntilIdleOption,
)
from clicktide.process_log import begin_log
from clicktide.stream_folder import STREAM, open_stream
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.errors import ClicktideError
from streaming.count_process import CountProcess
from streaming.log import open_log

__all__ = ["count"]


def count(
    folder: DirOption = None,
    log: LogOption = None,
    spec: SpecOption = None,
    redis: RedisOption = None,
    settings: SettingsOption = None,
    changes: SetOption = None,
    instance: Annotated[
        str, typer.Option("--instance", help="This process's name, the same after a restart")
    ] = "count-0",
    until_idle: UntilIdleOption = None,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Count views and clicks into the feature store, as soon as they are known.

    Reads the topics impressions and clicks. Whatever kills it or the
    store, started again it goes on: nothing is lost or counted twice.
    While the store is away it waits, and tries again.

    clicktide count --redis redis://localhost

    Ctrl-C or SIGTERM ends it between two batches.
    """
    say = begin_log("count")
    where = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=changes, reads=[STREAM]
    )
    stream, url = where.stream_settings(), where.store_url(redis)
    if url is None:
        raise ClicktideError("count: no feature store. Fix: --redis URL, or clicktide up keeps one")
    counters = StoredCounters(where.load_spec())
    store = open_counters(url, counters.plan, counters.name)
    with open_log(where.log) as opened:
        opened.create_topics(stream.topics())
        process = CountProcess(opened, stream, store, counters, instance, say)
        try:
            with stop_request() as request:
                process.run(lambda: request.asked, until_idle)
        finally:
            process.close()
    if as_json:
        counts = {"read": process.read, "counted": process.counted}
        typer.echo(msgspec.json.encode(counts).decode())
    say(f"{instance}: read {process.read:,} records, {process.counted:,} views and clicks")
