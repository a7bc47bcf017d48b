"""The command ``clicktide up``: a whole stream on one machine, kept running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from redis import Redis
from redis.exceptions import RedisError

from clicktide.listening import listen
from clicktide.processes import Running, locked, read_running, write_running
from clicktide.spawn import show_on, spawn
from clicktide.stream_file import keep_settings, settings_for
from clicktide.supervise import Child, Supervisor
from clicktide.up_stream import Serving, Stream, Watching, announce, public_url
from clicktide.valkey import valkey_command
from features.errors import ClicktideError
from features.spec_file import load_spec
from streaming.log import open_log

__all__ = ["Stream", "children_of", "run_children", "up"]

_LAST_ANSWERS_S = 20.0  # the workers of a dead `serve` go on for 8 s, a request takes 10 at most


def up(
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", help="Everything the stream keeps: log, model, settings, messages of processes"
        ),
    ] = Path("run"),
    spec: Annotated[
        str,
        typer.Option(
            "--spec",
            envvar="CLICKTIDE_SPEC",
            help="What is learned: a TOML file, or the name of a shipped feature spec",
        ),
    ] = "market",
    kafka: Annotated[
        str | None,
        typer.Option(
            "--kafka",
            metavar="HOST:PORT[,..]",
            help="Use this Kafka as the event log, not a file in --dir",
        ),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            "--redis",
            metavar="URL",
            envvar="CLICKTIDE_REDIS",
            help="Use this Redis or Valkey as the feature store, not one of our own in --dir",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="Stream settings (TOML, docs/stream.md); default: those of the last time here",
        ),
    ] = None,
    set_stream: Annotated[
        list[str] | None,
        typer.Option(
            "--set-stream",
            metavar="KEY=VALUE",
            help="Change one of them, e.g. partitions=4, join.join_window_s=60; may be repeated",
        ),
    ] = None,
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
    set_monitor: Annotated[
        list[str] | None,
        typer.Option(
            "--set-monitor",
            metavar="KEY=VALUE",
            help="Change how it is watched, docs/monitor.md: windows.window_s=300; repeatable; "
            "default: those of the last time here",
        ),
    ] = None,
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
) -> None:
    """Run a whole stream, its log, feature store and processes, until Ctrl-C.

    Click probabilities are served at http://localhost:8000/ meanwhile,
    drift reports at /reports/, and what happens at /dashboard.

    A process that dies is started again and goes on from its last
    commit: no event is lost or counted twice. All that is kept is in
    --dir; the same command goes on with it another day.

    clicktide up

    clicktide up --dir ads --spec my.toml --set-stream partitions=2

    clicktide up --kafka localhost:9092 --redis redis://localhost:6379
    """
    with locked(folder):
        fix = "another --port, or --no-serve"
        serving = None if no_serve else Serving(listen("127.0.0.1", port, fix), workers)
        before = read_running(folder)
        changes = tuple(set_monitor or (before.monitor if before else ()))
        watching = Watching(not no_monitor, not no_register, mlflow, changes)
        stream = _prepare(folder, spec, kafka, redis, settings, set_stream or (), serving)
        stream = replace(stream, watching=watching)
        show = show_on(sys.stderr)
        with _feature_store(stream) as (store, url):
            announce(stream, url, show)
            run_children([*store, *children_of(stream, url)], stream, url, show)


def _prepare(
    folder: Path,
    spec: str,
    kafka: str | None,
    redis: str | None,
    settings: Path | None,
    overrides: Sequence[str],
    serving: Serving | None,
) -> Stream:
    """Find what is wrong now, not in a child; then make topics and settings."""
    log = str(folder / "log.db") if kafka is None else _kafka_url(kafka)
    _check_same_log(folder, log)
    counters = bool(getattr(load_spec(spec), "counters", ())) and _has_command("count")
    wanted = settings_for(folder, settings, overrides)
    with open_log(log) as opened:
        opened.create_topics(wanted.topics())
    return Stream(folder, log, spec, keep_settings(folder, wanted), redis, counters, serving)


def _has_command(name: str) -> bool:
    from clicktide.cli import app  # which imports this module

    return any(getattr(of.callback, "__name__", "") == name for of in app.registered_commands)


def _kafka_url(servers: str) -> str:
    """The log's URL.

    Examples
    --------
    >>> _kafka_url("localhost:9092"), _kafka_url("kafka://a:1,b:2?security=ssl")
    ('kafka://localhost:9092', 'kafka://a:1,b:2?security=ssl')
    """
    return servers if servers.startswith("kafka://") else f"kafka://{servers}"


def _check_same_log(folder: Path, log: str) -> None:
    """The model in a folder knows positions of one log: in another they mean nothing."""
    before = read_running(folder)
    if before is not None and before.log.startswith("kafka://") != log.startswith("kafka://"):
        raise ClicktideError(
            f"{folder}: this stream runs on {before.log}, not {log}. "
            "Fix: the same log as before, or another --dir for another stream"
        )


@contextmanager
def _feature_store(stream: Stream) -> Iterator[tuple[list[Child], str]]:
    """A Valkey server of our own, unless one was named; and its URL."""
    if stream.redis is not None:
        yield [], stream.redis
        return
    with valkey_command(stream.folder) as (url, command):
        yield [Child("valkey", [*command, "--loglevel", "warning"])], url


def children_of(stream: Stream, redis_url: str) -> list[Child]:
    """The processes of a stream, in the order of the flow."""
    shared = ["--log", stream.log, "--settings", str(stream.settings)]
    of_spec = ["--spec", stream.spec]
    children = [_child("join", [*shared, "--instance", "join-0"])]
    if stream.counters:
        count = _child("count", [*shared, *of_spec], {"CLICKTIDE_REDIS": redis_url})
        children.append(replace(count, needs=lambda: _answers(redis_url)))
    model, live = str(stream.folder / "model"), str(stream.folder / "live.weights")
    children.append(_child("train", [*shared, *of_spec, "--dir", model, "--live", live]))
    if stream.watching.monitor:
        where = ["--dir", str(stream.folder / "monitor")]
        where += [word for one in stream.watching.changes for word in ("--set-monitor", one)]
        children.append(_child("monitor", [*shared, *of_spec, *where]))
    if stream.watching.register:
        url = stream.watching.mlflow
        to = {} if url is None else {"MLFLOW_TRACKING_URI": url}
        where = ["--run", str(stream.folder), "--model", model]
        children.append(_child("register", ["--log", stream.log, *where], to))
    if stream.serving is not None:
        children.append(_serve(stream, stream.serving, live, redis_url))
    return children


def _serve(stream: Stream, serving: Serving, live: str, redis_url: str) -> Child:
    fd = serving.listening.fileno()
    where = ["--fd", str(fd), "--port", str(serving.port), "--workers", str(serving.workers)]
    of = ["--log", stream.log, "--spec", stream.spec, "--live", live]
    of += ["--stream", str(stream.settings), "--trainer", str(stream.folder / "model")]
    of += ["--served", str(stream.folder / "served"), "--run", str(stream.folder)]
    store = {"CLICKTIDE_REDIS": redis_url} if stream.counters else {}
    child = _child("serve", [*of, *where], store)
    return replace(child, fds=(fd,), lingers_s=_LAST_ANSWERS_S)


def _answers(redis_url: str) -> bool:
    """Whether a server is there and has loaded its data."""
    try:
        with Redis.from_url(redis_url, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _child(name: str, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
    return Child(name, [sys.executable, "-m", "clicktide", name, *arguments], env or {})


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
            Running(
                os.getpid(), stream.log, stream.spec, public_url(redis_url), state,
                stream.watching.changes,
            ),
        )  # fmt: skip

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
