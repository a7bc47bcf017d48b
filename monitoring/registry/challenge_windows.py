"""Progressive figures of a challenger by windows of event time, a JSON line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learning.click_learner import probabilities
from learning.metrics import Figures, Tally
from monitoring.coded import Coded
from monitoring.watch.slices import OTHER

__all__ = [
    "QUARTER_MS", "ChallengeWindow", "EventSlices", "EventWindows", "SliceQuarter",
    "read_slices", "read_windows",
]  # fmt: skip

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


QUARTER_MS = 900_000
_OPEN_QUARTERS = 2
_ROOM = 2_000
"""Values of a field that have a place of their own while a quarter is open."""

Sums = list[float]
"""Events; and sums of importance weight times label, prediction and log loss."""


class SliceQuarter(msgspec.Struct):
    """Sums of a quarter of an hour, by field and value."""

    start_ms: int
    fields: dict[str, dict[str, Sums]] = {}

    def add(self, field: str, value: str, sums: Sequence[float]) -> None:
        """Count some more; a value that finds no room counts among the others."""
        values = self.fields.setdefault(field, {})
        if value not in values and len(values) >= _ROOM:
            value = OTHER
        known = values.setdefault(value, [0.0] * 4)
        values[value] = [a + b for a, b in zip(known, sums, strict=True)]

    def cut(self, most: int) -> None:
        """Keep each field's most frequent values, the others as one."""
        for field, values in self.fields.items():
            ranked = sorted(values.items(), key=lambda item: (item[0] == OTHER, -item[1][0]))
            self.fields[field] = dict(ranked[:most])
            for _, sums in ranked[most:]:
                self.add(field, OTHER, sums)


class EventSlices:
    """The last day's quarters.

    Parameters
    ----------
    keep
        Quarters that are kept.
    most
        Values of a field that are kept of each.

    Examples
    --------
    >>> import pyarrow as pa
    >>> slices = EventSlices()
    >>> site = Coded.of(pa.array(["a", "b", "a"]))
    >>> slices.add(np.zeros(3, np.int64), {"site": site}, np.zeros(3), np.array([1.0, 0.0, 0.0]))
    >>> slices.quarters[0].fields["site"]["a"][:3]
    [2.0, 1.0, 1.0]
    """

    def __init__(self, keep: int = 96, most: int = 32) -> None:
        self.keep, self.most = keep, most
        self.quarters: dict[int, SliceQuarter] = {}

    def add(
        self,
        times: NDArray[np.int64],
        fields: Mapping[str, Coded],
        logits: F64,
        labels: F64,
        importance: F64 | None = None,
    ) -> None:
        """Count events; one from before all that is kept counts in the oldest quarter."""
        if not len(times) or not fields:
            return
        weight = np.ones(len(labels)) if importance is None else importance
        loss = np.logaddexp(0.0, np.where(labels > 0, -logits, logits))
        terms = (labels, probabilities(logits), loss)
        weighed = np.array([np.ones(len(labels)), *(weight * term for term in terms)])
        starts = times // QUARTER_MS * QUARTER_MS
        if len(self.quarters) > _OPEN_QUARTERS:
            starts = np.maximum(starts, min(self.quarters))
        for start in np.unique(starts).tolist():
            rows = starts == start
            quarter = self.quarters.setdefault(start, SliceQuarter(start))
            for field, coded in fields.items():
                _count(quarter, field, coded.take(rows), weighed[:, rows])
        self._close()

    def _close(self) -> None:
        known = sorted(self.quarters)
        for start in known[:-_OPEN_QUARTERS]:
            self.quarters[start].cut(self.most)
        for start in known[: -self.keep]:
            del self.quarters[start]

    def write(self, path: Path) -> None:
        """Write the quarters in place of the file that is there."""
        draft = path.with_name(f"{path.name}.part")
        draft.write_bytes(msgspec.json.encode(list(self.quarters.values())))
        draft.replace(path)

    def state(self) -> Any:
        """As plain data, for a snapshot."""
        return msgspec.to_builtins(list(self.quarters.values()))

    def restore(self, state: Any) -> None:
        """Take up what :meth:`state` gave."""
        found = msgspec.convert(state, list[SliceQuarter])
        self.quarters = {quarter.start_ms: quarter for quarter in found}


def _count(quarter: SliceQuarter, field: str, coded: Coded, weighed: F64) -> None:
    codes, words = coded.codes, coded.words
    there = np.unique(codes)
    sums = [np.bincount(codes, term, len(words))[there].tolist() for term in weighed]
    for value, *of in zip(words.take(there).to_pylist(), *sums, strict=True):
        quarter.add(field, value, of)


def read_slices(path: Path) -> list[SliceQuarter]:
    """Quarters of a file; none where there is no such file, or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[SliceQuarter])
    except (FileNotFoundError, msgspec.DecodeError):
        return []
