"""The trainer's snapshot folder, looked at from outside while the trainer goes on saving."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from features.errors import SnapshotError
from learning.metrics import Tally

__all__ = ["Look", "difference", "look", "stage"]

_INDEX = "snapshot.json"
_TRIES = 20


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself, without its tables.

    Parameters
    ----------
    arrays
        Name of its arrays file: another one with every save.
    spec, identity
        The spec as plain data, and its identity.
    events
        Events learned, corrections not counted.
    event_time
        Latest event time learned, ms.
    offsets
        Next offset of the examples topic, by partition.
    corrections, rejected
        Late clicks learned, and examples refused.
    tally
        Progressive figures of all events.
    """

    arrays: str
    spec: dict[str, Any]
    identity: str
    events: int
    event_time: int
    offsets: tuple[int, ...]
    corrections: int
    rejected: int
    tally: Tally


def look(folder: Path) -> Look | None:
    """Look at a snapshot; ``None`` if there is none, or it is not a trainer's.

    Raises
    ------
    SnapshotError
        It is damaged.
    """
    for _ in range(_TRIES):
        index = _index(folder)
        if index is None or "offsets" not in index.get("extra", {}):
            return None
        try:
            return _look(index, _tally(folder, index))
        except FileNotFoundError:
            continue  # replaced since its index was read
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise SnapshotError(
                f"{folder}: the snapshot cannot be read: {error}. Fix: wait for the next one"
            ) from error
    return None


def _index(folder: Path) -> dict[str, Any] | None:
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{folder / _INDEX}: cannot be read: {error}") from error
    return index


def _tally(folder: Path, index: dict[str, Any]) -> Tally:
    path = folder / Path(index["arrays"]["file"]).name
    with np.load(path, allow_pickle=False) as arrays:
        state = {"sums": arrays["sums"][0], "histogram": arrays["overall_histogram"]}
    return Tally.restored(state | {"truth": index["progress"]["truth"]})


def _look(index: dict[str, Any], tally: Tally) -> Look:
    extra = index["extra"]
    return Look(
        arrays=index["arrays"]["file"],
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
    fits = before is not None and before.events <= now.events
    if fits and before is not None and before.histogram.shape == now.histogram.shape:
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
            _link(folder / name, draft / name)
            (draft / _INDEX).write_bytes(text)
        except FileNotFoundError:
            continue  # replaced meanwhile
        except (OSError, ValueError, KeyError) as error:
            raise SnapshotError(f"{folder}: cannot be kept in {target}: {error}") from error
        draft.replace(target)
        return target
    raise SnapshotError(f"{folder}: no snapshot to keep. Fix: start `clicktide train`")


def _link(source: Path, target: Path) -> None:
    """An arrays file is never written again once it has its name, so a second name will do."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
