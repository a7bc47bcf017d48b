"""The command ``clicktide serve``: click probabilities over HTTP."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.settings import STREAM, given_changes
from clicktide.stream_folder import StreamFolder
from clicktide.stream_opening import open_stream
from features.errors import ClicktideError
from serving.access import ENVIRONMENT, Access
from serving.settings import ServeSettings

__all__ = ["check_access", "inherited_socket", "listen", "serve", "server_url"]

Policy = Literal["live", "champion"]
_BACKLOG = 2048
"""So many connections wait while nobody accepts them; the system may have a lower bound."""
_KEEP_ALIVE_S = 75
"""Longer than clients and proxies keep an idle connection (5 to 60 s), for whoever closes first may
cut off a request of the other."""


LiveOption = Annotated[
    Path | None,
    typer.Option(
        "--live",
        help="Weights as they are learned, of train --live [default: DIR/live.weights]",
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="Serve this saved model instead, which learns no more"),
]
FollowOption = Annotated[
    bool | None,
    typer.Option(
        "--follow/--no-follow",
        help="Follow the weights that a trainer elsewhere publishes in the log "
        "(`clicktide train --publish-weights`)",
    ),
]
PolicyOption = Annotated[
    Policy | None,
    typer.Option(
        "--policy",
        help="With nothing pinned, serve the live weights or the champion version [default: live]",
    ),
]
HostOption = Annotated[
    str | None, typer.Option("--host", help="Where to listen; default: only this machine")
]
InsecureOption = Annotated[
    bool | None,
    typer.Option(
        "--insecure",
        help="Listen to other machines although requests need neither token nor certificate",
    ),
]
FdOption = Annotated[
    int | None,
    typer.Option(
        "--fd",
        min=0,
        help="Listen on this socket, opened by whoever starts this; not on --host, --port",
    ),
]


def serve(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    spec: options.SpecOption = None,
    live: LiveOption = None,
    model: ModelOption = None,
    follow: FollowOption = None,
    policy: PolicyOption = None,
    redis: options.RedisOption = None,
    host: HostOption = None,
    port: options.PortOption = None,
    workers: options.WorkersOption = None,
    insecure: InsecureOption = None,
    fd: FdOption = None,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Serve click probabilities over HTTP, with weights that are learned meanwhile.

    Needs a trainer that keeps live weights on this machine; `clicktide
    up` runs both. http://HOST:PORT/ says what there is. Listens to
    this machine only; to others with --host, and then asks for tokens:
    see docs/access.md.

    clicktide serve --port 9000 --set serve.max_concurrent=64

    curl localhost:8000/v1/predict -d '{"fields": {"ad": "a1", "site": "s1"}}'
    """
    given = given_changes(
        "serve", live=live, model=model, follow=follow, policy=policy, host=host, port=port,
        workers=workers, insecure=insecure,
    )  # fmt: skip
    given += given_changes("stream", redis=redis)
    stream = open_stream(
        folder,
        log=log,
        spec=spec,
        settings=settings,
        changes=[*(changes or ()), *given],
        reads=(*STREAM, "serve"),
    )
    stream.load_spec()  # what is wrong is told here, not by each worker
    of = stream.serve_settings()
    _check_tls(of)
    fix = "another --port, or stop what listens there"
    with listen(of.host, of.port, fix) if fd is None else inherited_socket(fd) as listening:
        check_access(of, listening)
        _run(stream, of, listening)


def _run(stream: StreamFolder, settings: ServeSettings, listening: socket.socket) -> None:
    from serving.workers import Workers

    say = begin_log("serve")
    server = {
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
        "ssl_ca_certs": settings.tls_client_ca,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
        "timeout_graceful_shutdown": 10,
        "timeout_keep_alive": _KEEP_ALIVE_S,
    }
    with _metrics_folder(settings.workers):
        workers = Workers(
            "clicktide.serving_worker:make_app",
            [stream, settings, stream.stream_settings()],  # read once: the file may change
            server,
            listening,
            settings.workers,
            preload=["clicktide.serving_preload"],
            on_serving=lambda: say(f"serving at {server_url(listening, settings)}/"),
        )
        workers.run()
    if workers.code:
        raise typer.Exit(workers.code)
    say("stopped")


def server_url(listening: socket.socket, settings: ServeSettings) -> str:
    """Where whoever is on this machine sends requests.

    Parameters
    ----------
    listening
        The server's socket.
    settings
        Whether it has a certificate.

    Examples
    --------
    >>> with listen("127.0.0.1", 0, "another --port") as one:
    ...     server_url(one, ServeSettings(tls_cert="a", tls_key="b")).rpartition(":")[0]
    'https://127.0.0.1'
    """
    host, port = listening.getsockname()[:2]
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http{'s' if settings.tls_cert else ''}://{name}:{port}"


def _check_tls(settings: ServeSettings) -> None:
    if settings.tls_cert is None:
        return
    files = f"tls_cert {settings.tls_cert}, tls_key {settings.tls_key}"
    try:
        context = ssl.create_default_context()
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            files = f"tls_client_ca {settings.tls_client_ca}"
            context.load_verify_locations(settings.tls_client_ca)
    except OSError as error:  # those of ssl are such, too
        fix = "PEM files, readable, of certificates and of the key without a password"
        raise ClicktideError(f"serve: {files}: {error}. Fix: {fix}") from error


def check_access(settings: ServeSettings, listening: socket.socket) -> None:
    """Refuse to listen to other machines where anybody could call.

    Parameters
    ----------
    settings
        Its tokens and certificates.
    listening
        The server's socket.

    Raises
    ------
    ClicktideError
        It is open to everybody; or its tokens cannot be read.

    Examples
    --------
    >>> with listen("0.0.0.0", 0, "another --port") as one:
    ...     check_access(ServeSettings(), one)
    Traceback (most recent call last):
    features.errors.ClicktideError: 0.0.0.0: other machines could call without a token. Fix: ...
    """
    closed = Access(os.environ.get(ENVIRONMENT, ""), settings.tokens).closed
    if closed or settings.tls_client_ca or settings.insecure or listening.family == socket.AF_UNIX:
        return
    host = listening.getsockname()[0]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise ClicktideError(
            f"{host}: other machines could call without a token. Fix: give tokens in "
            f"{ENVIRONMENT} or serve.tokens (docs/access.md), clients' certificates by "
            "serve.tls_client_ca; or --insecure, where the network is closed"
        )


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


def listen(host: str, port: int, fix: str) -> socket.socket:
    """Listen at an address.

    Parameters
    ----------
    host, port
        The address; port 0 takes a free one.
    fix
        What the user is to do if it cannot be had.

    Raises
    ------
    ClicktideError
        Another program has it, or it is none of this machine's.

    Examples
    --------
    >>> with listen("127.0.0.1", 0, "another --port") as one:
    ...     one.getsockname()[0]
    '127.0.0.1'
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ClicktideError(f"{host} port {port} cannot be had ({error}). Fix: {fix}") from error


def inherited_socket(number: int) -> socket.socket:
    """Take a listening socket that whoever started us has opened.

    Parameters
    ----------
    number
        Its file descriptor here.

    Raises
    ------
    ClicktideError
        There is no such thing.
    """
    try:
        return socket.socket(fileno=number)
    except (OSError, ValueError) as error:
        raise ClicktideError(
            f"--fd {number}: no socket ({error}). Fix: have the program that starts this one open "
            "it and pass it on"
        ) from error
