"""The command ``clicktide serve``: click probabilities over HTTP."""

from __future__ import annotations

import os
import socket
import ssl
import sys
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
    LogOption,
    RedisOption,
    SetOption,
    SettingsOption,
    SpecOption,
)
from clicktide.serving_wiring import WIRING, Policy, Wiring
from clicktide.stream_folder import STREAM, open_stream
from features.errors import ClicktideError
from serving.settings import ServeSettings

__all__ = ["serve"]

_KEEP_ALIVE_S = 75
"""Longer than clients and proxies keep an idle connection (5 to 60 s), for whoever closes first may
cut off a request of the other."""
_WORKER_START_S = 30
"""A worker that does not stir for so long is replaced; one that starts may take so long."""
_SUCCESSOR_S = 8.0
"""By when another serves, if this one has died: who opened the socket for it starts another."""


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
            _run(wiring, listening, outlive_s=_SUCCESSOR_S)


def _run(wiring: Wiring, listening: socket.socket, outlive_s: float = 0.0) -> None:
    import uvicorn  # with FastAPI it takes a while to import: other commands go without

    from serving.kept import KeptProtocol
    from serving.workers import Workers

    settings = wiring.settings
    os.environ[WIRING] = msgspec.json.encode(wiring).decode()
    config = uvicorn.Config(
        "clicktide.serving_worker:make_app",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=KeptProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_worker_healthcheck=_WORKER_START_S,
    )
    with _counts(settings.workers), _kept(not settings.tls_cert):
        workers = Workers(config, [listening], outlive_s)
        workers.run()
    if workers.code:
        raise typer.Exit(workers.code)
    typer.echo("serve: stopped", err=True)


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
def _counts(workers: int) -> Iterator[None]:
    """A folder in which several workers keep their counts."""
    from serving.metrics import WORKERS_FOLDER

    if workers < 2:
        os.environ.pop(WORKERS_FOLDER, None)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="clicktide-metrics-") as folder:
        os.environ[WORKERS_FOLDER] = folder
        yield


@contextmanager
def _kept(wanted: bool) -> Iterator[None]:
    """Workers whose connections outlive them: on Linux; not with TLS, whose keys die with one."""
    from serving.keeper import Keeper
    from serving.kept import KEEPER

    if not (wanted and sys.platform == "linux"):
        os.environ.pop(KEEPER, None)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="clicktide-keeper-") as folder:
        path = Path(folder) / "keeper.sock"
        os.environ[KEEPER] = str(path)
        with Keeper(path, lambda line: typer.echo(f"serve: {line}", err=True)):
            yield
