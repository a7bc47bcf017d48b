"""The command ``clicktide up``: a whole stream on one machine, kept running."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Annotated

import typer

from clicktide import options
from clicktide.child_processes import (
    Running,
    clicktide_command,
    lock_folder,
    show_on,
    spawn,
    write_running,
)
from clicktide.kernels import compile_once
from clicktide.serve import check_access, listen, server_url
from clicktide.settings import given_changes
from clicktide.stream_folder import StreamFolder
from clicktide.stream_opening import DEFAULT_FOLDER, open_stream
from clicktide.supervisor import Child, Supervisor
from clicktide.valkey import valkey_command
from features.public_url import public_url
from serving.bodies import EXAMPLE
from streaming.log import open_log
from streaming.settings_file import SECTIONS
from streaming.signals import signal_handler

__all__ = ["Stream", "announce", "children_of", "run_children", "up"]

_PORT_TAKEN = "another --port, or --no-serve"


NoServeOption = Annotated[bool, typer.Option("--no-serve", help="Only learn, do not serve")]
NoMonitorOption = Annotated[
    bool, typer.Option("--no-monitor", help="Do not watch calibration and drift")
]
NoRegisterOption = Annotated[
    bool, typer.Option("--no-register", help="Make no model versions in MLflow")
]


def up(
    folder: options.DirOption = None,
    spec: options.SpecOption = None,
    log: options.LogOption = None,
    redis: options.RedisOption = None,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    port: options.PortOption = None,
    workers: options.WorkersOption = None,
    no_serve: NoServeOption = False,
    no_monitor: NoMonitorOption = False,
    no_register: NoRegisterOption = False,
    mlflow: options.MlflowOption = None,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Run a whole stream, its log, feature store and processes, until Ctrl-C.

    Click probabilities are served at http://127.0.0.1:8000/ meanwhile,
    drift reports at /reports/, and what happens at /dashboard.

    A process that dies is started again and goes on from its last
    commit: no event is lost or counted twice. All that is kept is in
    --dir; the same command goes on with it another day.

    clicktide up

    clicktide up --dir ads --spec my.toml --set stream.partitions=2

    clicktide up --log kafka://localhost:9092 --redis redis://localhost:6379
    """
    folder = folder or DEFAULT_FOLDER
    show = show_on(sys.stderr)
    compile_once(lambda line: show("", line))
    with lock_folder(folder):
        opened = open_stream(
            folder, log=log, spec=spec, settings=settings, changes=changes, reads=tuple(SECTIONS)
        )
        given = given_changes("serve", port=port, workers=workers)
        serving = replace(opened, changes=(*opened.changes, *given)).serve_settings()
        listening = None if no_serve else listen(serving.host, serving.port, _PORT_TAKEN)
        if listening is not None:
            check_access(serving, listening)
        stream = Stream(
            opened,
            redis=redis or opened.stream_settings().redis or None,
            counters=bool(opened.load_spec().counters),
            listening=listening,
            workers=serving.workers,
            monitor=not no_monitor,
            register=not no_register,
            mlflow=mlflow,
        )
        _prepare(opened)
        _run(stream, show)


def _run(stream: Stream, show: Callable[[str, str], None]) -> None:
    """Run the feature store and the processes until Ctrl-C."""
    with _feature_store(stream) as (store, url):
        announce(stream, url, show)
        run_children([*store, *children_of(stream, url)], stream, url, show)


@dataclass(frozen=True)
class Stream:
    """What ``up`` runs.

    Parameters
    ----------
    folder
        The stream's.
    redis
        URL of a feature store; ``None``: one of our own.
    counters
        Whether the spec has any.
    listening
        Where predictions are requested; it stays open while serving processes are replaced, so
        that a client waits meanwhile and is not refused. ``None``: nothing serves.
    workers
        Serving processes.
    monitor, register, mlflow
        Whether the stream is watched, and versions of its model made; where those go.
    """

    folder: StreamFolder
    redis: str | None
    counters: bool
    listening: socket.socket | None = None
    workers: int = 1
    monitor: bool = True
    register: bool = True
    mlflow: str | None = None

    @property
    def url(self) -> str | None:
        """Where predictions are requested."""
        if self.listening is None:
            return None
        return server_url(self.listening, self.folder.serve_settings())


def _prepare(stream: StreamFolder) -> None:
    """Find what is wrong now, not in a child; make topics; keep the settings."""
    stream.monitor_settings()
    stream.registry_settings()
    with open_log(stream.log) as log:
        log.create_topics(stream.stream_settings().topics())
    stream.remember()


@contextmanager
def _feature_store(stream: Stream) -> Iterator[tuple[list[Child], str]]:
    """A Valkey server of our own, unless one was named; and its URL."""
    if stream.redis is not None:
        from features.counters.redis_clients import store_client

        store_client(stream.redis).close()  # a wrong URL is told now
        yield [], stream.redis
        return
    with valkey_command(stream.folder.path) as (url, command):
        yield [Child("valkey", [*command, "--loglevel", "warning"])], url


def children_of(stream: Stream, redis_url: str) -> list[Child]:
    """The processes of a stream, in the order of the flow; the folder tells them the rest."""
    store = {"CLICKTIDE_REDIS": redis_url}
    children = [_child(stream, "join")]
    if stream.counters:
        count = _child(stream, "count", env=store)
        children.append(replace(count, needs=lambda: _answers(redis_url)))
    children.append(_child(stream, "train"))
    if stream.monitor:
        children.append(_child(stream, "monitor"))
    if stream.register:
        to = {} if stream.mlflow is None else {"MLFLOW_TRACKING_URI": stream.mlflow}
        children.append(_child(stream, "register", env=to))
    if stream.listening is not None:
        fd = stream.listening.fileno()
        more = ["--fd", str(fd), "--workers", str(stream.workers)]
        serve = _child(stream, "serve", *more, env=store if stream.counters else {})
        children.append(replace(serve, fds=(fd,)))
    return children


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
    return Child(name, clicktide_command(name, "--dir", str(stream.folder.path), *more), env or {})


def run_children(
    children: Sequence[Child], stream: Stream, redis_url: str, show: Callable[[str, str], None]
) -> None:
    """Keep children running until SIGINT or SIGTERM, then stop them; none is left behind."""
    supervisor = Supervisor(
        children,
        spawn=spawn(stream.folder.path / "logs", show),
        clock=time.monotonic,
        wait=time.sleep,
        say=lambda name, line: show("", f"{name} {line}"),
    )

    def note() -> None:
        of, state = stream.folder, supervisor.state()
        running = Running(os.getpid(), of.log, of.spec, public_url(redis_url), state)
        write_running(of.path, running)

    with _signals() as asked:
        try:
            supervisor.run(lambda: asked() > 0, note)
        finally:
            show("", "stopping; a second Ctrl-C kills")
            if stream.listening is not None:  # clients are refused from here on, and need not wait
                stream.listening.close()
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

    with signal_handler(more, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield lambda: count


def announce(stream: Stream, redis_url: str, show: Callable[[str, str], None]) -> None:
    """Say what runs, and what to do next."""
    folder, simulated = stream.folder, stream.folder.spec in ("sim", "market")
    market = "'sim:abrupt?events=200000&max_click_delay_ms=600000'"
    source = market if simulated else "FILE"
    where = shlex.quote(str(folder.path))
    show("", f"event log {folder.log}, spec {folder.spec}, all in {folder.path}/")
    show("", f"feature store {public_url(redis_url)}")
    show("", f"messages of each process also in {folder.path / 'logs'}/")
    show("", "next, in another terminal:")
    show("", f"  clicktide replay {source} --dir {where} --shift ends-now")
    show("", f"  clicktide status --watch --dir {where}")
    if stream.url is not None:  # commands that work when pasted
        names = (field.names[0] for field in folder.load_spec().fields[:3])
        fields = EXAMPLE if simulated else dict.fromkeys(names, "...")
        body = shlex.quote(json.dumps({"fields": fields}))
        show("", f"predictions at {stream.url}/, from what is learned at that moment:")
        show("", f"  curl {stream.url}/v1/predict -d {body}")
        show("", f"  curl {stream.url}/v1/model")
