"""Timing contestants in turns, and what is said of their runs: medians, spans, ratios."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

__all__ = ["Contestant", "Mark", "Run", "Timed", "fastest", "interleave", "rate_between", "ratio"]

Mark = tuple[int, float]
"""Events learned so far, and seconds since the start."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contestant.

    Parameters
    ----------
    events
        Events learned.
    seconds
        What the clock said.
    log_loss
        Progressive, in nats an event; ``None`` where it was not taken.
    """

    events: int
    seconds: float
    log_loss: float | None = None

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


Contestant = Callable[[], Run]


@dataclass(frozen=True, slots=True)
class Timed:
    """All runs of one contestant."""

    name: str
    runs: list[Run] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Events per second of every run."""
        return [run.rate for run in self.runs]

    @property
    def median(self) -> float:
        """Median of the events per second."""
        return median(self.rates)

    @property
    def log_loss(self) -> float | None:
        """Of the last run; learning is the same in all of them."""
        return self.runs[-1].log_loss


def ratio(ours: Timed, *peers: Timed) -> float:
    """How many times faster ours is than the fastest peer: a ratio of medians.

    Examples
    --------
    >>> ratio(Timed("a", [Run(300, 1.0)]), Timed("b", [Run(100, 1.0)]), Timed("c", [Run(60, 1.0)]))
    3.0
    """
    return ours.median / fastest(peers).median


def fastest(timed: Sequence[Timed]) -> Timed:
    """Whose median is highest."""
    return max(timed, key=lambda one: one.median)


def interleave(
    contestants: Mapping[str, Contestant],
    runs: int,
    on_run: Callable[[str], None] = lambda name: None,
) -> dict[str, Timed]:
    """Run all contestants in turns: A B C, A B C, ...; a first round is not counted.

    That first round reads the files into the page cache and imports and compiles what is
    imported and compiled late. What lives before it is kept from Python's garbage collector, so
    that nobody's clock pays for the rows another one holds.

    Parameters
    ----------
    contestants
        By name; each call is one run from an empty model.
    runs
        Counted rounds.
    on_run
        Called with the name before each run.

    Returns
    -------
    dict
        Runs by name, in the order of ``contestants``.
    """
    timed = {name: Timed(name) for name in contestants}
    gc.collect()
    gc.freeze()
    for counted in [False] + [True] * runs:
        for name, contestant in contestants.items():
            on_run(name)
            run = contestant()
            gc.collect()
            if counted:
                timed[name].runs.append(run)
    gc.unfreeze()
    return timed


def rate_between(marks: Sequence[Mark], low: int, high: int) -> Run:
    """Take the stretch from ``low`` to ``high`` events out of a longer run.

    Parameters
    ----------
    marks
        From (0, 0.0) on, rising.
    low, high
        Events; between two marks time is taken to run evenly.

    Examples
    --------
    >>> rate_between([(0, 0.0), (100, 1.0), (200, 4.0)], 100, 200)
    Run(events=100, seconds=3.0, log_loss=None)
    """
    return Run(high - low, _time_at(marks, high) - _time_at(marks, low))


def _time_at(marks: Sequence[Mark], events: int) -> float:
    after = next(i for i, mark in enumerate(marks) if mark[0] >= events)
    if after == 0:
        return marks[0][1]
    (left, start), (right, end) = marks[after - 1], marks[after]
    return start + (end - start) * (events - left) / (right - left)
