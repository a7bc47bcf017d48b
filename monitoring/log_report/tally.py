"""Counts any log for a report: windows of all, periods by slice, and model versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.errors import SourceError
from monitoring.coded import Coded
from monitoring.log_report.buckets import ROW_STEPS, TIME_STEPS_MS, Buckets
from monitoring.log_report.changes import between, period_name
from monitoring.log_report.places import Places
from monitoring.log_report.versions import Versions
from monitoring.report.gathered import Gathered, Period, Stretch
from monitoring.scored import Scored
from monitoring.windows.window import Terms, Window

__all__ = ["LogTally"]

_WINDOWS, _PERIODS = 130, 14
Sums = NDArray[np.float64]


class LogTally:
    """Counts batches in bounded memory; they may come in any order of time.

    Parameters
    ----------
    fields
        Slice fields.
    axis
        ``time``, or ``row`` where times are row numbers.
    window
        Width of a window, in ms or rows; chosen if not given.
    room
        Values of a field that are counted by themselves; later ones share ``(other)``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from monitoring.scored import TableColumns, scored_table
    >>> rows, _ = scored_table(pa.table({"y": [0, 1], "p": [0.1, 0.4]}), TableColumns("y", "p"))
    >>> tally = LogTally((), "row")
    >>> tally.update(rows)
    >>> tally.gathered("a log").stretches[0].end
    100
    """

    def __init__(
        self,
        fields: Sequence[str],
        axis: Literal["time", "row"],
        *,
        window: int | None = None,
        room: int = 1000,
    ) -> None:
        self.fields, self.axis = tuple(fields), axis
        steps = TIME_STEPS_MS if axis == "time" else ROW_STEPS
        self.events = 0
        self._windows = Buckets((), (window,) if window else steps, _WINDOWS, 1)
        self._periods = Buckets(self.fields, steps, _PERIODS, room)
        self._places = {field: Places(room) for field in self.fields}
        self._versions = Versions(self.fields, room)

    def update(self, scored: Scored) -> None:
        """Count a batch."""
        if not len(scored):
            return
        self.events += len(scored)
        terms = Terms.of(scored)
        placed: Mapping[str, Coded] = {
            field: self._places[field](scored.slices[field]) for field in self.fields
        }
        rows = replace(scored, slices=placed)
        self._windows.add(rows, terms)
        self._periods.add(rows, terms)
        self._versions.add(rows, terms)

    def gathered(self, source: str) -> Gathered:
        """Everything counted.

        Raises
        ------
        SourceError
            There was no row.
        """
        windows, periods = self._windows.windows(), self._periods.windows()
        if not windows:
            raise SourceError(f"{source}: no row can be used. Fix: give a log with at least one")
        named = [Period(period_name(p, self.axis), _sums(p), p.start_ms) for p in periods]
        return Gathered(
            source=source,
            stretches=[Stretch(w.start_ms, w.end_ms, w.sums) for w in windows],
            histogram=np.sum([window.histogram for window in windows], axis=0),
            slices=_added([period.slices for period in named], self.fields),
            axis=self.axis,
            periods=named,
            by_version=self._versions.periods(),
            drift=between(periods, self.fields),
            version_changes=self._versions.changes(),
            versions=self._versions.rows(),
            notes=self._notes(),
        )

    def _notes(self) -> list[str]:
        notes = [
            f"{field}: {places.room:,} values are counted by themselves; the others are (other)."
            for field, places in self._places.items()
            if places.full
        ]
        if self.fields:
            notes.append(
                "A slice is called off if its ratio differs from 1 by more than 5 % and by more "
                "than chance explains, with all slices looked at: in a calibrated log, one or more "
                "are called so wrongly in at most 5 of 100 reports (Bonferroni)."
            )
        return notes


def _sums(window: Window) -> dict[str, dict[str, Sums]]:
    """Sums by field and value, of values that were seen."""
    return {
        field: {
            value: window.slot_sums[slot]
            for value, slot in places.items()
            if window.slot_sums[slot, 0] > 0
        }
        for field, places in window.values.items()
    }


def _added(
    parts: Sequence[Mapping[str, Mapping[str, Sums]]], fields: Sequence[str]
) -> dict[str, dict[str, Sums]]:
    """Sums of all parts together."""
    whole: dict[str, dict[str, Sums]] = {field: {} for field in fields}
    for part in parts:
        for field, values in part.items():
            for value, sums in values.items():
                before = whole[field].get(value)
                whole[field][value] = sums.copy() if before is None else before + sums
    return whole
