"""When events are due: event time tied to the wall clock, or as fast as possible."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Pacer"]

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
