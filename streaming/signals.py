"""Signals of a process: what asks it to stop, and a handler for as long as something lasts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "Stopped", "signal_handler", "stop_request"]


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
def signal_handler(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    """Handle some signals while inside."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """While inside, SIGINT and SIGTERM ask to stop; a second SIGINT interrupts at once."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.asked = True

    with signal_handler(ask, signal.SIGINT, signal.SIGTERM):
        yield request
