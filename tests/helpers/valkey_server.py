"""A Valkey server for a test or a benchmark: the command that ``clicktide up`` keeps running."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import redis

from clicktide.valkey import valkey_command
from features.errors import ClicktideError

__all__ = ["ValkeyServer", "start_valkey"]


class ValkeyServer:
    """A running server; the folder's lock is held until it ends."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], held: ExitStack) -> None:
        self.url, self.process, self._held = url, process, held
        self.process_id = process.pid

    def stop(self) -> None:
        """Let it write its data and end; all that it acknowledged is there at the next start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would; its files keep all that it had written to them."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(15)
        self._held.close()


def start_valkey(
    folder: str | os.PathLike[str], *, port: int | None = None, timeout_s: float = 60.0
) -> ValkeyServer:
    """Start the server of a folder, with the data of its last time."""
    held = ExitStack()
    url, command = held.enter_context(valkey_command(folder, port))
    log = Path(folder) / "valkey" / "log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    server, until = ValkeyServer(url, process, held), time.monotonic() + timeout_s
    with redis.Redis.from_url(url, socket_timeout=1.0) as client:
        while process.poll() is None and time.monotonic() < until:
            try:
                if client.info("server")["process_id"] == process.pid and client.ping():
                    return server
            except redis.RedisError:  # not up yet, or still loading
                pass
            time.sleep(0.02)
    server.kill()
    line = log.read_text(errors="replace").splitlines()[-1:]
    raise ClicktideError(f"{url}: Valkey did not start: {line}. Fix: see {log}")
