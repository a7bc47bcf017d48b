"""When events are due: event time tied to the wall clock, or as fast as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from features.errors import ClicktideError
from streaming.status import Look

__all__ = ["Lockstep", "Pacer", "Patience", "StandstillError"]

_SHORTEST_S = 0.02  # shorter sleeps would make a transaction of every few events
_LONGEST_S = 0.2  # how long a wish to stop waits


class Pacer:
    """Says how long until an event is due.

    Parameters
    ----------
    speed
        Event time over wall time: 1 as it happened, 60 a minute in a second; None: no waiting.
    clock
        Seconds, rising.
    sleep
        Takes seconds.

    Examples
    --------
    >>> pacer = Pacer(2.0, clock=lambda: 100.0, sleep=print)
    >>> pacer.wait_s(5_000), pacer.wait_s(6_000)  # the first event is due at once
    (0.0, 0.5)
    """

    def __init__(
        self, speed: float | None, *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self.speed, self._clock, self._sleep = speed, clock, sleep
        self._begun: tuple[float, int] | None = None

    def wait_s(self, time_ms: int) -> float:
        """Seconds until an event of this time is due; 0 or less: now."""
        if self.speed is None:
            return 0.0
        if self._begun is None:
            self._begun = self._clock(), time_ms
        wall, event_ms = self._begun
        return (time_ms - event_ms) / 1000 / self.speed - (self._clock() - wall)

    def wait(self, time_ms: int, check: Callable[[], None]) -> None:
        """Sleep until an event is due; ``check``, called now and then, may raise."""
        while (left := self.wait_s(time_ms)) > 0:
            check()
            self._sleep(min(max(left, _SHORTEST_S), _LONGEST_S))


_FIRST_NAP_S, _LONGEST_NAP_S = 0.01, 0.04


class StandstillError(ClicktideError):
    """A process made no progress for a long time."""


class Patience:
    """How long nothing may move before it is given up.

    Parameters
    ----------
    most_s
        Seconds without any progress. Longer: a process that is only slow is not given up.
    clock
        Seconds that only rise.

    Examples
    --------
    >>> seconds = iter([0, 5, 9, 20])
    >>> patience = Patience(10, lambda: next(seconds))
    >>> patience.is_over("3 read"), patience.is_over("4 read"), patience.is_over("4 read")
    (False, False, True)
    """

    def __init__(self, most_s: float, clock: Callable[[], float]) -> None:
        self.most_s, self._clock = most_s, clock
        self._state: object = None
        self._since = clock()

    def is_over(self, state: object) -> bool:
        """Whether this state has been the same for too long."""
        now = self._clock()
        if state != self._state:
            self._state, self._since = state, now
        return now - self._since >= self.most_s


class Lockstep:
    """Says when a publisher must wait, and waits for the stream's processes.

    Parameters
    ----------
    look
        Looks at the log; positions no newer than the ends (:func:`streaming.status.look_at`).
    slice_s
        Event time that is published before the processes are waited for. Shorter: predictions by
        newer weights and counters, and slower.
    patience
        When to give up.
    sleep
        Takes seconds.
    check
        Called while waiting; may raise.
    groups
        Consumer groups to wait for, in the order of the flow; ``None``: the joiner, the counters
        and the trainer, as far as they have ever read this log.

    Attributes
    ----------
    seen
        The last look; ``None`` before the first one.
    """

    def __init__(
        self,
        look: Callable[[], Look],
        slice_s: float,
        patience: Patience,
        *,
        sleep: Callable[[float], None],
        check: Callable[[], None] = lambda: None,
        groups: Sequence[str] | None = None,
    ) -> None:
        self._look, self._slice_ms, self._patience = look, round(1000 * slice_s), patience
        self._sleep, self._check, self._groups = sleep, check, groups
        self._number = -1
        self.seen: Look | None = None

    def begins(self, time_ms: int) -> bool:
        """Whether an event of this time opens a slice."""
        number = time_ms // self._slice_ms
        opens, self._number = number > self._number, max(number, self._number)
        return opens

    def wait(self) -> None:
        """Wait until all that is in the log is taken.

        Raises
        ------
        StandstillError
            Nothing moved for a long time; the message names the process that others wait for.
        """
        self.until(self._laggard)

    def until(self, lacks: Callable[[Look], str | None]) -> None:
        """Wait until nothing lacks any more, however long that takes while anything moves.

        Parameters
        ----------
        lacks
            Which process is waited for, and how far it is; ``None``: there is none.

        Raises
        ------
        StandstillError
            Nothing moved for a long time.
        """
        nap = _FIRST_NAP_S
        while lack := lacks(self.look()):
            self._check()
            assert self.seen is not None
            if self._patience.is_over((lack, self.seen.groups, self.seen.topics)):
                raise StandstillError(
                    f"clicktide {lack}; nothing has moved for {self._patience.most_s:.0f} s. Fix: "
                    "see whether it runs, and its messages in logs/ of the stream's folder"
                )
            self._sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP_S)

    def look(self) -> Look:
        """Look at the log now."""
        self.seen = self._look()
        return self.seen

    def _laggard(self, look: Look) -> str | None:
        """The first process of the flow that has something to read, and how far it is."""
        groups = self._groups
        if groups is None:
            groups = [name for name in ("join", "count", "train") if name in look.groups]
        for name in groups:
            parts = look.groups.get(name, [])
            late = [f"{p.topic}-{p.partition}: {p.read_to:,} of {p.end:,}" for p in parts if p.lag]
            if late or not parts:
                return f"{name} has read {', '.join(late) or 'nothing'}"
        return None
