"""Which model predicted each row, and for how long its weights had been in use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.jit import jit, read_only
from monitoring.watch.categorical import Categorical, hashes_of
from monitoring.watch.repair.table import without_repairs

__all__ = ["UNKNOWN", "ModelVersions", "read_version"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

UNKNOWN = 0
"""Model of a row whose version is not logged."""
_LIVE = re.compile(r"(live-[0-9a-f]+)-(\d+)")
_MOST_MARKS = 4096
_MOST_NAMES = 64


def read_version(version: str) -> tuple[str, int]:
    """Name of a version's model, and how many events its weights had learned (0: not live).

    Live weights are named by these (``live-SPEC-EVENTS``), and have a version each second.

    Examples
    --------
    >>> read_version("live-0a1b2c3d-1200+r00c0ffee"), read_version("v7")
    (('live-0a1b2c3d', 1200), ('v7', 0))
    """
    name = without_repairs(version)
    live = _LIVE.fullmatch(name)
    return (live[1], int(live[2])) if live else (name, 0)


class ModelVersions:
    """Names and ages of the weights of a stream.

    While the trainer learns, the events that live weights had learned grow; when it stands,
    predictions go on with the same.

    Examples
    --------
    >>> coded = Categorical.of(pa.array(["live-0a-500", "live-0a-500+r00c0ffee", "live-0a-900"]))
    >>> ModelVersions().of_rows(coded, np.array([1000, 61_000, 62_000]))[1].tolist()
    [0.0, 60.0, 0.0]
    """

    def __init__(self) -> None:
        self._marks = np.zeros((_MOST_MARKS, 2), np.int64)  # events learned, when first seen
        self._clock = np.zeros(2, np.int64)  # number of marks, model that they are of
        self._names: dict[int, str] = {}

    def of_rows(self, version: Categorical | None, time_ms: I64) -> tuple[I64, F64]:
        """Model and age of the weights of the next rows of the stream.

        Returns
        -------
        model
            Hash of its name; of live weights one for all their versions.
        age_s
            Event time since weights that had learned as much were first in use; 0 if not live.
        """
        age = np.zeros(len(time_ms))
        if version is None or not len(time_ms):
            return age.astype(np.int64), age
        versions = [read_version(str(word)) for word in version.values]
        names = [name for name, _ in versions]
        models = (hashes_of(pa.array(names, pa.string())) >> np.uint64(1)).astype(np.int64)
        self._names |= dict(zip(models.tolist(), names, strict=True))
        for old in list(self._names)[:-_MOST_NAMES]:
            del self._names[old]
        learned = np.array([events for _, events in versions], np.int64)[version.codes]
        model = models[version.codes]
        _add_ages(read_only(time_ms), model, learned, self._marks, self._clock, age)
        return model, age

    def name(self, model: int) -> str:
        """What a model is called; empty if nobody remembers."""
        return self._names.get(model, "")

    def state(self) -> dict[str, Any]:
        """All that a restart needs."""
        return {
            "marks": self._marks[: self._clock[0]].copy(),
            "clock": self._clock.copy(),
            "names": {str(model): name for model, name in self._names.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self._clock = np.array(state["clock"])
        self._marks[: self._clock[0]] = state["marks"]
        self._names = {int(model): str(name) for model, name in state["names"].items()}


@jit
def _add_ages(time_ms: I64, model: I64, learned: I64, marks: I64, clock: I64, age: F64) -> None:
    """Row by row: a mark for each new number of events, and how old the marks are."""
    for i in range(len(time_ms)):
        if learned[i] == 0:
            continue
        if model[i] != clock[1]:
            clock[0], clock[1] = 0, model[i]
        n = clock[0]
        if n == 0 or learned[i] > marks[n - 1, 0]:
            if n == len(marks):
                half = n // 2
                marks[:half] = marks[n - half :].copy()
                n = half
            marks[n, 0], marks[n, 1] = learned[i], time_ms[i]
            clock[0] = n + 1
            continue
        at = np.searchsorted(marks[:n, 0], learned[i])
        age[i] = max(0.0, (time_ms[i] - marks[at, 1]) / 1000.0)
