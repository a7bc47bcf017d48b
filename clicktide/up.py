"""The command ``clicktide up``: a whole stream on one machine, kept running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer

from clicktide.compile_kernels import compile_once
from clicktide.listening import listen
from clicktide.options import (
    DirOption,
    LogFormatOption,
    LogLevelOption,
    LogOption,
    RedisOption,
    SetOption,
    SettingsOption,
    SpecOption,
)
from clicktide.processes import Running, locked, write_running
from clicktide.spawn import own_command, show_on, spawn
from clicktide.stream_folder import DEFAULT_FOLDER, STREAM, StreamFolder, open_stream
from clicktide.supervise import Child, Supervisor
from clicktide.up_stream import Serving, Stream, Watching, announce
from clicktide.valkey import valkey_command
from features.public_url import public_url
from streaming.log import open_log

__all__ = ["Stream", "children_of", "run_children", "up"]

_SECTIONS = (STREAM, "monitor", "serve", "register")


def up(
    folder: DirOption = None,
    spec: SpecOption = None,
    log: LogOption = None,
    redis: RedisOption = None,
    settings: SettingsOption = None,
    changes: SetOption = None,
    port: Annotated[
        int,
        typer.Option(
            "--port", envvar="CLICKTIDE_PORT", help="Serve predictions at this port of this machine"
        ),
    ] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Serving processes that share the port")
    ] = 1,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Only learn, do not serve")] = False,
    no_monitor: Annotated[
        bool, typer.Option("--no-monitor", help="Do not watch calibration and drift")
    ] = False,
    no_register: Annotated[
        bool, typer.Option("--no-register", help="Make no model versions in MLflow")
    ] = False,
    mlflow: Annotated[
        str | None,
        typer.Option(
            "--mlflow",
            metavar="URL",
            envvar="MLFLOW_TRACKING_URI",
            help="Model versions go to this MLflow, not to a file in --dir",
        ),
    ] = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Run a whole stream, its log, feature store and processes, until Ctrl-C.

    Click probabilities are served at http://localhost:8000/ meanwhile,
    drift reports at /reports/, and what happens at /dashboard.

    A process that dies is started again and goes on from its last
    commit: no event is lost or counted twice. All that is kept is in
    --dir; the same command goes on with it another day.

    clicktide up

    clicktide up --dir ads --spec my.toml --set partitions=2

    clicktide up --log kafka://localhost:9092 --redis redis://localhost:6379
    """
    folder = folder or DEFAULT_FOLDER
    show = show_on(sys.stderr)
    compile_once(lambda line: show("", line))
    with locked(folder):
        fix = "another --port, or --no-serve"
        serving = None if no_serve else Serving(listen("127.0.0.1", port, fix), workers)
        opened = open_stream(
            folder, log=log, spec=spec, settings=settings, changes=changes, reads=_SECTIONS
        )
        counters = _prepare(opened)
        watching = Watching(not no_monitor, not no_register, mlflow)
        stream = Stream(opened, redis, counters, serving, watching)
        with _feature_store(stream) as (store, url):
            announce(stream, url, show)
            run_children([*store, *children_of(stream, url)], stream, url, show)


def _prepare(stream: StreamFolder) -> bool:
    """Find what is wrong now, not in a child; make topics; whether the spec has counters."""
    counters = bool(stream.load_spec().counters)
    stream.monitor_settings()
    stream.serve_settings()
    stream.registry_settings()
    with open_log(stream.log) as log:
        log.create_topics(stream.stream_settings().topics())
    stream.remember()
    return counters


@contextmanager
def _feature_store(stream: Stream) -> Iterator[tuple[list[Child], str]]:
    """A Valkey server of our own, unless one was named; and its URL."""
    if stream.redis is not None:
        from features.counters.redis_clients import store_client

        store_client(stream.redis).close()  # a wrong URL is told now
        yield [], stream.redis
        return
    with valkey_command(stream.folder) as (url, command):
        yield [Child("valkey", [*command, "--loglevel", "warning"])], url


def children_of(stream: Stream, redis_url: str) -> list[Child]:
    """The processes of a stream, in the order of the flow; the folder tells them the rest."""
    store = {"CLICKTIDE_REDIS": redis_url}
    children = [_child(stream, "join")]
    if stream.counters:
        count = _child(stream, "count", env=store)
        children.append(replace(count, needs=lambda: _answers(redis_url)))
    children.append(_child(stream, "train"))
    if stream.watching.monitor:
        children.append(_child(stream, "monitor"))
    if stream.watching.register:
        url = stream.watching.mlflow
        to = {} if url is None else {"MLFLOW_TRACKING_URI": url}
        children.append(_child(stream, "register", env=to))
    if stream.serving is not None:
        children.append(_serve(stream, stream.serving, store if stream.counters else {}))
    return children


def _serve(stream: Stream, serving: Serving, store: Mapping[str, str]) -> Child:
    fd = serving.listening.fileno()
    where = ["--fd", str(fd), "--port", str(serving.port), "--workers", str(serving.workers)]
    return replace(_child(stream, "serve", *where, env=store), fds=(fd,))


def _answers(redis_url: str) -> bool:
    """Whether a server is there and has loaded its data; a fault that stays is for the child."""
    from features.counters.redis_store import open_counters  # slow, for streams with counters only
    from features.counters.store_errors import StoreError

    try:
        store = open_counters(redis_url, {}, "up", timeout_s=1.0)
        with closing(store):
            store.ping()
    except StoreError as error:
        return not error.passing
    return True


def _child(stream: Stream, name: str, *more: str, env: Mapping[str, str] | None = None) -> Child:
    return Child(name, own_command(name, "--dir", str(stream.folder), *more), env or {})


def run_children(
    children: Sequence[Child], stream: Stream, redis_url: str, show: Callable[[str, str], None]
) -> None:
    """Keep children running until SIGINT or SIGTERM, then stop them; none is left behind."""
    supervisor = Supervisor(
        children,
        spawn=spawn(stream.folder / "logs", show),
        clock=time.monotonic,
        wait=time.sleep,
        say=lambda name, line: show("", f"{name} {line}"),
    )

    def note() -> None:
        state = supervisor.state()
        write_running(
            stream.folder,
            Running(os.getpid(), stream.log, stream.spec, public_url(redis_url), state),
        )

    with _signals() as asked:
        try:
            supervisor.run(lambda: asked() > 0, note)
        finally:
            show("", "stopping; a second Ctrl-C kills")
            if stream.serving is not None:  # who asks from here on is refused, and need not wait
                stream.serving.listening.close()
            supervisor.drain(lambda: asked() > 1, last=("valkey",))
            note()
    show("", "stopped; the same command goes on from here")


@contextmanager
def _signals() -> Iterator[Callable[[], int]]:
    """How often SIGINT, SIGTERM or SIGHUP has come."""
    count = 0

    def more(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, more) for number in numbers}
    try:
        yield lambda: count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
