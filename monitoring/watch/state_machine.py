"""The monitor's state machine: batches in, closed windows and alarms out; no log and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from monitoring.watch.closed_window import ClosedWindow
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.figures import SUMS
from monitoring.watch.scored import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.weights_age import WeightsAge
from monitoring.watch.window import Terms
from monitoring.watch.windows import Windows

__all__ = ["Detectors", "Watch"]


class Detectors(Protocol):
    """Raises alarms; deterministic: the same batches give the same alarms.

    Where the stream is cut into batches may change nothing but when an alarm is said.
    """

    def update(self, scored: Scored) -> Sequence[Alarm]:
        """Alarms raised or closed by these rows, oldest first."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a restart needs: JSON values and numpy arrays, in dicts and lists."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        ...


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
        detectors: Detectors | None,
        on_close: Callable[[ClosedWindow], None],
        label_s: float = 0.0,
    ) -> None:
        self.windows = Windows(fields, settings, on_close)
        self.detectors = detectors
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
        return () if self.detectors is None else self.detectors.update(scored)

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "windows": self.windows.state(),
            "detectors": None if self.detectors is None else self.detectors.state(),
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
        self.sums = np.array(state["sums"])
        self.seen, self.corrections, self.unscored = state["counts"]
        self.version = state["version"]
        if "weights" in state:  # not of an older version's
            self.weights.restore(state["weights"])
