"""The command ``clicktide count``: views and clicks counted into the feature store."""

from __future__ import annotations

from typing import Annotated

import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.running_stream import running_stream
from clicktide.settings import STREAM, given_changes
from clicktide.stream_opening import open_stream
from features.errors import ClicktideError

__all__ = ["count"]


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
    with running_stream(stream) as at:
        process = CountProcess(at.log, at.settings, store, counters, instance, say)
        try:
            process.run(at.stopping, until_idle)
        finally:
            process.close()
    if as_json:
        options.print_json({"read": process.read, "counted": process.counted})
    say(f"{instance}: read {process.read:,} records, {process.counted:,} views and clicks")
