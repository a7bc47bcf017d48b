"""Where serving's weights come from, and how it keeps answering when they go.

* :class:`LiveWeights`: the trainer's mapped file, on its host. No copy, no reload.
* :class:`~serving.replica.ReplicaWeights`: the ``weights`` topic, on other hosts.
* :class:`PinnedWeights`: a snapshot folder, such as a registered model version.
* :class:`Switch`: one of these, which another may replace at any moment.

**A live file that goes wrong.** Deleted or replaced: the mapping that is held stays whole, and what
stands at the path now is opened, if it is of the same spec; else the old weights stay and
``problem`` tells. Truncated or overwritten: its numbers are gone for everyone who maps it. The
reader survives the reading (:mod:`serving.mapped_guard`), ``intact`` turns false, and a spare
copy takes over, made every ``spare_every_s`` aside: the buckets in use, packed. So a scorer asks
for ``intact`` after it has scored, and scores again where it is not::

    while True:
        weighing = weights.current()
        scored = score(weighing)
        if weighing.intact:
            break
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.errors import SnapshotError
from features.spec import Spec
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.live import LiveReader, open_live
from learning.snapshot import load_snapshot
from learning.touched import used_buckets
from serving.mapped_guard import Region, guard

__all__ = ["FixedWeighing", "LiveWeights", "PinnedWeights", "Switch", "Weighing", "WeightsSource"]

_LOOK_S = 0.05
_TRY_AGAIN_S = 1.0
_TABLES = ("fields", "crosses")
_VECTORS = ("mixture", "calibration")


class Weighing(Protocol):
    """The weights at one moment."""

    @property
    def learner(self) -> ClickLearner:
        """Predicts; learns nothing."""

    @property
    def version(self) -> str:
        """Names these weights."""

    @property
    def events(self) -> int:
        """Events learned."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones."""

    @property
    def intact(self) -> bool:
        """False: they were lost while they were read; ask for others and score again."""

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned; ``None``: not known."""


class WeightsSource(Protocol):
    """Where weights come from."""

    def current(self) -> Weighing | None:
        """The newest; ``None`` before the first ones. Cheap: asked at every request."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones, for people; ``None``: there are."""

    def close(self) -> None:
        """Let go of threads and files."""


@dataclass(slots=True)
class FixedWeighing:
    """Weights that stay as they are, or that another thread moves on; see :class:`Weighing`."""

    learner: ClickLearner
    version: str
    events: int
    updated_ms: float | None = None
    problem: str | None = None
    intact: bool = True

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned."""
        return None if self.updated_ms is None else now_ms - self.updated_ms


class _LiveWeighing:
    """A live file, at whatever event its trainer is."""

    def __init__(self, reader: LiveReader, region: Region, source: LiveWeights) -> None:
        self.reader, self.region, self._source = reader, region, source
        self.learner = reader.learner

    @property
    def events(self) -> int:
        return self.reader.events

    @property
    def version(self) -> str:
        return f"live-{self._source.identity}-{self.reader.events}"

    @property
    def problem(self) -> str | None:
        return self._source.problem

    @property
    def intact(self) -> bool:
        return not self.region.broken

    def age_ms(self, now_ms: float) -> float | None:
        return now_ms - self.reader.updated_ms


@dataclass(frozen=True, slots=True)
class _Spare:
    """The buckets in use, and what they held."""

    tables: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    vectors: dict[str, NDArray[np.float64]]
    quantiles: Any
    events: int
    updated_ms: float


class LiveWeights:
    """The weights in a trainer's live file, on its host; for one thread.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    spec
        Whose weights they must be.
    spare_every_s
        How often the spare copy is made, for the case that the file is truncated. Longer: less
        work (docs/weights.md), an older spare. 0: none, and there are no weights then.
    clock
        Seconds that only rise.

    Attributes
    ----------
    problem
        Why there are no newer weights; ``None``: there are.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: Spec,
        *,
        spare_every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.spec, self._clock = Path(path), spec, clock
        self.identity = spec_identity(spec)[:8]
        self.problem: str | None = None
        self._weighing: _LiveWeighing | FixedWeighing | None = None
        self._spare: _Spare | None = None
        self._opened: tuple[int, int] | None = None
        self._refused: tuple[int, ...] | None = None
        self._look_at = self._try_at = -np.inf
        self._closed, self._due = threading.Event(), threading.Event()
        self.current()
        if spare_every_s:
            self._spare_every_s = spare_every_s
            threading.Thread(target=self._keep_spare, name="spare-weights", daemon=True).start()

    def current(self) -> Weighing | None:
        """The newest weights; looks at the file every 50 ms, and at once when it broke."""
        now = self._clock()
        held = self._weighing
        if now >= self._look_at or (held is not None and not held.intact):
            self._look_at = now + _LOOK_S
            self._look(now)
        return self._weighing

    def close(self) -> None:
        """Make no more spares."""
        self._closed.set()
        self._due.set()

    # --- the file --------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        held = self._weighing
        about = _stat(self.path)
        if isinstance(held, _LiveWeighing):
            same = about is not None and self._opened == (about.st_dev, about.st_ino)
            short = about is not None and same and about.st_size < held.region.size
            if short or held.region.broken or not held.reader.sound or held.region.broken:
                self._rescue(held)
            elif not held.reader.superseded:
                self._refresh(held.reader)
                if same:
                    return
        if about is None:
            self._tell(f"{self.path}: no such file. Fix: start `clicktide train --live`")
            return
        stands = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        if stands != self._refused or now >= self._try_at:
            self._open(stands, now)

    def _tell(self, what: str) -> None:
        """Say why there are no newer weights; a spare that is served says so itself."""
        if isinstance(self._weighing, FixedWeighing):
            self.problem = self._weighing.problem
        elif self._weighing is not None:
            self.problem = f"{what}; the weights from before stay"
        else:
            self.problem = what

    def _refresh(self, reader: LiveReader) -> None:
        try:
            reader.refresh()
            self.problem = None
        except (SnapshotError, ValueError, KeyError) as error:
            self.problem = f"{error}; the edges known before stay"
            self._look_at += _TRY_AGAIN_S

    def _open(self, stands: tuple[int, ...], now: float) -> None:
        regions: list[Region] = []
        try:
            reader = open_live(self.path, self.spec, on_map=lambda map: regions.append(guard(map)))
        except SnapshotError as error:
            self._refused, self._try_at = stands, now + _TRY_AGAIN_S
            self._tell(str(error))
            return
        if regions[0].broken:
            return
        self._weighing = _LiveWeighing(reader, regions[0], self)
        self._opened, self._refused, self.problem = (stands[0], stands[1]), None, None
        self._due.set()

    # --- the spare -------------------------------------------------------------------------

    def _rescue(self, held: _LiveWeighing) -> None:
        """Serve the spare instead of a file whose numbers are gone."""
        spare, self._opened = self._spare, None
        self.problem = f"{self.path}: truncated or overwritten; no spare copy was made yet"
        self._weighing = None
        if spare is not None:
            self.problem = f"{self.path}: truncated or overwritten; a spare copy is served"
            version = f"spare-{self.identity}-{spare.events}"
            learner = _unpacked(self.spec, spare)
            self._weighing = FixedWeighing(
                learner, version, spare.events, spare.updated_ms, self.problem
            )

    def _keep_spare(self) -> None:
        while not self._closed.is_set():
            held = self._weighing
            if isinstance(held, _LiveWeighing):
                spare = _packed(held.reader)
                if held.intact and held.reader.sound and held.intact:
                    self._spare = spare
            del held
            self._due.clear()
            self._due.wait(self._spare_every_s)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _packed(reader: LiveReader) -> _Spare:
    weights, vectoriser = reader.learner.weights, reader.learner.vectoriser
    assert weights is not None and vectoriser is not None
    events, updated = reader.events, float(reader.updated_ms)
    tables = {}
    for name in _TABLES:
        table = getattr(weights, name)
        used = used_buckets(table)
        tables[name] = (used, table[used])
    vectors = {name: getattr(weights, name).copy() for name in _VECTORS}
    return _Spare(tables, vectors, vectoriser.quantiles.state(), events, updated)


def _unpacked(spec: Spec, spare: _Spare) -> ClickLearner:
    learner = ClickLearner(spec)
    assert learner.weights is not None and learner.vectoriser is not None
    for name, (used, held) in spare.tables.items():
        getattr(learner.weights, name)[used] = held
    for name, vector in spare.vectors.items():
        getattr(learner.weights, name)[:] = vector
    learner.vectoriser.quantiles.restore(spare.quantiles)
    return learner


class PinnedWeights:
    """A snapshot, loaded once.

    Parameters
    ----------
    folder
        Of the snapshot.
    spec
        Whose weights they must be.
    version
        What they are called; ``None``: what the snapshot says (``version`` in its extra), else
        the folder's name.

    Raises
    ------
    SnapshotError
        There is none, it is damaged, or of another spec.
    """

    problem: str | None = None

    def __init__(
        self, folder: str | os.PathLike[str], spec: Spec, version: str | None = None
    ) -> None:
        snapshot = load_snapshot(folder, spec)
        said = snapshot.extra.get("version") or Path(folder).resolve().name
        events = snapshot.progress.overall.events
        self._weighing = FixedWeighing(snapshot.learner, version or str(said), events)

    def current(self) -> Weighing:
        """These weights."""
        return self._weighing

    def close(self) -> None:
        """Nothing is held."""


class Switch:
    """A source in whose place another may be put while requests run; any thread may.

    Parameters
    ----------
    source
        The first one.
    """

    def __init__(self, source: WeightsSource) -> None:
        self._source = source

    def use(self, source: WeightsSource) -> WeightsSource:
        """Take this one from now on; gives the former one, for the caller to close."""
        former, self._source = self._source, source
        return former

    def current(self) -> Weighing | None:
        """The newest weights of the source in use."""
        return self._source.current()

    @property
    def problem(self) -> str | None:
        """What the source in use says."""
        return self._source.problem

    def close(self) -> None:
        """Close the source in use."""
        self._source.close()
