"""Snapshots: a learner as plain arrays and JSON, written atomically, checked when read.

A snapshot folder holds ``snapshot.json`` and one ``arrays-*.npz``. The JSON names the arrays
file and its SHA-256, and carries a checksum of itself; it is replaced in one step, last, so a
reader sees the old model or the new one, whatever is killed when. Nothing in either file is
code: no pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.errors import SnapshotError
from features.spec import Spec
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.progress import Progress
from learning.sparse import pack, unpack

__all__ = ["Snapshot", "load_snapshot", "save_snapshot"]

FORMAT = 2
_TABLES = ("fields", "crosses")
HASH_VERSION = 1
"""Raised if ever the hash changes: a model's buckets mean nothing under another."""

_INDEX = "snapshot.json"
_COUNTERS, _LEARNED = "counters_", "learned_"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot holds.

    Parameters
    ----------
    learner
        The click learner, with its spec and learned quantile edges.
    progress
        Progressive metrics up to there.
    extra
        Whatever the writer added, as JSON: the position in the source, rejected counts.
    """

    learner: ClickLearner
    progress: Progress
    extra: Mapping[str, Any] = field(default_factory=dict)


def save_snapshot(folder: str | os.PathLike[str], snapshot: Snapshot) -> Path:
    """Write a snapshot, in place of the one that is there.

    Parameters
    ----------
    folder
        Made if it is not there.
    snapshot
        What to write.

    Raises
    ------
    SnapshotError
        If it cannot be written (no permission, disk full); what was there is kept.

    Examples
    --------
    >>> import tempfile
    >>> from features.spec import FieldSpec, HashSpec, SourceSpec, Spec
    >>> from learning import ClickLearner
    >>> spec = Spec(name="x", source=SourceSpec(label="click"), hash=HashSpec(bits=8),
    ...             fields=(FieldSpec(names=("site", "ad")),))
    >>> folder = tempfile.mkdtemp()
    >>> _ = save_snapshot(folder, Snapshot(ClickLearner(spec), Progress()))
    >>> load_snapshot(folder).learner.spec.name
    'x'
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return _write(target, snapshot)
    except OSError as error:
        raise SnapshotError(
            f"{target}: the model could not be saved: {error.strerror or error}. "
            "What was saved there before is kept. Fix: free space or choose another folder."
        ) from error


def _write(target: Path, snapshot: Snapshot) -> Path:
    arrays = f"arrays-{secrets.token_hex(8)}.npz"
    try:
        _write_arrays(target / arrays, _arrays(snapshot))
        index = _index(snapshot) | {
            "arrays": {
                "file": arrays,
                "bytes": (target / arrays).stat().st_size,
                "sha256": _file_digest(target / arrays),
            }
        }
        _write_index(target, index)
    except BaseException:
        (target / arrays).unlink(missing_ok=True)
        raise
    _sweep(target, keep=arrays)
    return target


def _write_arrays(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _write_index(target: Path, index: dict[str, Any]) -> None:
    draft = target / f"{_INDEX}.{secrets.token_hex(4)}.part"
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(index | {"checksum": _index_digest(index)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target / _INDEX)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _sweep(target: Path, keep: str) -> None:
    """Remove what earlier or interrupted writes left."""
    for file in [*target.glob("arrays-*.npz"), *target.glob(f"{_INDEX}.*.part")]:
        if file.name != keep:
            file.unlink(missing_ok=True)


def _arrays(snapshot: Snapshot) -> Arrays:
    weights = snapshot.learner.weights
    assert weights is not None
    out: Arrays = {_LEARNED + name: array for name, array in weights.arrays.items()}
    for name in _TABLES:
        out[f"{name}_slots"], out[_LEARNED + name] = pack(weights.arrays[name])
    if snapshot.learner.vectoriser is not None and snapshot.learner.vectoriser.counters:
        known = snapshot.learner.vectoriser.counters.state()
        out |= {_COUNTERS + name: array for name, array in known.items()}
    progress = snapshot.progress.state()
    tallies = [progress["overall"], *progress["windows"]]
    out["overall_histogram"] = tallies[0]["histogram"]
    out["sums"] = np.stack([tally["sums"] for tally in tallies])
    if len(tallies) > 1:
        out["window_histograms"] = np.stack([tally["histogram"] for tally in tallies[1:]])
    return out


def _index(snapshot: Snapshot) -> dict[str, Any]:
    learner, progress = snapshot.learner, snapshot.progress.state()
    assert learner.spec is not None and learner.vectoriser is not None
    return {
        "format": FORMAT,
        "hash_version": HASH_VERSION,
        "spec": msgspec.to_builtins(learner.spec),
        "spec_identity": spec_identity(learner.spec),
        "quantiles": learner.vectoriser.quantiles.state(),
        "progress": {"window": progress["window"], "truth": progress["overall"]["truth"]},
        "extra": dict(snapshot.extra),
    }


def _index_digest(index: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in index.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_snapshot(folder: str | os.PathLike[str], spec: Spec | None = None) -> Snapshot:
    """Read a snapshot.

    Parameters
    ----------
    folder
        Where it was saved.
    spec
        The spec it must have been learned under; ``None``: its own will do.

    Raises
    ------
    SnapshotError
        If there is none, or it is damaged, truncated, of a newer format or of another spec.
    """
    target = Path(folder)
    index = _read_index(target)
    own = _own_spec(target, index)
    if spec is not None and spec_identity(spec) != index["spec_identity"]:
        raise SnapshotError(
            f"{target}: this model was learned under another spec ({own.name!r}, "
            f"{index['spec_identity'][:12]}; now {spec.name!r}, {spec_identity(spec)[:12]}). "
            "Fix: use the spec it was learned with, or learn a new model."
        )
    learner = ClickLearner(own)
    arrays = _read_arrays(target, index)
    try:
        return Snapshot(_fill(learner, index, arrays), _progress(index, arrays), index["extra"])
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise _damaged(target, f"its arrays do not fit its spec ({error})") from error


def _damaged(target: Path, what: str) -> SnapshotError:
    return SnapshotError(
        f"{target}: the saved model is damaged: {what}. Fix: use an earlier copy, or learn anew."
    )


def _read_index(target: Path) -> dict[str, Any]:
    path = target / _INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SnapshotError(
            f"{target}: no saved model here ({_INDEX} is not there). "
            "Fix: name the folder given to `clicktide replay --save`."
        ) from None
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(target, f"{_INDEX} is not JSON ({error})") from error
    if not isinstance(index, dict) or not isinstance(index.get("format"), int):
        raise _damaged(target, f"{_INDEX} states no format")
    _check_versions(target, index)
    if index.get("checksum") != _index_digest(index):
        raise _damaged(target, f"{_INDEX} does not match its checksum")
    return index


def _check_versions(target: Path, index: Mapping[str, Any]) -> None:
    if index["format"] > FORMAT:
        raise SnapshotError(
            f"{target}: saved in format {index['format']}; this program knows up to {FORMAT}. "
            "Fix: upgrade Clicktide."
        )
    if index["format"] < FORMAT:
        raise SnapshotError(
            f"{target}: saved in format {index['format']}, of the learner before 0.3 (a mixture of "
            "experts); its state means nothing to this one. Fix: learn the model anew."
        )
    if index.get("hash_version") != HASH_VERSION:
        raise SnapshotError(
            f"{target}: its buckets come from hash version {index.get('hash_version')}, "
            f"this program's is {HASH_VERSION}. Fix: learn the model anew."
        )


def _own_spec(target: Path, index: Mapping[str, Any]) -> Spec:
    try:
        spec = msgspec.convert(index["spec"], Spec)
    except (KeyError, msgspec.ValidationError) as error:
        raise _damaged(target, f"its spec cannot be read ({error})") from error
    if spec_identity(spec) != index.get("spec_identity"):
        raise _damaged(target, "its spec does not match its identity")
    return spec


def _read_arrays(target: Path, index: Mapping[str, Any]) -> Arrays:
    try:
        path = target / Path(index["arrays"]["file"]).name
        size = path.stat().st_size
        if size != index["arrays"]["bytes"]:
            raise _damaged(target, f"{path.name} has {size} bytes, not {index['arrays']['bytes']}")
        if _file_digest(path) != index["arrays"]["sha256"]:
            raise _damaged(target, f"{path.name} does not match its checksum")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(target, f"its arrays cannot be read ({error})") from error


def _fill(learner: ClickLearner, index: Mapping[str, Any], arrays: Arrays) -> ClickLearner:
    assert learner.weights is not None and learner.vectoriser is not None
    learner.vectoriser.quantiles.restore(index["quantiles"])
    if learner.vectoriser.counters is not None:
        known = {k.removeprefix(_COUNTERS): v for k, v in arrays.items() if k.startswith(_COUNTERS)}
        learner.vectoriser.counters.restore(known)
    for name, array in learner.weights.arrays.items():
        if name in _TABLES:
            unpack((arrays[f"{name}_slots"], arrays[_LEARNED + name]), array)
        else:
            array[...] = arrays[_LEARNED + name]
    return learner


def _progress(index: Mapping[str, Any], arrays: Arrays) -> Progress:
    truth = index["progress"]["truth"]
    histograms = [arrays["overall_histogram"], *arrays.get("window_histograms", ())]
    states = [
        {"sums": sums, "histogram": histogram, "truth": truth}
        for sums, histogram in zip(arrays["sums"], histograms, strict=True)
    ]
    return Progress.restored(
        {"window": index["progress"]["window"], "overall": states[0], "windows": states[1:]}
    )
