"""A challenger's sums by slice, for each quarter of an hour of event time, in one JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learning.click_learner import probabilities
from monitoring.coded import Coded
from monitoring.windows.drift import OTHER

__all__ = ["QUARTER_MS", "EventSlices", "SliceQuarter", "read_slices"]

F64 = NDArray[np.float64]
QUARTER_MS = 900_000
_OPEN = 2
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
        if len(self.quarters) > _OPEN:
            starts = np.maximum(starts, min(self.quarters))
        for start in np.unique(starts).tolist():
            rows = starts == start
            quarter = self.quarters.setdefault(start, SliceQuarter(start))
            for field, coded in fields.items():
                _count(quarter, field, coded.take(rows), weighed[:, rows])
        self._close()

    def _close(self) -> None:
        known = sorted(self.quarters)
        for start in known[:-_OPEN]:
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
