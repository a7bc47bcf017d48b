"""The trainer's snapshots: looked at while it goes on saving, queued to be published, kept."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from features.errors import SnapshotError
from features.whole_file import read_json, write_json
from learning.click_learner import ClickLearner
from learning.metrics import Tally
from learning.snapshot import load_snapshot
from monitoring.registry.client import Registry
from monitoring.registry.pyfunc import SNAPSHOT
from monitoring.registry.versions import Version

__all__ = ["Queue", "SnapshotCache", "SnapshotSummary", "difference", "snapshot_summary", "stage"]

_INDEX = "snapshot.json"
_TRIES = 20


class SnapshotSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself, without its tables.

    Parameters
    ----------
    spec, identity
        The spec as plain data, and its identity.
    events
        Events learned, corrections not counted.
    event_time
        Latest event time learned, ms.
    offsets
        Next offset of the topic it learns, by partition.
    corrections, rejected
        Late clicks learned, and examples refused.
    tally
        Progressive figures of all events.
    """

    spec: dict[str, Any]
    identity: str
    events: int
    event_time: int
    offsets: tuple[int, ...]
    corrections: int
    rejected: int
    tally: Tally

    @property
    def place(self) -> str:
        """Up to where it has learned: the same for two saves between which nothing came."""
        return f"{self.identity} {self.events} {self.corrections} {list(self.offsets)}"


def snapshot_summary(folder: Path) -> SnapshotSummary | None:
    """SnapshotSummary at a snapshot; ``None`` if there is none, or it is not a trainer's.

    Raises
    ------
    SnapshotError
        It is damaged.
    """
    for _ in range(_TRIES):
        try:
            index: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SnapshotError(f"{folder / _INDEX}: cannot be read: {error}") from error
        if "offsets" not in index.get("extra", {}):
            return None
        try:
            return _summary(folder, index)
        except FileNotFoundError:
            continue  # replaced since its index was read
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise SnapshotError(
                f"{folder}: the snapshot cannot be read: {error}. Fix: wait for the next one"
            ) from error
    return None


def _summary(folder: Path, index: dict[str, Any]) -> SnapshotSummary:
    extra = index["extra"]
    with np.load(folder / Path(index["arrays"]["file"]).name, allow_pickle=False) as arrays:
        state = {"sums": arrays["sums"][0], "histogram": arrays["overall_histogram"]}
    tally = Tally.restored(state | {"truth": index["progress"]["truth"]})
    return SnapshotSummary(
        spec=index["spec"],
        identity=index["spec_identity"],
        events=tally.events,
        event_time=int(extra.get("event_time", 0)),
        offsets=tuple(int(offset) for offset in extra["offsets"]),
        corrections=int(extra.get("corrections", 0)),
        rejected=sum(extra.get("rejected", {}).values()),
        tally=tally,
    )


def difference(now: Tally, before: Tally | None) -> Tally:
    """The events that ``now`` has and ``before`` had not: sums and histograms subtract.

    Examples
    --------
    >>> first, both = Tally(), Tally()
    >>> first.add(np.array([-1.0]), np.array([0.0]))
    >>> both.add(np.array([-1.0, 2.0]), np.array([0.0, 1.0]))
    >>> difference(both, first).figures().clicks
    1.0
    """
    since = Tally.restored(now.state())
    if before is None or before.events > now.events:
        return since
    if before.histogram.shape == now.histogram.shape:
        since.sums -= before.sums
        since.histogram -= before.histogram
        np.maximum(since.histogram, 0.0, out=since.histogram)  # of rounding
    return since


def stage(folder: Path, target: Path) -> Path:
    """Keep a snapshot as it is now; on the same disk nothing is copied.

    Parameters
    ----------
    folder
        The trainer's.
    target
        Made; whole, or not there.

    Raises
    ------
    SnapshotError
        There is none, or it cannot be kept.
    """
    draft = target.with_name(f"{target.name}.part")
    for _ in range(_TRIES):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            text = (folder / _INDEX).read_bytes()
            name = Path(json.loads(text)["arrays"]["file"]).name
            try:  # an arrays file is never written again: a second name will do
                os.link(folder / name, draft / name)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(folder / name, draft / name)
            (draft / _INDEX).write_bytes(text)
        except FileNotFoundError:
            continue  # replaced meanwhile
        except (OSError, ValueError, KeyError) as error:
            raise SnapshotError(f"{folder}: cannot be kept in {target}: {error}") from error
        draft.replace(target)
        return target
    raise SnapshotError(f"{folder}: no snapshot to keep. Fix: start `clicktide train`")


class _Last(msgspec.Struct):
    last_s: float = 0.0
    last_place: str = ""


class Queue:
    """Folders of snapshots, oldest first; it survives the process.

    Parameters
    ----------
    folder
        Where they lie.
    keep
        At most so many: the oldest goes when one more comes.
    report
        Takes lines for people.

    Attributes
    ----------
    last
        When a snapshot was last put here, and up to where that one had learned.
    """

    def __init__(self, folder: Path, keep: int, report: Callable[[str], None]) -> None:
        self.folder, self.keep, self.report = folder / "waiting", keep, report
        self._last_file = folder / "queue.json"
        self.last = read_json(self._last_file, _Last) or _Last()

    def put(self, model: Path, found: SnapshotSummary, now: float) -> None:
        """Keep the snapshot that is there now.

        Raises
        ------
        SnapshotError
            It cannot be kept.
        """
        name = f"{int(now * 1000):015d}-{found.events}"
        stage(model, self.folder / name)
        self.last = _Last(now, found.place)
        write_json(self._last_file, self.last)
        for extra in self.waiting()[: -self.keep]:
            self.report(f"register: {extra.name} is left out: a newer version waits as well")
            self.done(extra)

    def waiting(self) -> list[Path]:
        """Snapshots that wait."""
        found = self.folder.glob("*-*") if self.folder.exists() else ()
        return sorted(path for path in found if not path.name.endswith(".part"))

    def done(self, staged: Path) -> None:
        """Forget one."""
        shutil.rmtree(staged, ignore_errors=True)


class SnapshotCache:
    """A folder of snapshots by version number.

    Parameters
    ----------
    registry
        Where a version is fetched from that is not here.
    folder
        Made when needed.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder

    def put(self, number: int, staged: Path) -> None:
        """Take over the snapshot of a version."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / str(number), ignore_errors=True)
        staged.replace(self.folder / str(number))

    def learner(self, version: Version) -> ClickLearner:
        """The learner of a version."""
        copy = self.folder / str(version.number)
        if not copy.is_dir():
            with tempfile.TemporaryDirectory() as draft:
                fetched = self.registry.download(version, Path(draft)) / SNAPSHOT
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.move(fetched, copy)
        return load_snapshot(copy).learner

    def keep_only(self, numbers: Collection[int]) -> None:
        """Forget all others."""
        for copy in self.folder.glob("*"):
            if copy.name not in map(str, numbers):
                shutil.rmtree(copy, ignore_errors=True)
