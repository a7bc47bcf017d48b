"""Alarms of a log: the stream's own detectors, told of the log as if it came now."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np
from msgspec.structs import replace

from monitoring.watch.detect.alarm import Alarm, newest_alarms
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings
from streaming.sources.reader import ordered_map

__all__ = ["LogDetector"]

_SETTINGS = DetectSettings(
    overall_share=0.15, slices_share=0.75, moved_share=0.0, missing_share=0.1, delay_share=0.0,
    new_share=0.0, warmup_clicks=1000.0,
)  # fmt: skip
"""A model in a log need not learn on: what matters is whether it is calibrated."""


class LogDetector:
    """Looks for shifts, row by row, in the thread beside the one that counts.

    Examples
    --------
    >>> LogDetector().alarms()
    []
    """

    def __init__(self) -> None:
        self._detector = SequentialDetector(_SETTINGS)
        self._found: list[Alarm] = []
        self._newest = np.iinfo(np.int64).min
        self.in_order = True

    def beside(self, batches: Generator[tuple[Scored, int]]) -> Generator[tuple[Scored, int]]:
        """The same batches, once they have been looked at."""
        with closing(ordered_map(self._look, batches, workers=1, in_flight=3)) as looked:
            yield from looked

    def _look(self, batch: tuple[Scored, int]) -> tuple[Scored, int]:
        times = batch[0].time_ms
        if len(times) and self.in_order:
            self.in_order = bool(times[0] >= self._newest and (np.diff(times) >= 0).all())
            self._newest = times[-1]
        if len(times) and self.in_order:
            self._found += self._detector.update(batch[0])
        return batch

    def alarms(self) -> list[Alarm]:
        """What was found; nothing where the log is not in order of time."""
        found = newest_alarms(self._found) if self.in_order else []
        return [replace(alarm, number=n, opening=n) for n, alarm in enumerate(found)]

    def note(self) -> str:
        """What is to be said of it in the report."""
        if not self.in_order:
            return "Alarms were not looked for: the log is not in order of time."
        clicks = f"{_SETTINGS.false_alarm_clicks:,.0f}"
        return f"Alarms: all tests together raise at most one false alarm in {clicks} clicks."
