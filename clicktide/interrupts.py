"""Ctrl-C that stops cleanly: a first one asks, a second one insists."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "stop_request"]


class Stopped(Exception):
    """The user asked to stop."""


class StopRequest:
    """Whether the user asked to stop; :meth:`check` between two batches raises then."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise :class:`Stopped` if it was asked for."""
        if self.asked:
            raise Stopped


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """While inside, SIGINT and SIGTERM ask to stop; a second SIGINT interrupts at once."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
