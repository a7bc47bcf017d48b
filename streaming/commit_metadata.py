"""What a process writes beside a committed position: a record as JSON, as text."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from features.errors import ClicktideError

__all__ = ["FORMAT", "dump_metadata", "load_metadata", "peek_metadata"]

FORMAT = 1


class _Metadata(Protocol):
    @property
    def format(self) -> int: ...


T = TypeVar("T", bound=msgspec.Struct)
M = TypeVar("M", bound=_Metadata)


def dump_metadata(record: msgspec.Struct) -> str:
    """Write a record as text."""
    return msgspec.json.encode(record).decode()


def load_metadata(text: str, kind: type[M], title: str) -> M:
    """Read what :func:`dump_metadata` wrote, to go on from it.

    Parameters
    ----------
    text
        As committed.
    kind
        A record with its format number.
    title
        What it is, for errors.

    Raises
    ------
    ClicktideError
        It is damaged, or of another format.
    """
    try:
        metadata = msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ClicktideError(
            f"{title}: {error}. Fix: is this consumer group another program's?"
        ) from error
    if metadata.format != FORMAT:
        raise ClicktideError(
            f"{title}: format {metadata.format}, this program reads {FORMAT}. "
            "Fix: use the program's version that wrote it, or newer"
        )
    return metadata


def peek_metadata(text: str, kind: type[T]) -> T | None:
    """Read what another process wrote; ``None`` if it is no such record."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None
