"""The command ``clicktide serve``: click probabilities over HTTP."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from clicktide.listening import listen, taken_over
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
from clicktide.process_log import begin_log
from clicktide.serving_wiring import Policy, Wiring
from clicktide.stream_folder import STREAM, open_stream
from features.errors import ClicktideError
from serving.settings import ServeSettings

__all__ = ["serve"]

_KEEP_ALIVE_S = 75
"""Longer than clients and proxies keep an idle connection (5 to 60 s), for whoever closes first may
cut off a request of the other."""


def serve(
    folder: DirOption = None,
    log: LogOption = None,
    spec: SpecOption = None,
    live: Annotated[
        Path | None,
        typer.Option(
            "--live",
            help="Weights as they are learned, of train --live [default: DIR/live.weights]",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Serve this saved model instead, which learns no more"),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Follow the weights that a trainer elsewhere publishes in the log "
            "(`clicktide train --publish-weights`)",
        ),
    ] = False,
    policy: Annotated[
        Policy,
        typer.Option(
            "--policy", help="With nothing pinned, serve the live weights or the champion version"
        ),
    ] = "live",
    redis: RedisOption = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Where to listen; default: only this machine")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", envvar="CLICKTIDE_PORT", help="The port [default: 8000]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes that share the port [default: 1]")
    ] = None,
    fd: Annotated[
        int | None,
        typer.Option(
            "--fd",
            min=0,
            help="Listen on this socket, opened by whoever starts this; not on --host, --port",
        ),
    ] = None,
    settings: SettingsOption = None,
    changes: SetOption = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Serve click probabilities over HTTP, with weights that are learned meanwhile.

    Needs a trainer that keeps live weights on this machine; `clicktide
    up` runs both. http://HOST:PORT/ says what there is.

    clicktide serve --port 9000 --set serve.max_concurrent=64

    curl localhost:8000/v1/predict -d '{"fields": {"ad": "a1", "site": "s1"}}'
    """
    if model is not None and follow:
        raise ClicktideError("serve: --model or --follow? Fix: give one of them")
    given = {"host": host, "port": port, "workers": workers}
    more = [f"{name}={value}" for name, value in given.items() if value is not None]
    stream = open_stream(
        folder, log=log, spec=spec, settings=settings, changes=changes, reads=(STREAM, "serve")
    )
    wiring = Wiring(
        log=stream.log,
        spec=stream.spec,
        live=str(live or stream.live),
        follow=follow,
        stream=stream.stream_settings(),
        model=None if model is None else str(model),
        backup=str(stream.model),
        served=str(stream.served),
        run=str(stream.path),
        policy=policy,
        redis=stream.store_url(redis),
        settings=stream.serve_settings(more),
    )
    stream.load_spec()  # what is wrong is told here, not by each worker
    of = wiring.settings
    _check_tls(of)
    fix = "another --port, or stop what listens there"
    if fd is None:
        with listen(of.host, of.port, fix) as listening:
            _run(wiring, listening)
    else:
        with taken_over(fd) as listening:
            _run(wiring, listening)


def _run(wiring: Wiring, listening: socket.socket) -> None:
    from serving.workers import Workers

    say = begin_log("serve")
    settings = wiring.settings
    options = {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "access_log": False,
        "log_config": None,
        "log_level": "warning",
        "server_header": False,
        "date_header": False,
        "ssl_certfile": settings.tls_cert,
        "ssl_keyfile": settings.tls_key,
        "timeout_graceful_shutdown": 10,
        "timeout_keep_alive": _KEEP_ALIVE_S,
    }
    with _metrics_folder(settings.workers):
        workers = Workers(
            "clicktide.serving_worker:make_app",
            [msgspec.json.encode(wiring)],
            options,
            listening,
            settings.workers,
            preload=["clicktide.serving_preload"],
            on_serving=lambda: say(f"serving at {_url(listening, settings)}"),
        )
        workers.run()
    if workers.code:
        raise typer.Exit(workers.code)
    say("stopped")


def _url(listening: socket.socket, settings: ServeSettings) -> str:
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http{'s' if settings.tls_cert else ''}://{name}:{port}/"


def _check_tls(settings: ServeSettings) -> None:
    if settings.tls_cert is None:
        return
    files = f"tls_cert {settings.tls_cert}, tls_key {settings.tls_key}"
    try:
        ssl.create_default_context().load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # those of ssl are such, too
        fix = "PEM files, readable, of a certificate and of its key without a password"
        raise ClicktideError(f"serve: {files}: {error}. Fix: {fix}") from error


@contextmanager
def _metrics_folder(workers: int) -> Iterator[None]:
    """A folder in which several workers keep their counts."""
    from serving.metrics import WORKERS_FOLDER

    if workers < 2:
        os.environ.pop(WORKERS_FOLDER, None)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="clicktide-metrics-") as folder:
        os.environ[WORKERS_FOLDER] = folder
        yield
