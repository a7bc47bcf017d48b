"""Following the aliases: a version that is to be served stands in a folder within seconds.

:class:`Follower`, in one process of a machine, asks the registry and writes ``served.json`` and the
versions' folders; :class:`ChampionSource`, in every server, looks at that file, loads a new version
beside the old one, and swaps. So servers do not import MLflow, and with the registry away, or
after a restart without it, they serve what stands there.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Literal

import msgspec

from features.errors import ClicktideError
from features.spec import Spec
from features.whole_file import file_stamp, read_json, write_json
from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot
from monitoring.registry.client import Registry
from monitoring.registry.pyfunc import SNAPSHOT
from monitoring.registry.versions import CHAMPION, SERVE, NoVersionError, RegistryError

__all__ = ["ChampionSource", "FixedWeights", "Followed", "Follower", "Served", "read_followed"]

_FILE = "served.json"
_TEXT_EVERY_S = 60.0
_TRY_AGAIN_S = 30.0
_SPARE = 2
"""Folders of former versions that stay: a server may be loading one, and may soon want it again."""


class Served(msgspec.Struct, frozen=True):
    """A version that stands in a folder: its number, events it has learned, when it was made."""

    number: int
    events: int
    folder: str
    created_ms: int = 0


class Followed(msgspec.Struct, frozen=True):
    """The contents of ``served.json``: versions by alias, and when that was last known."""

    model: str
    versions: dict[str, Served] = {}
    checked_ms: int = 0


def read_followed(folder: Path) -> Followed | None:
    """Read ``served.json``; ``None`` if there is none to be used."""
    return read_json(folder / _FILE, Followed)


class Follower:
    """Keeps a folder in step with the aliases ``champion`` and ``serve``.

    Parameters
    ----------
    registry
        Asked again and again; used by the calling thread alone.
    folder
        Where versions are put; one follower to a folder.
    now
        Wall-clock seconds since 1970.
    report
        Takes lines for people.
    """

    def __init__(
        self,
        registry: Registry,
        folder: Path,
        *,
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self.registry, self.folder, self.now, self.report = registry, folder, now, report
        self._known = read_followed(folder) or Followed(registry.model)
        self._down = False
        self._missing: dict[int, float] = {}
        self._recent: list[str] = []

    def run(
        self,
        *,
        stopping: Callable[[], bool],
        every_s: float,
        pause: Callable[[float], object] = sleep,
    ) -> None:
        """Follow until asked to stop."""
        while not stopping():
            self.step()
            pause(every_s)

    def step(self) -> bool:
        """Look once; whether the registry answered."""
        try:
            aliases, known = self.registry.aliases(), self._known.versions
            wanted = {name: aliases[name] for name in (CHAMPION, SERVE) if name in aliases}
            there = {number: self._try(number) for number in set(wanted.values())}
        except RegistryError as error:
            if not self._down:
                self.report(f"follow: the registry does not answer, what is here stays: {error}")
            self._down = True
            return False
        self._down = False
        found = {name: there[number] or known.get(name) for name, number in wanted.items()}
        self._write({name: served for name, served in found.items() if served is not None})
        return True

    def _try(self, number: int) -> Served | None:
        """A version's folder; ``None`` if its files are missing: what stood there stays."""
        if self.now() - self._missing.get(number, -math.inf) < _TRY_AGAIN_S:
            return None
        try:
            served = self._version_folder(number)
        except (NoVersionError, OSError) as error:
            if number not in self._missing:
                self.report(
                    f"follow: version {number} cannot be had, the one before stays: {error}"
                )
            self._missing[number] = self.now()
            return None
        self._missing.pop(number, None)
        return served

    def _version_folder(self, number: int) -> Served:
        """A version's folder, fetched if it is not there yet."""
        for known in self._known.versions.values():
            if known.number == number and (self.folder / known.folder).is_dir():
                return known
        version = self.registry.version(number)
        name = f"version-{number}-{version.created_ms}"  # numbers begin anew in a new registry
        if not (self.folder / name).is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".fetch-") as draft:
                files = self.registry.download(version, Path(draft))
                (files / SNAPSHOT).replace(self.folder / name)
            self.report(f"follow: version {number} is here")
        return Served(number, version.events, name, version.created_ms)

    def _write(self, versions: dict[str, Served]) -> None:
        """Say what is to be served; then remove folders that nobody wants any more."""
        now_ms = int(self.now() * 1000)
        same = versions == self._known.versions
        if same and now_ms - self._known.checked_ms < _TEXT_EVERY_S * 1000:
            return
        former = self._known.versions.values()
        self._recent = list(dict.fromkeys([s.folder for s in former] + self._recent))[:_SPARE]
        self._known = Followed(self.registry.model, versions, now_ms)
        write_json(self.folder / _FILE, self._known)
        wanted = {*self._recent, *(served.folder for served in versions.values())}
        for folder in self.folder.glob("version-*"):
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)


class ChampionSource:
    """What is to be served by the registry's word: the pinned version, or else the champion's.

    :meth:`current` costs a look at an attribute. A thread watches the folder and loads; the version
    that is served stays until the next one is whole in memory. A version of another spec, or a
    damaged one, is refused, and the one before it stays.

    Parameters
    ----------
    folder
        Of a :class:`Follower`, on this machine.
    spec
        The spec that is served; ``None``: that of the first version.
    policy
        ``champion``: with nothing pinned, the champion; ``live``: with nothing pinned, nothing,
        so that the caller serves the live weights.
    every_s
        Seconds between looks.

    Attributes
    ----------
    problem
        Why the last version was refused; ``None``: it was not.

    Examples
    --------
    >>> source = ChampionSource(Path("/nowhere"), policy="live")
    >>> source.look(), source.current()
    (False, None)
    """

    def __init__(
        self,
        folder: Path,
        spec: Spec | None = None,
        policy: Literal["live", "champion"] = "live",
        every_s: float = 0.25,
    ) -> None:
        self.folder, self.spec, self.policy, self.every_s = folder, spec, policy, every_s
        self.problem: str | None = None
        self._current: FixedWeights | None = None
        self._served: Served | None = None
        self._refused: Served | None = None
        self._stamp: tuple[int, int] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> FixedWeights | None:
        """What to serve now; ``None``: the live weights."""
        return self._current

    def start(self) -> None:
        """Look now, and from now on in a thread."""
        self.look()
        self._thread = threading.Thread(target=self._watch, name="champion", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _watch(self) -> None:
        while not self._over.wait(self.every_s):
            self.look()

    def look(self) -> bool:
        """Look at the folder once, and load what is new; whether anything changed."""
        stamp = file_stamp(self.folder / _FILE)
        if stamp is None or stamp == self._stamp:
            return False
        followed = read_followed(self.folder)
        if followed is None:
            return False
        self._stamp = stamp
        names = (SERVE, CHAMPION) if self.policy == "champion" else (SERVE,)
        version = next((followed.versions[n] for n in names if n in followed.versions), None)
        if version is None:
            changed = self._current is not None
            self._current = self._served = None
            return changed
        if version in (self._served, self._refused):
            return False
        try:
            learner = load_snapshot(self.folder / version.folder, self.spec).learner
        except ClicktideError as error:
            self.problem, self._refused = str(error), version
            return False
        self.spec, self.problem, self._refused = learner.spec, None, None
        name, registered = f"v{version.number}", version.created_ms or None
        self._current = FixedWeights(learner, name, version.events, registered)
        self._served = version
        return True


@dataclass(slots=True)
class FixedWeights:
    """Weights to serve that stay as they are, or that another thread moves on.

    Parameters
    ----------
    learner
        Read only: it learns no more.
    version, events
        What they are called, and how many events they have learned.
    updated_ms
        Wall clock of when they last learned; ``None``: not known.
    problem
        Why there are no newer ones.
    """

    learner: ClickLearner
    version: str
    events: int
    updated_ms: float | None = None
    problem: str | None = None

    def age_ms(self, now_ms: float) -> float | None:
        """Milliseconds since an event was last learned."""
        return None if self.updated_ms is None else max(0.0, now_ms - self.updated_ms)
