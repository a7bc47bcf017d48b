"""A learner in shadow: takes batches of examples, and scores each before it learns it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.batch import Batch, Position
from features.spec import Spec
from features.times import NO_TIME, times_ms
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.progress import Progress
from learning.snapshot import Snapshot, load_snapshot, save_snapshot
from monitoring.coded import Coded
from monitoring.registry.challenge_windows import EventSlices, EventWindows
from monitoring.watch.slices import slice_fields
from streaming.examples import ExampleReader, examples_source, lines_of_records
from streaming.log import Record
from streaming.prepare import Preparer, Ready
from streaming.replay import Replay
from streaming.settings import EXAMPLES

__all__ = ["Shadow", "SpecShadow", "Told"]

F64 = NDArray[np.float64]
_TIME = "\0time"


@dataclass(frozen=True, slots=True)
class Told:
    """Times of some events, and their values of the slice fields."""

    times: NDArray[np.int64]
    fields: Mapping[str, Coded]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Told:
        """Some of them."""
        return Told(self.times[rows], {name: c.take(rows) for name, c in self.fields.items()})


class Shadow(ABC):
    """What all challengers have in common: reading, and windows.

    Parameters
    ----------
    spec
        Which fields there are.
    windows
        Where its figures go.
    """

    def __init__(self, spec: Spec, windows: EventWindows) -> None:
        self.spec, self.windows, self.slices = spec, windows, EventSlices()
        self._fields = slice_fields(spec)
        source = examples_source(spec)
        self._prepare = Preparer(Vectoriser(spec), source)
        columns = self._prepare.columns
        if not source.timestamp:  # then the impression's own time, which the reader fills in
            source = msgspec.structs.replace(source, timestamp=_TIME, timestamp_format="ms")
            columns = [*columns, _TIME]
        self._source, self._reader = source, ExampleReader(source, columns)

    def learn(self, records: Sequence[Record]) -> int:
        """Predict, score and learn the examples of some records; how many there were."""
        data, _ = lines_of_records(records)
        after = Position(EXAMPLES, records[-1].offset)
        count = 0
        for batch in self._reader.batches(data, lambda line: (EXAMPLES, line), after):
            times = self._times(batch)
            ready = self._prepare(batch)
            count += ready.hashed.rows
            coded = {field.name: field.coded(batch.columns, times) for field in self._fields}
            self._learn(ready, Told(times, coded).take(ready.rows))
        return count

    def _times(self, batch: Batch) -> NDArray[np.int64]:
        column = batch.columns.column(self._source.timestamp)
        times, _ = times_ms(column, self._source.timestamp_format)
        return np.where(times == NO_TIME, self._reader.latest_ms, times)

    def _score(self, told: Told, logits: F64, labels: F64, importance: F64 | None) -> None:
        """Count what was predicted."""
        self.windows.add(told.times, logits, labels, importance)
        self.slices.add(told.times, told.fields, logits, labels, importance)

    @abstractmethod
    def _learn(self, ready: Ready, told: Told) -> None:
        """Predict, score and learn."""

    @abstractmethod
    def save(self, folder: Path, offsets: Sequence[int]) -> None:
        """Keep what it knows, and how far it has read."""


class _TimedProgress(Progress):
    """Progress that also fills windows and slices: it is told of the events that come next."""

    count_in: Callable[[Told, F64, F64, F64 | None], None]
    told: Told

    def add(
        self, logits: F64, labels: F64, importance: F64 | None = None, truth: F64 | None = None
    ) -> None:
        super().add(logits, labels, importance, truth)
        now, self.told = (self.told.take(s) for s in (slice(len(logits)), slice(len(logits), None)))
        self.count_in(now, logits, labels, importance)


class SpecShadow(Shadow):
    """Our own learner, with another spec or other settings; goes on from its snapshot.

    Parameters
    ----------
    spec
        That it learns by.
    windows
        Where its figures go.
    folder
        Of its snapshot; ``None``: begin anew.
    """

    def __init__(self, spec: Spec, windows: EventWindows, folder: Path | None = None) -> None:
        super().__init__(spec, windows)
        self.offsets: list[int] | None = None
        replay = Replay(ClickLearner(spec))
        if folder is not None and (folder / "snapshot.json").exists():
            replay = self._resumed(load_snapshot(folder, spec))
        progress = _TimedProgress.restored(replay.progress.state())
        assert isinstance(progress, _TimedProgress)
        progress.count_in = self._score
        replay.progress = self._progress = progress
        self.replay = replay

    def _resumed(self, snapshot: Snapshot) -> Replay:
        self.offsets = [int(offset) for offset in snapshot.extra["offsets"]]
        self.windows.restore(snapshot.extra.get("windows", {}))
        self.slices.restore(snapshot.extra.get("slices", []))
        replay = Replay.resumed(snapshot)
        assert replay.learner.vectoriser is not None
        self._prepare.vectoriser.follow(replay.learner.vectoriser)
        return replay

    def _learn(self, ready: Ready, told: Told) -> None:
        events = slice(None) if ready.corrections is None else ready.corrections == 0
        self._progress.told = told.take(events)
        self.replay.learn(ready)

    def save(self, folder: Path, offsets: Sequence[int]) -> None:
        """Write a snapshot with the windows in it."""
        extra: dict[str, Any] = dict(self.replay.snapshot(EXAMPLES).extra)
        extra |= {"offsets": list(offsets), "windows": self.windows.state()}
        extra |= {"slices": self.slices.state()}
        save_snapshot(folder, Snapshot(self.replay.learner, self.replay.progress, extra))
