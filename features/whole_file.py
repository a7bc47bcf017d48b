"""Writing a file whole or not at all: a draft beside it, then a rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from features.errors import ClicktideError

__all__ = ["file_stamp", "read_json", "refuse_existing", "whole_file", "write_json"]

T = TypeVar("T")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a draft, which takes the place of the file at the end; readers never see a part of it.

    Parameters
    ----------
    path
        Of the file; its folder is made. What stood there before still does if an error comes.

    Raises
    ------
    ClicktideError
        It cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with whole_file(f"{folder}/a/b.txt") as file:
    ...         _ = file.write(b"whole")
    ...     Path(f"{folder}/a/b.txt").read_text()
    'whole'
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.draft-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            yield file
        draft.replace(target)
    except OSError as error:
        raise ClicktideError(
            f"{target}: cannot be written: {error.strerror or error}. "
            "Fix: choose a folder that can be written to and has room"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Refuse to replace a file, before any work is done for it.

    Raises
    ------
    ClicktideError
        It exists.
    """
    if path.exists():
        raise ClicktideError(f"{path}: exists already. Fix: --force replaces it")


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Changes whenever the file is replaced; ``None``: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a record as JSON, whole or not at all."""
    with whole_file(path) as file:
        file.write(msgspec.json.encode(value))


def read_json(path: str | os.PathLike[str], kind: type[T]) -> T | None:
    """Read a record that :func:`write_json` wrote; ``None`` if there is none that can be read."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
