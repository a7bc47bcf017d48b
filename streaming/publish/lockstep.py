"""A publisher and its stream in step: event time goes on when all that is due by then is done.

What a simulated stream shows must not depend on how fast the machine is. So a publisher that asks
for predictions publishes one slice of event time, then waits, on positions in the log alone, until
that slice is joined, counted and learned; then it asks for the next slice's predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from features.errors import ClicktideError
from streaming.status import Look

__all__ = ["Lockstep", "Patience", "StandstillError"]

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
        self.until(self._late)

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

    def _late(self, look: Look) -> str | None:
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
