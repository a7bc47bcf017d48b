"""Live weights: a learner's state inside a mapped file, so that readers see every learned event.

One process learns (:func:`create_live`), any number predict (:func:`open_live`), on one machine,
with nothing sent between them. A number is written whole, so a reader sees each before or after a
step; that it may see one weight of before an event beside another of after it changes a prediction
by less than one event does.

The file: a header of fixed slots, JSON (spec and where the arrays are), the quantile area, which
a sequence number guards (odd while it is written), then the arrays, each on pages of its own.
Put it on a memory file system (``/dev/shm``) to spare the disk the writing.
"""

from __future__ import annotations

import glob
import json
import mmap
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.errors import SnapshotError
from features.spec import Spec
from features.spec_file import spec_identity
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.snapshot import HASH_VERSION
from learning.sparse import pack, unpack
from learning.weights import Weights

__all__ = ["LiveReader", "LiveWriter", "create_live", "open_live", "renew_live"]

_MAGIC = int.from_bytes(b"CLICKTID", "little")
_FORMAT = 2
_PAGE, _JSON_AT = 4096, 8192
_SLOTS = _JSON_AT // 8
(
    _IS, _VERSION, _SIZE, _JSON, _QUANTILES_AT, _QUANTILES_ROOM, _QUANTILES, _SEQUENCE, _READY,
    _SUPERSEDED, _EVENTS, _EVENT_TIME, _UPDATED, _SEEN, _PARTITIONS,
) = range(15)  # fmt: skip
_OFFSETS_AT = 64
_MOST_PARTITIONS = _SLOTS - _OFFSETS_AT
_TRIES = 1000


class _Mapped:
    """A mapped file and its header."""

    def __init__(self, path: Path, map: mmap.mmap) -> None:
        self.path, self.map = path, map
        self.header = np.frombuffer(map, np.int64, _SLOTS)

    def array(self, at: int, like: NDArray[Any]) -> NDArray[Any]:
        """An array that lies in the file, of the shape and type of another."""
        return np.frombuffer(self.map, like.dtype, like.size, at).reshape(like.shape)

    @property
    def events(self) -> int:
        """Events learned."""
        return int(self.header[_EVENTS])

    @property
    def updated_ms(self) -> int:
        """Wall-clock time at which an event was last learned."""
        return int(self.header[_UPDATED])

    @property
    def seen_ms(self) -> int:
        """Wall-clock time of the writer's last sign of life, with events or without."""
        return int(self.header[_SEEN])

    @property
    def event_time_ms(self) -> int:
        """Latest event time learned."""
        return int(self.header[_EVENT_TIME])

    @property
    def offsets(self) -> list[int]:
        """Next offset of the examples topic, by partition."""
        count = min(int(self.header[_PARTITIONS]), _MOST_PARTITIONS)
        return self.header[_OFFSETS_AT : _OFFSETS_AT + count].tolist()  # type: ignore[no-any-return]


class LiveWriter(_Mapped):
    """The writer's side; ``learner`` learns into the file from here on."""

    def __init__(self, path: Path, map: mmap.mmap, learner: ClickLearner) -> None:
        super().__init__(path, map)
        self.learner = learner
        self._written: dict[str, Any] | None = None

    def update(
        self, events: int, event_time_ms: int, offsets: Sequence[int], now_ms: int, *, new: bool
    ) -> None:
        """Tell readers how far the weights are; ``new``: events were learned just now."""
        header = self.header
        self._write_quantiles()
        header[_EVENTS], header[_EVENT_TIME] = events, event_time_ms
        kept = list(offsets)[:_MOST_PARTITIONS]
        header[_OFFSETS_AT : _OFFSETS_AT + len(kept)] = kept
        header[_PARTITIONS] = len(kept)
        header[_SEEN] = now_ms
        if new:
            header[_UPDATED] = now_ms

    def _write_quantiles(self) -> None:
        vectoriser = self.learner.vectoriser
        assert vectoriser is not None
        if self._written is not None and not self._written["gathered"]:
            return  # learned once and for ever
        state = vectoriser.quantiles.state()
        if state == self._written:
            return
        text = json.dumps(state).encode()
        if len(text) > self.header[_QUANTILES_ROOM]:
            raise SnapshotError(f"{self.path}: no room for the quantile edges. Fix: report this")
        at = int(self.header[_QUANTILES_AT])
        self.header[_SEQUENCE] += 1
        self.map[at : at + len(text)] = text
        self.header[_QUANTILES] = len(text)
        self.header[_SEQUENCE] += 1
        self._written = state


class LiveReader(_Mapped):
    """A reader's side: ``learner`` predicts with what is learned at that moment.

    Attributes
    ----------
    learner
        Learns nothing itself.
    """

    def __init__(self, path: Path, map: mmap.mmap) -> None:
        super().__init__(path, map)
        self.learner = ClickLearner()
        self._sequence = -1
        self._head = _head(self)

    @property
    def sound(self) -> bool:
        """Whether this is still the file that was opened, not overwritten in its place."""
        return self._head == _head(self)

    @property
    def superseded(self) -> bool:
        """Whether a newer file stands at this path: open it again."""
        return bool(self.header[_SUPERSEDED])

    def refresh(self) -> None:
        """Take up quantile edges learned since; cheap when there are none.

        Raises
        ------
        SnapshotError
            The writer was killed amid writing them.
        """
        for _ in range(_TRIES):
            sequence = int(self.header[_SEQUENCE])
            if sequence == self._sequence:
                return
            at, size = int(self.header[_QUANTILES_AT]), int(self.header[_QUANTILES])
            text = self.map[at : at + size]
            if sequence % 2 == 0 and int(self.header[_SEQUENCE]) == sequence:
                assert self.learner.vectoriser is not None
                self.learner.vectoriser.quantiles.restore(json.loads(text))
                self._sequence = sequence
                return
        raise _unusable(self.path, "its quantile edges are half written", "restart the trainer")


def create_live(path: str | os.PathLike[str], learner: ClickLearner, now_ms: int) -> LiveWriter:
    """Move a learner's state into a new live file, in place of the one that is there.

    Parameters
    ----------
    path
        Of the file; its folder is made.
    learner
        With a spec; learns into the file from here on.
    now_ms
        Wall-clock time.

    Raises
    ------
    SnapshotError
        It cannot be written, or the disk has no room for all of it.

    Examples
    --------
    >>> import tempfile
    >>> from features.spec import FieldSpec, HashSpec, SourceSpec, Spec
    >>> spec = Spec(name="x", source=SourceSpec(label="click"),
    ...             hash=HashSpec(bits=8, cross_bits=8), fields=(FieldSpec(names=("ad",)),))
    >>> path = tempfile.mkdtemp() + "/live.weights"
    >>> writer = create_live(path, ClickLearner(spec), 0)
    >>> reader = open_live(path)
    >>> writer.learner.learn_one({"ad": "a"}, True)
    >>> reader.learner.predict_proba_one({"ad": "a"})[True] > 0.5
    True
    """
    target = Path(path)
    draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f"{glob.escape(target.name)}.*.part"):
            left.unlink(missing_ok=True)  # by a writer that was killed; there is one at a time
        writer = _write(target, draft, learner, now_ms)
        former = _former(target)
        draft.replace(target)
        if former is not None:
            np.frombuffer(former, np.int64, _SLOTS)[_SUPERSEDED] = 1
        return writer
    except (OSError, ValueError) as error:
        with suppress(OSError):
            draft.unlink()
        said = getattr(error, "strerror", None) or error
        raise SnapshotError(
            f"{target}: the live weights could not be made: {said}. "
            "Fix: free space or name another place, such as /dev/shm/live.weights"
        ) from error


def renew_live(writer: LiveWriter, now_ms: int) -> LiveWriter:
    """Make a live file anew if somebody deleted it; gives the writer to go on with.

    Those who have it open would go on, but nobody else could open it.

    Raises
    ------
    SnapshotError
        It cannot be written; the old one may still be used.
    """
    if writer.path.exists():
        return writer
    made = create_live(writer.path, writer.learner, now_ms)
    writer.header[_SUPERSEDED] = 1
    return made


def _head(mapped: _Mapped) -> bytes:
    """What never changes in a live file: its format, size and spec."""
    text = mapped.map[_JSON_AT : _JSON_AT + max(0, int(mapped.header[_JSON]))]
    return mapped.header[: _QUANTILES_ROOM + 1].tobytes() + text


def _former(target: Path) -> mmap.mmap | None:
    """The file in whose place a new one comes, to tell its readers; None if it has no header."""
    try:
        former = _map(target, mmap.ACCESS_WRITE)
    except (OSError, ValueError):  # there is none, or it was truncated: nothing may keep us back
        return None
    return former if len(former) >= _JSON_AT else None


def _write(target: Path, draft: Path, learner: ClickLearner, now_ms: int) -> LiveWriter:
    spec, weights, vectoriser = learner.spec, learner.weights, learner.vectoriser
    assert spec is not None and weights is not None and vectoriser is not None
    room = _quantile_room(vectoriser)
    text, quantiles_at, places, size = _layout(spec, weights, room)
    with draft.open("x+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, not SIGBUS
        map = mmap.mmap(file.fileno(), size)
    map[_JSON_AT : _JSON_AT + len(text)] = text
    writer = LiveWriter(target, map, learner)
    header = writer.header
    header[_IS], header[_VERSION], header[_SIZE], header[_JSON] = _MAGIC, _FORMAT, size, len(text)
    header[_QUANTILES_AT], header[_QUANTILES_ROOM] = quantiles_at, room
    arrays = {}
    for name, at in places.items():
        held = weights.arrays[name]
        arrays[name] = writer.array(at, held)
        if held.ndim == 2 and len(held):
            unpack(pack(held), arrays[name])  # untouched pages take no memory
        else:
            arrays[name][...] = held
    weights.point_at(arrays)
    writer.update(0, 0, (), now_ms, new=True)
    header[_READY] = 1
    return writer


def _layout(spec: Spec, weights: Weights, room: int) -> tuple[bytes, int, dict[str, int], int]:
    """The JSON, where the quantile area is, where each array is, and the file's size."""
    shapes = {name: array.shape for name, array in weights.arrays.items()}
    about = {
        "spec": msgspec.to_builtins(spec),
        "spec_identity": spec_identity(spec),
        "hash_version": HASH_VERSION,
        "shapes": shapes,
    }
    text = json.dumps(about).encode()
    quantiles_at = _paged(_JSON_AT + len(text))
    at, places = _paged(quantiles_at + room), {}
    for name, array in weights.arrays.items():
        places[name] = at
        at = _paged(at + array.nbytes)
    return text, quantiles_at, places, at


def _paged(at: int) -> int:
    return -(-at // _PAGE) * _PAGE


def _quantile_room(vectoriser: Vectoriser) -> int:
    """Bytes that the quantile state can take: numbers of at most 26 characters."""
    fields = vectoriser.fields
    return 4096 + sum(
        6 * len(f.name) + 64 + 26 * (f.learn_from + f.buckets) for f in fields if f.learns_edges
    )


def _map(path: Path, access: int) -> mmap.mmap:
    with path.open("r+b" if access == mmap.ACCESS_WRITE else "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=access)


def open_live(path: str | os.PathLike[str], spec: Spec | None = None) -> LiveReader:
    """Open live weights to predict with.

    Parameters
    ----------
    path
        Of the file.
    spec
        The spec it must be of; ``None``: its own will do.

    Raises
    ------
    SnapshotError
        There is none, it is damaged or truncated, or of another format or spec.
    """
    target = Path(path)
    try:
        # private: what this process might write would never reach the file
        map = _map(target, mmap.ACCESS_COPY)
    except FileNotFoundError:
        raise _unusable(target, "no such file", "start `clicktide train --live` first") from None
    except (OSError, ValueError) as error:
        raise _unusable(target, f"cannot be read ({error})", "name a live weights file") from error
    if len(map) < _JSON_AT:
        raise _unusable(target, "truncated", "restart the trainer")
    reader = LiveReader(target, map)
    _check_header(reader)
    try:
        _fill(reader, _about(reader, spec))
    except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
        raise _unusable(target, f"damaged ({error})", "restart the trainer") from error
    return reader


def _unusable(path: Path, what: str, fix: str) -> SnapshotError:
    return SnapshotError(f"{path}: live weights cannot be used: {what}. Fix: {fix}")


def _check_header(reader: LiveReader) -> None:
    header, path = reader.header, reader.path
    if header[_IS] != _MAGIC:
        raise _unusable(path, "not a live weights file", "name the trainer's --live file")
    if header[_VERSION] != _FORMAT:
        raise _unusable(path, f"format {header[_VERSION]}", "upgrade, then restart the trainer")
    if header[_SIZE] != len(reader.map):
        raise _unusable(
            path, f"{len(reader.map)} bytes, not {header[_SIZE]}", "restart the trainer"
        )
    if header[_READY] != 1:
        raise _unusable(path, "not ready yet", "wait for the trainer")


def _about(reader: LiveReader, spec: Spec | None) -> Mapping[str, Any]:
    about: dict[str, Any] = json.loads(reader.map[_JSON_AT : _JSON_AT + int(reader.header[_JSON])])
    if about["hash_version"] != HASH_VERSION:
        raise _unusable(reader.path, "another hash version", "use one version of Clicktide")
    if spec is not None and spec_identity(spec) != about["spec_identity"]:
        fix = "use the spec that the trainer has"
        raise _unusable(reader.path, f"of another spec ({about['spec']['name']!r})", fix)
    return about


def _fill(reader: LiveReader, about: Mapping[str, Any]) -> None:
    """Build the learner around the arrays in the file."""
    spec = msgspec.convert(about["spec"], Spec)
    if spec_identity(spec) != about["spec_identity"]:
        raise ValueError("its spec does not match its identity")
    learner = ClickLearner(spec)
    assert learner.vectoriser is not None and learner.weights is not None
    weights = learner.weights
    room = int(reader.header[_QUANTILES_ROOM])
    _, _, places, size = _layout(spec, weights, room)
    if size != len(reader.map) or room != _quantile_room(learner.vectoriser):
        raise ValueError("its arrays do not fit its spec")
    weights.point_at({name: reader.array(places[name], weights.arrays[name]) for name in places})
    weights.read_only = True
    reader.learner = learner
    reader.refresh()
