"""The progress of a run: figures over all events, and over windows that double as it grows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.metrics import Figures, Tally

__all__ = ["Progress"]

F64 = NDArray[np.float64]

FIRST_WINDOW = 1_000
MOST_WINDOWS = 200
_WINDOW_BINS = 512


class Progress:
    """Progressive metrics of a run, overall and per window, in bounded memory.

    Windows start at ``window`` events each; when there are :data:`MOST_WINDOWS` of them,
    neighbours are put together and windows are twice as long from then on. So a run of any
    length has between 100 and 200 of them. Where a batch is cut changes nothing.

    Parameters
    ----------
    window
        Events in the first windows.

    Examples
    --------
    >>> import numpy as np
    >>> from learning.progress import Progress
    >>> progress = Progress()
    >>> progress.add(np.zeros(2500), np.zeros(2500))
    >>> [figures.events for figures in progress.windows()]
    [1000, 1000, 500]
    """

    def __init__(self, window: int = FIRST_WINDOW) -> None:
        self.window = window
        self.overall = Tally()
        self._windows: list[Tally] = []

    def add(
        self, logits: F64, labels: F64, importance: F64 | None = None, truth: F64 | None = None
    ) -> None:
        """Score n events; parameters as for :meth:`learning.metrics.Tally.add`."""
        self.overall.add(logits, labels, importance, truth)
        at = 0
        while at < len(logits):
            tally = self._open_window()
            part = slice(at, at + self.window - tally.events)
            tally.add(
                logits[part],
                labels[part],
                None if importance is None else importance[part],
                None if truth is None else truth[part],
            )
            at = part.stop

    def amend(self, logits: F64, importance: F64 | None = None) -> None:
        """Count n late clicks, overall and in the newest window; see ``Tally.amend``."""
        for tally in (self.overall, *self._windows[-1:]):
            tally.amend(logits, importance)

    def _open_window(self) -> Tally:
        """The window that the next event falls into."""
        if not self._windows or self._windows[-1].events >= self.window:
            if len(self._windows) == MOST_WINDOWS:
                self._double()
            self._windows.append(Tally(_WINDOW_BINS))
        return self._windows[-1]

    def _double(self) -> None:
        for left, right in zip(self._windows[::2], self._windows[1::2], strict=True):
            left.merge(right)
        self._windows = self._windows[::2]
        self.window *= 2

    def windows(self) -> list[Figures]:
        """Figures of every window, oldest first."""
        return [tally.figures() for tally in self._windows]

    def state(self) -> dict[str, Any]:
        """Arrays and numbers for a snapshot."""
        return {
            "window": self.window,
            "overall": self.overall.state(),
            "windows": [tally.state() for tally in self._windows],
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Progress:
        """Take up what :meth:`state` gave."""
        progress = cls(int(state["window"]))
        progress.overall = Tally.restored(state["overall"])
        progress._windows = [Tally.restored(window) for window in state["windows"]]
        return progress
