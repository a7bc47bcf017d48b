"""Health of a stream's process over HTTP, for whoever starts and stops it.

``GET /healthz`` is 200 while the process takes steps, 503 when it has not taken one for too long.
The body says since when, and how many records are still to be read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from features.errors import ClicktideError

__all__ = ["Health", "HealthServer", "Steps", "health_server"]

STILL_S = 300.0
"""Without a step for so long a process is held to be stuck: one with a save takes some seconds."""


class Health(msgspec.Struct, frozen=True):
    """How a process is.

    Parameters
    ----------
    name
        Of the process.
    healthy
        Whether it has taken a step lately.
    step_s
        Seconds since it took the last one.
    lag
        Records that it has still to read; null: it reads none, or the log does not answer.
    """

    name: str
    healthy: bool
    step_s: float
    lag: int | None = None


class Steps:
    """When a process took its last step: it asks whether to stop at each.

    Parameters
    ----------
    asked
        Whether it is to stop.
    clock
        Seconds that only rise.

    Examples
    --------
    >>> now = [0.0]
    >>> steps = Steps(lambda: False, lambda: now[0])
    >>> now[0] = 5.0
    >>> steps.since_s, steps.stopping(), steps.since_s
    (5.0, False, 0.0)
    """

    def __init__(
        self, asked: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asked, self._clock, self._at = asked, clock, clock()

    def stopping(self) -> bool:
        """Whether to stop; a step has been taken."""
        self._at = self._clock()
        return self._asked()

    @property
    def since_s(self) -> float:
        """Seconds since the last step."""
        return self._clock() - self._at


class HealthServer:
    """Answers in threads of its own, until it is closed.

    Parameters
    ----------
    address
        ``HOST:PORT``; a port alone is one of this machine only.
    name, steps
        Of the process.
    still_s
        How long a step may take.
    lag
        Counts what is still to be read, by a connection of its own; may raise a
        :class:`ClicktideError`.

    Raises
    ------
    ClicktideError
        The address cannot be had.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> with HealthServer("0", "join", Steps(lambda: False), lambda: 7) as server:
    ...     with urlopen(f"http://127.0.0.1:{server.port}/healthz") as answer:
    ...         msgspec.json.decode(answer.read(), type=Health).lag
    7
    """

    def __init__(
        self,
        address: str,
        name: str,
        steps: Steps,
        lag: Callable[[], int | None] = lambda: None,
        still_s: float = STILL_S,
    ) -> None:
        self.name, self.steps, self.lag, self.still_s = name, steps, lag, still_s
        host, _, port = address.rpartition(":")
        try:
            at = host.strip("[]") or "127.0.0.1", int(port)
            self._server = ThreadingHTTPServer(at, self._handler())
        except (OSError, ValueError, OverflowError) as error:
            raise ClicktideError(
                f"--health {address}: cannot be had ({error}). Fix: HOST:PORT, another port"
            ) from error
        self._server.daemon_threads = True
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def health(self) -> Health:
        """How the process is now."""
        since = self.steps.since_s
        try:
            lag = self.lag()
        except ClicktideError:
            lag = None
        return Health(self.name, since < self.still_s, round(since, 3), lag)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        health = self.health

        class Handler(BaseHTTPRequestHandler):
            timeout = 10
            server_version, sys_version = "clicktide", ""

            def do_GET(self) -> None:
                if self.path != "/healthz":
                    self.send_error(404)
                    return
                now = health()
                body = msgspec.json.encode(now)
                self.send_response(200 if now.healthy else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *about: Any) -> None:
                """Probes come every few seconds: nothing is said of them."""

        return Handler

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10.0)

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def health_server(
    address: str | None, name: str, steps: Steps, **more: Any
) -> AbstractContextManager[object]:
    """Tell a process's health at an address, if there is one; the rest as above."""
    return nullcontext() if address is None else HealthServer(address, name, steps, **more)
