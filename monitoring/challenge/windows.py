"""Progressive figures of a challenger by windows of event time, a JSON line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learning.metrics import Figures, Tally

__all__ = ["ChallengeWindow", "EventWindows", "read_windows"]

F64 = NDArray[np.float64]
_BINS = 512
_OPEN = 4
"""Windows that are open at a time: examples come in about the order of their times."""


class ChallengeWindow(msgspec.Struct, frozen=True):
    """A closed window.

    Parameters
    ----------
    challenger
        Name.
    start_ms, end_ms
        Its stretch of event time; starts are multiples of the length, so windows of several
        challengers lie over each other.
    events, clicks, expected, loss
        Count; and sums of importance weight times label, prediction, and log loss: those of
        several windows add up.
    figures
        Read off them.
    """

    challenger: str
    start_ms: int
    end_ms: int
    events: int
    clicks: float
    expected: float
    loss: float
    figures: Figures


class EventWindows:
    """Windows of one challenger; the last closed ones are kept.

    Parameters
    ----------
    challenger
        Its name.
    window_s
        Length, in event time.
    keep
        Closed windows that are kept.

    Examples
    --------
    >>> windows = EventWindows("wide", window_s=60)
    >>> times = np.array([0, 30_000, 60_000])
    >>> windows.add(times, np.zeros(3), np.array([0.0, 1.0, 0.0]))
    >>> [(window.start_ms, window.events, window.clicks) for window in windows.all()]
    [(0, 2, 1.0), (60000, 1, 0.0)]
    """

    def __init__(self, challenger: str, window_s: float = 60.0, keep: int = 2_000) -> None:
        self.challenger, self.length, self.keep = challenger, int(window_s * 1000), keep
        self.closed: list[ChallengeWindow] = []
        self._open: dict[int, Tally] = {}

    def add(
        self,
        times: NDArray[np.int64],
        logits: F64,
        labels: F64,
        importance: F64 | None = None,
    ) -> None:
        """Score events; one from before all open windows counts in the oldest of them."""
        starts = times // self.length * self.length
        if self.closed:
            starts = np.maximum(starts, self.closed[-1].end_ms)
        for start in np.unique(starts).tolist():
            rows = starts == start
            tally = self._open.setdefault(start, Tally(_BINS))
            weights = None if importance is None else importance[rows]
            tally.add(logits[rows], labels[rows], weights)
        for start in sorted(self._open)[:-_OPEN]:
            self.closed.append(self._read(start, self._open.pop(start)))
        del self.closed[: -self.keep]

    def all(self) -> list[ChallengeWindow]:
        """Closed windows, then those that are open, oldest first."""
        return [
            *self.closed,
            *(self._read(start, self._open[start]) for start in sorted(self._open)),
        ]

    def _read(self, start: int, tally: Tally) -> ChallengeWindow:
        figures = tally.figures()
        expected = (figures.mean_prediction or 0.0) * float(tally.sums[1])
        loss = (figures.log_loss or 0.0) * float(tally.sums[1])
        return ChallengeWindow(
            self.challenger, start, start + self.length, figures.events, figures.clicks,
            expected, loss, figures,
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Write all windows, a JSON line each, in place of the file that is there."""
        draft = path.with_name(f"{path.name}.part")
        draft.write_bytes(b"".join(msgspec.json.encode(w) + b"\n" for w in self.all()))
        draft.replace(path)

    def state(self) -> dict[str, Any]:
        """As plain data, for a snapshot."""
        opened = {
            str(start): [tally.sums.tolist(), tally.histogram.tolist()]
            for start, tally in self._open.items()
        }
        return {"length": self.length, "closed": msgspec.to_builtins(self.closed), "open": opened}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave; of another length: begin anew."""
        if state.get("length") != self.length:
            return
        self.closed = msgspec.convert(state["closed"], list[ChallengeWindow])
        for start, (sums, histogram) in state["open"].items():
            known = {"sums": np.array(sums), "histogram": np.array(histogram), "truth": False}
            self._open[int(start)] = Tally.restored(known)


def read_windows(path: Path) -> Iterator[ChallengeWindow]:
    """Windows of a file; a line that cannot be read is left out."""
    for line in path.read_bytes().splitlines():
        try:
            yield msgspec.json.decode(line, type=ChallengeWindow)
        except msgspec.DecodeError:
            continue
