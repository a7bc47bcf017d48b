"""The processes that answer, and the one above them that keeps so many of them running."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from functools import partial
from multiprocessing.connection import wait
from socket import socket

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.server import Server
from uvicorn.supervisors import multiprocess

from features.errors import ClicktideError
from serving.kept import KeptProtocol, KeptServer

__all__ = ["REFUSED", "Workers"]

REFUSED = 2
"""Exit code of a worker that cannot work with what it was told, as of any command of ours."""
_LOOK_S = 0.1


class Workers(multiprocess.Multiprocess):
    """uvicorn's workers: one that dies is replaced; if this process dies they end by themselves.

    Parameters
    ----------
    config
        uvicorn's settings.
    sockets
        Where they listen.
    outlive_s
        How long workers go on when this process has died, while the one that started it lives, and
        holds the sockets, too: until its successor's are there.
    """

    code = 0
    """Exit code: not 0 if it ended because workers could not begin; they have said why."""

    def __init__(self, config: Config, sockets: list[socket], outlive_s: float = 0.0) -> None:
        super().__init__(config, sockets)
        made = partial(_Worker, outlive_s)
        multiprocess.Process = made  # type: ignore[assignment,misc]  # uvicorn has no setting for it

    def keep_subprocess_alive(self) -> None:
        """Replace those that died; not if they refuse before any has ever served."""
        for one in self.processes:
            one.ping(self.config.timeout_worker_healthcheck)  # until it answers, or is gone
        if not _Worker.served and any(one.exitcode == REFUSED for one in self.processes):
            self.code = REFUSED
            self.should_exit.set()
            return
        super().keep_subprocess_alive()
        if any(one.exitcode == STARTUP_FAILURE for one in self.processes):
            self.code = STARTUP_FAILURE


class _Worker(multiprocess.Process):
    """uvicorn's worker process."""

    served = False
    """Of the class, in the process above: whether any has."""

    def __init__(self, outlive_s: float, config: Config, sockets: list[socket]) -> None:
        self.outlive_s, self.starter = outlive_s, os.getppid()
        super().__init__(config, sockets)

    @property
    def server(self) -> Server:
        """Its server."""
        if self._server is None:
            self._server = KeptServer(config=self.config)
        return self._server

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve, in the worker, as long as the process above lives."""
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        try:
            super().target(sockets)
        except ClicktideError as error:
            sys.stderr.write(f"error: {error}\n")  # in one piece: others may say the same now
            sys.exit(REFUSED)

    def _end_with_parent(self) -> None:
        # With nobody above them, workers would hold the port, and answer there for good.
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            KeptProtocol.one_each = True  # the next one may get to a worker that stays
            end = time.monotonic() + self.outlive_s
            while time.monotonic() < end and _lives(self.starter):
                time.sleep(_LOOK_S)
            self.server.should_exit = True

    def _healthcheck(self, timeout: float) -> bool | None:
        """Ask it whether it serves; ``None`` if it does not answer, at once if it has died.

        uvicorn would wait for the answer of one that dies before it answers, to the end.
        """
        try:
            self.parent_conn.send(b"ping")
            if self.parent_conn not in wait([self.parent_conn, self.process.sentinel], timeout):
                return None
            started: bool = self.parent_conn.recv()
        except (OSError, EOFError):
            return None
        type(self).served |= started
        return started


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
