"""When to leave a store alone, and when to try it again: a circuit breaker, no I/O, no clock."""

from __future__ import annotations

__all__ = ["Breaker"]


class Breaker:
    """Opens at a failure and stays open for longer, the more failures follow each other.

    Parameters
    ----------
    first_ms, most_ms
        How long it stays open after a second failure in a row, and at the most; it doubles in
        between. After the first failure, a new try may be made at once. Longer: a sick store is
        spared more, and its return is noticed later.
    late_ms
        The most after an answer that was only late: a busy machine's store is back in a moment.

    Examples
    --------
    >>> breaker = Breaker(first_ms=50, most_ms=1000)
    >>> breaker.failed(now_ms=0), breaker.failed(now_ms=10)
    (None, None)
    >>> breaker.closed, breaker.may_probe(59), breaker.may_probe(60)
    (False, False, True)
    >>> breaker.mended()
    >>> breaker.closed
    True
    """

    def __init__(
        self, first_ms: float = 50.0, most_ms: float = 1000.0, late_ms: float = 100.0
    ) -> None:
        self.first_ms, self.most_ms, self.late_ms = first_ms, most_ms, late_ms
        self.failures = 0
        self.closed = True
        self._probe_at = 0.0

    def failed(self, now_ms: float, *, late: bool = False) -> None:
        """Note that a request or a probe failed, or came late."""
        self.failures += 1
        self.closed = False
        doubled = self.first_ms * 2.0 ** min(self.failures - 2, 30)
        most = self.late_ms if late else self.most_ms
        self._probe_at = now_ms + (0.0 if self.failures < 2 else min(doubled, most))

    def may_probe(self, now_ms: float) -> bool:
        """Whether it is time to see if the store answers again."""
        return not self.closed and now_ms >= self._probe_at

    def mended(self) -> None:
        """A probe was answered in time: requests may pass; they prove the rest."""
        self.closed = True

    def passed(self) -> None:
        """A request was answered in time: the failures before it are forgotten."""
        self.failures = 0
