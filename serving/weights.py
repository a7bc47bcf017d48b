"""Where serving's weights come from.

* :class:`LiveWeights`: the trainer's mapped file, on its host.
* :class:`~serving.log_followers.ReplicaWeights`: the ``weights`` topic, on other hosts.
* :class:`PinnedWeights`: a snapshot folder, such as a registered model version.
* :class:`PolicyWeights`: what the model registry says, else one of the former.

**A live file that goes wrong.** Deleted or replaced: the mapping that is held stays whole, and what
stands at the path now is opened, if it is of the same spec; else the old weights stay and
``problem`` tells. The trainer replaces its file only as a whole; one that another program
truncated is let go of, and the trainer's snapshot is served until there is a new file.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from features.errors import SnapshotError
from features.spec import Spec
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.live import LiveReader, open_live
from learning.snapshot import load_snapshot
from monitoring.registry.follow import ChampionSource, FixedWeights

__all__ = [
    "CurrentWeights",
    "FixedWeights",
    "LiveWeights",
    "PinnedWeights",
    "PolicyWeights",
    "WeightsSource",
]

_LOOK_S = 0.05
_TRY_AGAIN_S = 1.0
_UNUSED_S = 2.0
"""After this time no request holds the mapping of a replaced file any more."""


class CurrentWeights(Protocol):
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

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned; ``None``: not known."""


class WeightsSource(Protocol):
    """Where weights come from."""

    def current(self) -> CurrentWeights | None:
        """The newest; ``None`` before the first ones. Cheap: asked at every request."""

    @property
    def problem(self) -> str | None:
        """Why there are no newer ones, for people; ``None``: there are."""

    def close(self) -> None:
        """Let go of threads and files."""


class PinnedWeights:
    """A snapshot, loaded once; called what it says (``version`` in its extra), or as its folder.

    Parameters
    ----------
    folder
        Of the snapshot.
    spec
        Whose weights they must be.

    Raises
    ------
    SnapshotError
        There is none, it is damaged, or of another spec.
    """

    problem: str | None = None

    def __init__(self, folder: str | os.PathLike[str], spec: Spec) -> None:
        snapshot = load_snapshot(folder, spec)
        version = snapshot.extra.get("version") or Path(folder).resolve().name
        events = snapshot.progress.overall.events
        self._current = FixedWeights(snapshot.learner, str(version), events)

    def current(self) -> CurrentWeights:
        """These weights."""
        return self._current

    def close(self) -> None:
        """Nothing is held."""


class PolicyWeights:
    """The registry's version while it names one, else the live weights.

    A prediction always comes: where the policy is ``champion`` and there is no champion yet, live
    weights are served.

    Parameters
    ----------
    champion
        Started; its policy decides whether a champion is served, or only what is pinned.
    live
        Served otherwise.

    Examples
    --------
    >>> class Live:
    ...     problem = None
    ...     def current(self):
    ...         return "live weights"
    ...     def close(self):
    ...         pass
    >>> PolicyWeights(ChampionSource(Path("/nowhere")), Live()).current()
    'live weights'
    """

    def __init__(self, champion: ChampionSource, live: WeightsSource) -> None:
        self.champion, self.live = champion, live

    def current(self) -> CurrentWeights | None:
        """What to serve now."""
        return self.champion.current() or self.live.current()

    @property
    def problem(self) -> str | None:
        """Why what is served is not what was asked for."""
        return self.champion.problem or self.live.problem

    def close(self) -> None:
        """Let go of threads and files."""
        self.champion.close()
        self.live.close()


class _LiveFileWeights:
    """A live file, at whatever event its trainer is."""

    def __init__(self, reader: LiveReader, source: LiveWeights) -> None:
        self.reader, self._source = reader, source
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

    def age_ms(self, now_ms: float) -> float | None:
        return now_ms - self.reader.updated_ms


class LiveWeights:
    """The weights in a trainer's live file, on its host; for one thread.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    spec
        Whose weights they must be.
    backup
        The trainer's snapshot folder: served when there is no live file, as in a process that
        starts while the file is gone. ``None``: there are no weights then.
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
        backup: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.spec, self._clock = Path(path), spec, clock
        self.identity = spec_identity(spec)[:8]
        self._backup = None if backup is None else Path(backup)
        self._backup_at = -math.inf
        self.problem: str | None = None
        self._current: _LiveFileWeights | FixedWeights | None = None
        self._opened: tuple[int, int] | None = None
        self._refused: tuple[int, ...] | None = None
        self._look_at = self._try_at = -math.inf
        self.current()

    def current(self) -> CurrentWeights | None:
        """The newest weights; looks at the file every 50 ms."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look(now)
            if self._current is None and self._backup is not None and now >= self._backup_at:
                self._backup_at = now + _TRY_AGAIN_S
                self._load(self._backup)
        return self._current

    def close(self) -> None:
        """The mapping goes with this object."""

    # --- the file --------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        held = self._current
        about = _stat(self.path)
        if isinstance(held, _LiveFileWeights):
            same = about is not None and self._opened == (about.st_dev, about.st_ino)
            short = about is not None and same and about.st_size < len(held.reader.map)
            if short or not held.reader.sound:
                self._let_go()
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
        """Say why there are no newer weights; a snapshot that is served says so itself."""
        if isinstance(self._current, FixedWeights):
            self.problem = self._current.problem
        elif self._current is not None:
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
        try:
            reader = open_live(self.path, self.spec)
        except SnapshotError as error:
            self._refused, self._try_at = stands, now + _TRY_AGAIN_S
            self._tell(str(error))
            return
        former, self._current = self._current, _LiveFileWeights(reader, self)
        if former is not None:
            _release_aside(former)
        self._opened, self._refused, self.problem = (stands[0], stands[1]), None, None

    def _let_go(self) -> None:
        """Read no more of a file that was truncated or overwritten in its place."""
        self._opened, self._current = None, None
        self.problem = f"{self.path}: truncated or overwritten"

    def _load(self, folder: Path) -> None:
        """Serve the trainer's snapshot, until there is a live file."""
        try:
            saved_ms = (folder / "snapshot.json").stat().st_mtime * 1000.0
            snapshot = load_snapshot(folder, self.spec)
        except (SnapshotError, OSError):
            return  # what is wrong with the live file says more
        events = snapshot.progress.overall.events
        self.problem = f"{self.problem}; the snapshot in {folder} is served"
        self._current = FixedWeights(
            snapshot.learner, f"snapshot-{self.identity}-{events}", events, saved_ms, self.problem
        )


def _release_aside(mapped: object) -> None:
    """Let go of a mapped file in a thread of its own.

    Whoever lets go last of a file that was replaced waits until the system has deleted it, with
    all that was not on disk yet: seconds, which no request may wait.
    """
    release = threading.Timer(_UNUSED_S, [mapped].clear)
    release.daemon = True
    release.start()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
