"""A file of plain data: JSON values and numpy arrays, checked when read, replaced in one step.

One line of text (name, format, SHA-256 of what follows) and a Zstandard frame: the length of the
JSON, the JSON, in which an array is a reference, and the arrays' bytes. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from features.errors import SnapshotError
from features.whole_file import whole_file

__all__ = ["load_state", "save_state"]

_MAGIC = b"clicktide-plain 1 "
_ARRAY = "\0array"
_KINDS = {"float64", "float32", "int64", "int32", "int8", "uint64", "uint32", "uint8", "bool"}
_MOST_BYTES = 1 << 31


def save_state(path: Path, data: Any) -> None:
    """Write dicts, lists, texts, numbers and arrays, in place of what is there.

    Raises
    ------
    ClicktideError
        It cannot be written; what was there still is.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_state(Path(folder) / "x", {"a": np.arange(3), "b": None})
    ...     load_state(Path(folder) / "x")
    {'a': array([0, 1, 2]), 'b': None}
    """
    parts: list[bytes] = []
    text = json.dumps(_packed(data, parts, [0])).encode()
    body = zstandard.ZstdCompressor(level=1).compress(
        b"".join([len(text).to_bytes(8, "little"), text, *parts])
    )
    with whole_file(path) as file:
        file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path) -> Any:
    """Read what :func:`save_state` wrote; arrays can be changed.

    Raises
    ------
    SnapshotError
        It cannot be read, is damaged or of another format.
    """
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head.startswith(_MAGIC):
        raise SnapshotError(f"{path}: not a file of this program's format. Fix: move it away")
    if head[len(_MAGIC) :].decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        raise SnapshotError(f"{path}: damaged: its checksum is wrong. Fix: move it away")
    whole = zstandard.ZstdDecompressor().decompress(body, max_output_size=_MOST_BYTES)
    size = int.from_bytes(whole[:8], "little")
    return _unpacked(json.loads(whole[8 : 8 + size]), memoryview(whole)[8 + size :])


def _packed(value: Any, parts: list[bytes], at: list[int]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.name not in _KINDS:
            raise TypeError(f"an array of {value.dtype} is not plain data")
        raw = np.ascontiguousarray(value).tobytes()
        place, at[0] = at[0], at[0] + len(raw)
        parts.append(raw)
        return {_ARRAY: [value.dtype.name, list(value.shape), place]}
    if isinstance(value, dict):
        return {key: _packed(member, parts, at) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(member, parts, at) for member in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, raw: memoryview) -> Any:
    if isinstance(value, list):
        return [_unpacked(member, raw) for member in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        kind, shape, at = value[_ARRAY]
        if kind not in _KINDS:
            raise SnapshotError(f"an array of {kind} is not plain data")
        size = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(raw, np.dtype(kind), size, at).reshape(shape).copy()
    return {key: _unpacked(member, raw) for key, member in value.items()}
