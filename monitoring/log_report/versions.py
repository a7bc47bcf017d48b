"""Model versions named in a log: how each did, and when it began."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from monitoring.coded import Coded
from monitoring.report.gathered import Period
from monitoring.report.model import Version, VersionChange
from monitoring.scored import Scored
from monitoring.windows.window import Terms, Window

__all__ = ["Versions"]

_MOST = 16
_OTHERS = "(other versions)"
_END = 2**62


class Versions:
    """Counts by model version; the first :data:`_MOST` have figures of their own.

    Parameters
    ----------
    fields
        Slice fields.
    room
        Values of a field.
    """

    def __init__(self, fields: Sequence[str], room: int) -> None:
        self._fields, self._room = fields, room
        self._windows: dict[str, Window] = {}

    @property
    def names(self) -> list[str]:
        """By the time when each was first seen."""
        return sorted(self._windows, key=lambda name: self._windows[name].start_ms)

    def add(self, scored: Scored, terms: Terms) -> None:
        """Count a batch; nothing is done where its rows have no version."""
        version = scored.version
        if version is None:
            return
        for code in np.unique(version.codes).tolist():
            rows = np.flatnonzero(version.codes == code)
            window = self._window(version, code)
            window.add(scored, terms, rows)
            times = scored.time_ms[rows]
            window.start_ms = min(window.start_ms, int(times.min()))
            window.end_ms = max(window.end_ms, int(times.max()))

    def _window(self, version: Coded, code: int) -> Window:
        name = version.words[code].as_py()
        if name not in self._windows and len(self._windows) >= _MOST:
            name = _OTHERS
        if name not in self._windows:
            self._windows[name] = Window(_END, 0, self._fields, self._room)
        return self._windows[name]

    def periods(self) -> list[Period]:
        """Rows of the slice grid."""
        return [Period(name, _sums(self._windows[name])) for name in self.names]

    def changes(self) -> list[VersionChange]:
        """When each but the first began."""
        names = [name for name in self.names if name != _OTHERS]
        return [
            VersionChange(self._windows[name].start_ms, name, before)
            for before, name in pairwise(names)
        ]

    def rows(self) -> list[Version]:
        """Rows of the version table, the newest first."""
        return [self._row(name) for name in reversed(self.names)]

    def _row(self, name: str) -> Version:
        f = self._windows[name].figures()
        return Version(
            name,
            count=f.count,
            ratio=f.calibration_ratio,
            low=f.calibration_low,
            high=f.calibration_high,
            normalised_entropy=f.normalised_entropy,
        )


def _sums(window: Window) -> dict[str, dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]]:
    return {
        field: {value: window.slot_sums[slot] for value, slot in places.items()}
        for field, places in window.values.items()
    }
