"""Keeps the processes of a stream running, and stops them.

Only decisions stand here: the clock, the waiting and the starting of processes are passed in
(:mod:`clicktide.child_processes` has the real ones).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from features.errors import ClicktideError

if TYPE_CHECKING:
    from clicktide.child_processes import Spawned

__all__ = ["Child", "Supervisor", "wait_s"]

CONFIGURATION_ERROR = 2


FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
"""Wait before the first start again; each further one waits twice as long, up to the longest.
Shorter: back sooner; longer: less work in vain while the cause lasts."""
HEALTHY_S = 30.0
"""After running this long a process counts as healthy, and its waits begin anew."""
REFUSALS = 3
"""So many exits in a row with code 2 (wrong settings or input), none of them after a healthy time:
starting it again will not help, everything stops."""


def wait_s(failures: int) -> float:
    """Wait before the start that follows so many failures in a row.

    Examples
    --------
    >>> [wait_s(failures) for failures in (1, 2, 3, 20)]
    [0.2, 0.4, 0.8, 10.0]
    """
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 30)))


@dataclass(frozen=True)
class Child:
    """A process to keep running.

    Parameters
    ----------
    name
        What it is called in messages and in its log file's name.
    command
        Program and arguments.
    env
        Added to the environment.
    needs
        Whether what it cannot do without is there; it is not started before, and not to blame
        for ending without it.
    fds
        Files it inherits, open under the same numbers.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Callable[[], bool] = lambda: True
    fds: Sequence[int] = ()


@dataclass
class _ChildState:
    """A child and how it fares."""

    child: Child
    process: Spawned | None = None
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    refusals: int = 0
    starts: int = 0


class Supervisor:
    """Starts children in order, starts them again when they end, and stops them together.

    Parameters
    ----------
    children
        In the order of their start, which is the order of the flow.
    spawn
        Starts one.
    clock
        Seconds, never going back.
    wait
        Waits so many seconds.
    say
        Tells the user: a child's name (empty: the supervisor itself) and a line.
    drain_s
        How long children may take to stop; then they are killed.

    Raises
    ------
    ClicktideError
        From :meth:`step`: a child has refused its settings again and again.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        spawn: Callable[[Child], Spawned],
        clock: Callable[[], float],
        wait: Callable[[float], None],
        say: Callable[[str, str], None],
        drain_s: float = 20.0,
    ) -> None:
        self._kept = [_ChildState(child, due=clock()) for child in children]
        self._spawn, self._clock, self._wait, self._say = spawn, clock, wait, say
        self.drain_s = drain_s

    def state(self) -> dict[str, dict[str, int | None]]:
        """Process number (None: not running now) and starts so far, by name."""
        return {
            kept.child.name: {
                "pid": None if kept.process is None else kept.process.pid,
                "starts": kept.starts,
            }
            for kept in self._kept
        }

    def step(self) -> bool:
        """See to every child once; true if one was started or has ended."""
        return any([self._step(kept) for kept in self._kept])

    def _step(self, kept: _ChildState) -> bool:
        if kept.process is None:
            if self._clock() < kept.due or not kept.child.needs():
                return False
            self._start(kept)
            return True
        code = kept.process.poll()
        if code is not None:
            self._schedule_restart(kept, kept.process, code)
        return code is not None

    def _start(self, kept: _ChildState) -> None:
        kept.process = self._spawn(kept.child)
        kept.started = self._clock()
        kept.starts += 1
        again = "" if kept.starts == 1 else f" again (start {kept.starts})"
        self._say(kept.child.name, f"started{again}, pid {kept.process.pid}")

    def _schedule_restart(self, kept: _ChildState, process: Spawned, code: int) -> None:
        """Decide when it is started again."""
        now = self._clock()
        process.kill()  # with all that it had started
        if now - kept.started >= HEALTHY_S:
            kept.failures = kept.refusals = 0
        kept.failures += 1
        refused = code == CONFIGURATION_ERROR and kept.child.needs()
        kept.refusals = kept.refusals + 1 if refused else 0
        kept.process = None
        if kept.refusals >= REFUSALS:
            raise ClicktideError(
                f"{kept.child.name} refused to run {kept.refusals} times: "
                f"{process.last_line() or 'it did not say why'}. "
                "Fix: mend what it names, then start again; nothing is lost"
            )
        pause_s = wait_s(kept.failures)
        kept.due = now + pause_s
        self._say(kept.child.name, f"{_how(code)}; starts again in {pause_s:g} s")

    def run(self, stop: Callable[[], bool], changed: Callable[[], None] = lambda: None) -> None:
        """Keep all running until ``stop()``; ``changed()`` is called after starts and ends."""
        while not stop():
            if self.step():
                changed()
            self._wait(0.1)

    def drain(self, hurry: Callable[[], bool] = lambda: False, last: Sequence[str] = ()) -> None:
        """Stop all together; what has not stopped in time, or when ``hurry()``, is killed.

        Nothing is lost by that: each goes on from its last commit. The children named ``last``,
        servers that the others use, are stopped after these.
        """
        self._stop([kept for kept in self._kept if kept.child.name not in last], hurry)
        self._stop([kept for kept in self._kept if kept.child.name in last], hurry)

    def _stop(self, kept: Sequence[_ChildState], hurry: Callable[[], bool]) -> None:
        running = [(one.child.name, one.process) for one in kept if one.process is not None]
        for _, process in running:
            process.terminate()
        until = self._clock() + self.drain_s
        while running and self._clock() < until and not hurry():
            ended = [(name, process) for name, process in running if process.poll() is not None]
            for name, process in ended:
                self._report_end(name, process, hurry())
            running = [it for it in running if it not in ended]
            if running:
                self._wait(0.05)
        for name, process in running:
            self._report_end(name, process, hurry())
        for one in kept:
            one.process = None

    def _report_end(self, name: str, process: Spawned, hurried: bool) -> None:
        code = process.poll()
        process.kill()  # with all that it had started
        if code is None:
            why = "asked to hurry" if hurried else f"it did not stop in {self.drain_s:g} s"
            self._say(name, f"KILLED: {why}; it goes on from its last commit next time")
        else:
            self._say(name, "stopped" if code == 0 else _how(code))


def _how(code: int) -> str:
    """Say how a process ended.

    Examples
    --------
    >>> _how(1), _how(-9)
    ('ended with exit code 1', 'was killed by SIGKILL')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
