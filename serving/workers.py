"""The worker processes that answer requests, and the manager that keeps so many of them running.

Workers are forked from a process that has imported and compiled everything once, so that a
successor serves within moments. All of them accept connections from one listening socket, which
the manager holds too: a connection that nobody has accepted yet waits for the next worker.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import ClicktideError
from streaming.signals import signal_handler

__all__ = ["DRAIN_S", "FAILED", "REFUSED", "Workers"]

REFUSED = 2
"""Exit code of a worker that cannot work with its settings, as of any command of ours."""
FAILED = 3
"""Exit code of a worker whose application cannot begin."""
DRAIN_S = 1.0
"""How long a worker that stops still answers on the connections it has. Longer: fewer clients meet
a closed connection; a slower stop."""
_LOOK_EVERY_S = 0.05
"""How soon the manager sees that a worker serves, or has died."""
_RETRY_S = 1.0
"""A worker that dies before it serves is replaced after this time."""
_STOP_S = 20.0
"""A worker that has not ended so long after it was asked to is killed."""


class Workers:
    """Keeps worker processes running: replaces the dead, renews all on SIGHUP, stops on SIGTERM.

    Parameters
    ----------
    make_app
        ``module:function`` that makes the application, in each worker: the manager imports
        nothing of it.
    arguments
        Of that function; they can be pickled.
    options
        Of :class:`uvicorn.Config`.
    listening
        Where they accept connections.
    count
        How many of them run.
    preload
        Modules imported once, before workers are forked.
    on_serving
        Called once, when the first worker serves.

    Attributes
    ----------
    code
        Exit code: not 0 if it ended because no worker could begin; the workers have said why.
    """

    def __init__(
        self,
        make_app: str,
        arguments: Sequence[Any],
        options: Mapping[str, Any],
        listening: socket.socket,
        count: int = 1,
        preload: Sequence[str] = (),
        on_serving: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["serving.workers", *preload])
        self._on_serving = on_serving
        self._arguments = make_app, list(arguments), dict(options), listening
        self._count, self._served, self.code = count, False, 0
        self._stopping = self._renewing = False

    def run(self) -> None:
        """Keep them running until SIGTERM or SIGINT."""
        with signal_handler(self._note, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            workers = [self._start() for _ in range(self._count)]
            while not self._stopping:
                workers = self._replace(workers)
                time.sleep(_LOOK_EVERY_S)
            _stop(workers)

    def _start(self) -> _Worker:
        serving = self._context.RawValue("b", 0)
        process = self._context.Process(target=_work, args=(*self._arguments, serving))
        process.start()
        return _Worker(process, serving, time.monotonic())

    def _replace(self, workers: list[_Worker]) -> list[_Worker]:
        """Give the workers that are to run now, with successors of those that died."""
        after = []
        for worker in workers:
            code = worker.process.exitcode
            if worker.serving.value and not self._served:
                self._served = True
                self._on_serving()
            if code is not None and not self._served and code in (REFUSED, FAILED):
                self.code, self._stopping = code, True
            dead = code is not None and not self._stopping
            # one that died before it served is replaced after a pause
            replaceable = worker.serving.value or time.monotonic() > worker.started + _RETRY_S
            after.append(self._start() if dead and replaceable else worker)
        if self._renewing:
            self._renewing = False
            return [self._renewed(worker) for worker in after]
        return after

    def _renewed(self, former: _Worker) -> _Worker:
        """Start a worker, and stop the one that it succeeds when it serves."""
        successor = self._start()
        while not (successor.serving.value or self._stopping):
            if successor.process.exitcode is not None:
                return former  # it has said why it cannot serve
            time.sleep(_LOOK_EVERY_S)
        former.process.terminate()
        return successor

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Note SIGTERM, SIGINT or SIGHUP; the loop acts."""
        self._renewing |= number == signal.SIGHUP
        self._stopping |= number != signal.SIGHUP


@dataclass(frozen=True)
class _Worker:
    """A worker process as its manager knows it; ``serving`` is memory that both share."""

    process: BaseProcess
    serving: Any
    started: float


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    end = time.monotonic() + _STOP_S
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()


# --- in a worker ---------------------------------------------------------------------------------


def _work(
    make_app: str,
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    listening: socket.socket,
    serving: Any,
) -> None:
    """Serve until SIGTERM, SIGINT or the end of the manager."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the manager
    try:
        draining = _Draining(pkgutil.resolve_name(make_app)(*arguments))
    except ClicktideError as error:
        os.write(sys.stderr.fileno(), f"error: {error}\n".encode())  # at once: others say the same
        sys.exit(REFUSED)
    config = uvicorn.Config(draining, **options)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(uvicorn.Server(config), draining, listening, serving))


async def _serve(
    server: uvicorn.Server, draining: _Draining, listening: socket.socket, shared: Any
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    serving = loop.create_task(server.serve([listening]))
    serving.add_done_callback(lambda task: stop.set())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        manager = multiprocessing.parent_process()
        if manager is not None:  # without it, the worker would hold the port for good
            loop.add_reader(manager.sentinel, stop.set)
        shared.value = 1
        await stop.wait()
        draining.closing = True
        for listener in server.servers:
            listener.close()
        await asyncio.sleep(DRAIN_S)
        server.should_exit = True
    await serving


class _Draining:
    """ASGI: once ``closing`` is set, each answer closes its connection.

    The client then opens another one, to a worker that stays. A connection that is closed without
    notice may lose the request that is on its way there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.closing = app, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def send_on(message: Message) -> None:
            if self.closing and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, send_on)
