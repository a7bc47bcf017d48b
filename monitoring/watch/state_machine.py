"""The monitor's state machine: batches in, closed windows and alarms out; no log and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.detect.model_versions import read_version
from monitoring.watch.figures import SUMS
from monitoring.watch.repair.state_machine import SliceRepair
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.window import ClosedWindow, Terms
from monitoring.watch.windows import Windows

if TYPE_CHECKING:
    from monitoring.watch.detect.detector import SequentialDetector

__all__ = ["StaleWeights", "Watch", "WeightsAge"]

_STALE_S = 300.0
_STEP = 500  # rows judged together, by their median
_MOST_MARKS, _MOST_STRETCHES = 4096, 64


class StaleWeights(msgspec.Struct, frozen=True):
    """A stretch of event time whose predictions were made with old weights.

    Parameters
    ----------
    start_ms, end_ms
        Of the predictions.
    age_s
        By how much event time the weights were older than the newest labels of then, at most.
    """

    start_ms: int
    end_ms: int
    age_s: float


class WeightsAge:
    """Counts examples and dates the weights that predicted them.

    Live weights are named by the events that they had learned, and the monitor sees the examples
    in the order in which they are learned: it knows the event time that the weights had reached.

    Parameters
    ----------
    label_s
        Event time from an impression to its label: weights cannot be newer.

    Attributes
    ----------
    age_s
        Of the newest predictions; ``None``: their versions do not say.
    stretches
        Stretches of old weights, oldest first.
    """

    def __init__(self, label_s: float) -> None:
        self._label_ms = 1000 * label_s
        self._counts, self._times = [0], [0]  # so many examples reach so far in event time
        self.age_s: float | None = None
        self.stretches: list[StaleWeights] = []

    def update(self, scored: Scored) -> None:
        """Count examples, in the order of the log."""
        first = ~scored.correction
        times, count = scored.time_ms[first], self._counts[-1]
        for start in range(0, len(times), _STEP):
            part = times[start : start + _STEP]
            count += len(part)
            self._mark(count, int(part.max()))
        if scored.version is not None and len(times):
            versions = (read_version(str(version)) for version in scored.version.values)
            learned = np.array([float(events) for _, events in versions])
            learned = learned[scored.version.codes[first]]
            for start in range(0, len(times), _STEP):
                self._judge(times[start : start + _STEP], learned[start : start + _STEP])

    def _mark(self, count: int, time: int) -> None:
        if len(self._counts) == 1:
            self._times[0] = time
        self._counts.append(count)
        self._times.append(max(time, self._times[-1]))
        if len(self._counts) > _MOST_MARKS:
            self._counts[1:-1], self._times[1:-1] = self._counts[1:-1:2], self._times[1:-1:2]

    def _judge(self, times: NDArray[np.int64], learned: NDArray[np.float64]) -> None:
        known = (learned > 0) & (learned <= self._counts[-1])
        if 2 * known.sum() <= len(times):
            self.age_s = None
            return
        reached = np.interp(learned[known], self._counts, self._times)
        excess = np.median(times[known] - self._label_ms - reached)
        self.age_s = max(0.0, float(excess) / 1000)
        if self.age_s > _STALE_S:
            self._note(int(times.min()), int(times.max()), self.age_s)

    def _note(self, start: int, end: int, age_s: float) -> None:
        last = self.stretches[-1] if self.stretches else None
        if last is not None and start - last.end_ms <= 1000 * _STALE_S:
            start, end = last.start_ms, max(end, last.end_ms)
            self.stretches[-1] = StaleWeights(start, end, max(age_s, last.age_s))
        else:
            self.stretches.append(StaleWeights(start, end, age_s))
            del self.stretches[:-_MOST_STRETCHES]

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "counts": np.array(self._counts),
            "times": np.array(self._times),
            "age_s": self.age_s,
            "stretches": [msgspec.to_builtins(stretch) for stretch in self.stretches],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._counts, self._times = state["counts"].tolist(), state["times"].tolist()
        self.age_s = state["age_s"]
        self.stretches = msgspec.convert(state["stretches"], list[StaleWeights])


class Watch:
    """Counts batches and asks the detectors.

    Parameters
    ----------
    fields
        Names of the slices.
    settings
        Of the windows.
    detectors
        Told of every batch; ``None``: no alarm is raised.
    on_close
        Takes each window when it closes.
    label_s
        Event time from an impression to its label.
    repair
        Told of every batch; ``None``: nothing is repaired.

    Attributes
    ----------
    seen, corrections, unscored
        Examples counted, late clicks on top, and examples left out for want of a prediction.
    version
        Model version of the newest impression that named one.
    """

    def __init__(
        self,
        fields: Sequence[str],
        settings: WindowSettings,
        detectors: SequentialDetector | None,
        on_close: Callable[[ClosedWindow], None],
        label_s: float = 0.0,
        repair: SliceRepair | None = None,
    ) -> None:
        self.windows = Windows(fields, settings, on_close)
        self.detectors, self.repair = detectors, repair
        self.weights = WeightsAge(label_s)
        self.sums = np.zeros(SUMS)
        self.seen = self.corrections = self.unscored = 0
        self.version: str | None = None

    def update(self, scored: Scored) -> Sequence[Alarm]:
        """Count a batch; alarms that it raised or closed."""
        self.weights.update(scored)
        known = ~np.isnan(scored.probability)
        if not known.all():
            self.unscored += int((~known).sum())
            scored = scored.take(known)
        if not len(scored):
            return ()
        terms = Terms.of(scored)
        self.sums += terms.terms.sum(axis=0)
        late = int(scored.correction.sum())
        self.seen, self.corrections = self.seen + len(scored) - late, self.corrections + late
        if scored.version is not None:
            self.version = scored.version.values[scored.version.codes[-1]]
        self.windows.update(scored, terms)
        if self.repair is not None:
            self.repair.update(scored)
        return () if self.detectors is None else self.detectors.update(scored)

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "windows": self.windows.state(),
            "detectors": None if self.detectors is None else self.detectors.state(),
            "repair": None if self.repair is None else self.repair.state(),
            "sums": self.sums,
            "counts": [self.seen, self.corrections, self.unscored],
            "version": self.version,
            "weights": self.weights.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.windows.restore(state["windows"])
        if self.detectors is not None:
            self.detectors.restore(state["detectors"])
        if self.repair is not None and state.get("repair"):  # not of an older version's
            self.repair.restore(state["repair"])
        self.sums = np.array(state["sums"])
        self.seen, self.corrections, self.unscored = state["counts"]
        self.version = state["version"]
        if "weights" in state:  # not of an older version's
            self.weights.restore(state["weights"])
