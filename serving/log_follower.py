"""A thread that follows the event log for a server, and opens it again after every failure."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from features.errors import ClicktideError
from streaming.log import EventLog

__all__ = ["LogFollower"]


class LogFollower(ABC):
    """Runs :meth:`follow` in a thread until it is closed.

    Parameters
    ----------
    connect
        Opens the log; called in the thread, again after every failure.
    name
        Of the thread.
    retry_s
        How long to wait after a failure.

    Attributes
    ----------
    problem
        Why there is nothing newer, as the last failure says; ``None``: there is.
    """

    problem: str | None = None

    def __init__(self, connect: Callable[[], EventLog], name: str, retry_s: float = 1.0) -> None:
        self._connect, self._retry_s = connect, retry_s
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; what :meth:`follow` needs is there."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self.closed.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        while not self.closed.is_set():
            try:
                with self._connect() as log:
                    self.follow(log)
            except ClicktideError as error:
                self.problem = str(error)
                self.closed.wait(self._retry_s)

    @abstractmethod
    def follow(self, log: EventLog) -> None:
        """Read until ``closed`` is set; raises what the log raises."""
