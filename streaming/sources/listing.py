"""Which files a path means, in which order, and what their folders say of their rows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from features.errors import SourceError
from streaming.sources.compression import COMPRESSED
from streaming.sources.faults import unreadable
from streaming.sources.formats import ENDINGS, format_by_name
from streaming.sources.streams import STDIN

__all__ = ["Listed", "list_files"]

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_DIGITS = re.compile(r"(\d+)")
_NO_DATA = re.compile(
    r"(read.?me|licen[cs]e|copying|notice|authors|change(log|s)|make|docker|manifest|"
    r"(md5|sha\d+)sums?|checksums?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file to read.

    Parameters
    ----------
    name
        In positions and rejects.
    path
        Where it is.
    partitions
        Column and value of each folder ``column=value`` it is in (Hive's partitions): the same
        for all its rows; null where the folder says that there is no value.
    """

    name: str
    path: str
    partitions: Mapping[str, str | None] = field(default_factory=dict)


def list_files(path: str, format: str) -> list[Listed]:
    """List the files ``path`` means, in natural order: ``day_2`` before ``day_10``.

    A folder means all files in it, at any depth, whose ending is known and not of another
    format than ``format``; if there is none, those without an ending, such as ``part-00000`` or
    ``day_0.gz``. What begins with a dot or an underscore is left out.

    Raises
    ------
    SourceError
        No such path, or a folder without data.
    """
    if path == STDIN or not os.path.isdir(path):
        return [Listed(path, path, _partitions(path))]
    names = _walk(path)
    formats = ("", format) if format != "auto" else tuple(ENDINGS.values())
    data = [n for n in names if format_by_name(n) in formats and not _is_about(n)]
    data = data or [n for n in names if not _ending(n) and not _is_about(n)]
    if not data:
        raise SourceError(
            f"{path}: no data in this folder{_instead(names, format)}. Fix: give a folder with "
            f"files ending in {', '.join(ENDINGS)} (or these and {', '.join(COMPRESSED)}), or "
            "the file itself"
        )
    places = [(name, os.path.join(path, name)) for name in data]
    return [Listed(name, place, _partitions(place)) for name, place in places]


def _instead(names: list[str], format: str) -> str:
    """What there is."""
    if not names:
        return ": it is empty"
    wanted = "" if format == "auto" else f" of format {format!r}"
    return f"{wanted}; it holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _walk(folder: str) -> list[str]:
    """Paths in a folder relative to it, in natural order; hidden ones skipped."""
    names: list[str] = []
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        shown = [name for name in files if not _is_hidden(name)]
        names += [os.path.relpath(os.path.join(root, name), folder) for name in shown]
    return sorted((name.replace(os.sep, "/") for name in names), key=_natural)


def _natural(path: str) -> tuple[list[list[tuple[int, str]]], str]:
    """Order of a path: folder by folder, numbers by their value."""
    parts = [_DIGITS.split(part) for part in path.split("/")]
    return [[(int(t) if i % 2 else 0, t) for i, t in enumerate(part)] for part in parts], path


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_about(name: str) -> bool:
    """Whether a file is about the data rather than data, by its name."""
    return bool(_NO_DATA.match(os.path.basename(name)))


def _ending(name: str) -> str:
    """Its ending, a compression's aside; a number is none (``log.1``)."""
    stem, ending = os.path.splitext(os.path.basename(name).lower())
    if ending in COMPRESSED:
        ending = os.path.splitext(stem)[1]
    return "" if ending[1:].isdigit() else ending


def _partitions(path: str) -> dict[str, str | None]:
    """Values of the folders ``column=value`` on the way to a file.

    Examples
    --------
    >>> _partitions("log/dt=2024-01-01/site=a%2Fb/x.csv")
    {'dt': '2024-01-01', 'site': 'a/b'}
    """
    pairs = (part.split("=", 1) for part in path.replace(os.sep, "/").split("/")[:-1])
    named = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0]]
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, value in named}


def _refuse(error: OSError) -> None:
    raise unreadable(str(error.filename), error) from error
