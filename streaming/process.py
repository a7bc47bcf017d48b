"""The skeleton of a stream's processes: step, retry with back-off, save, stop."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from streaming.log import LogUnavailableError
from streaming.log.base import Closing

__all__ = ["Process"]

_T = TypeVar("_T")


class _Stopped(Exception):
    """Asked to stop while the log does not answer."""


class Process(Closing):
    """Works until it is asked to stop; an error that passes makes it wait, not end.

    A subclass says what one step is (:meth:`work`), what is to be done after an error that passes
    (:meth:`recover`), and what at the end (:meth:`finish`).

    Parameters
    ----------
    name
        Put before what is reported.
    report
        Takes lines for people.
    clock, pause
        Seconds that only rise, and a pause of so many.

    Attributes
    ----------
    passing
        Errors that pass.
    first_wait_s, longest_wait_s
        After the first error; it doubles with each that follows, up to the longest, which is also
        how long a wish to stop may have to wait.
    idle_s
        Between two steps where there was nothing to do; 0: the step waits itself.

    Examples
    --------
    >>> class Countdown(Process):
    ...     left = 3
    ...     def work(self):
    ...         self.left -= 1
    ...         return self.left > 0
    ...     def finish(self):
    ...         self.report(f"{self.name}: {self.left} left")
    ...     def close(self):
    ...         pass
    >>> Countdown("countdown", print).run(until_idle_s=0)
    countdown: 0 left
    """

    passing: tuple[type[Exception], ...] = ()
    first_wait_s, longest_wait_s, idle_s = 0.1, 5.0, 0.05

    def __init__(
        self,
        name: str,
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.name, self.report, self.clock, self.pause = name, report, clock, pause
        self._wait_s = self.first_wait_s
        self._stopping: Callable[[], bool] = lambda: False

    def run(
        self, stopping: Callable[[], bool] = lambda: False, until_idle_s: float | None = None
    ) -> None:
        """Work until asked to stop, or until all is done and nothing has come for so long.

        Raises
        ------
        ClicktideError
            An error that does not pass.
        """
        self._stopping = stopping
        with suppress(_Stopped):
            self._run(until_idle_s)
        self.finish()

    def _run(self, until_idle_s: float | None) -> None:
        active = self.clock()
        while not self._stopping():
            if self.step():
                active = self.clock()
            elif (
                until_idle_s is not None
                and self.is_done()
                and self.clock() >= active + until_idle_s
            ):
                break
            elif self.idle_s:
                self.pause(self.idle_s)

    def step(self) -> bool:
        """Work once, or get ready to go on after an error; whether there was anything to do."""
        return self.attempt(self.work)

    def attempt(self, action: Callable[[], object]) -> bool:
        """Act; after an error that passes, recover, and wait if that needs time."""
        try:
            done = bool(action())
        except self.passing as error:
            if self.recover(error):
                self._wait(f"trouble, next try in {self._wait_s:g} s: {error}")
            return True
        self._wait_s = self.first_wait_s
        return done

    def ask(self, call: Callable[[], _T]) -> _T:
        """Ask the log until it answers, or a stop is asked for: without it nothing can be done."""
        while True:
            try:
                answer = call()
            except LogUnavailableError as error:
                if self._stopping():
                    raise _Stopped from error
                self._wait(f"the log does not answer, again in {self._wait_s:g} s: {error}")
            else:
                self._wait_s = self.first_wait_s
                return answer

    def _wait(self, why: str) -> None:
        """Wait, longer each time."""
        self.report(f"{self.name}: {why}")
        seconds, self._wait_s = self._wait_s, min(2 * self._wait_s, self.longest_wait_s)
        if not self._stopping():
            self.pause(seconds)

    @abstractmethod
    def work(self) -> bool:
        """One step; whether there was anything to do."""

    def recover(self, error: Exception) -> bool:
        """Get ready to go on after an error; whether to wait first. Raises it if it is fatal."""
        return True

    def is_done(self) -> bool:
        """Whether nothing is left to do, as far as can be known."""
        return True

    @abstractmethod
    def finish(self) -> None:
        """What is to be done at the end: save."""
