"""Which files a path means, and which format each has."""

from __future__ import annotations

import os
from dataclasses import dataclass

from features.errors import SourceError
from streaming.sources.delimited import split_line
from streaming.sources.faults import empty, unreadable
from streaming.sources.streams import STDIN

__all__ = [
    "SEPARATORS",
    "Listed",
    "format_by_content",
    "format_by_name",
    "list_files",
    "refuse_json_array",
    "separator_in",
]

_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "",
}
SEPARATORS = {",": "csv", "\t": "tsv", ";": "csv", "|": "csv"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A file to read: its name in positions and rejects, and where it is."""

    name: str
    path: str


def format_by_name(path: str) -> str | None:
    """Format by the ending, a compression ending aside; ``""``: text of some kind; or None."""
    stem, ending = os.path.splitext(path.lower())
    if ending in _COMPRESSED:
        ending = os.path.splitext(stem)[1]
    return _FORMATS.get(ending)


def list_files(path: str, format: str) -> list[Listed]:
    """List the files ``path`` means, sorted by name.

    A folder means all files in it, at any depth, whose ending is known and not of another
    format than ``format``; those beginning with a dot or an underscore are left out.

    Raises
    ------
    SourceError
        No such path, or a folder without data.
    """
    if path == STDIN or not os.path.isdir(path):
        return [Listed(path, path)]
    wanted = ("", format) if format != "auto" else tuple(_FORMATS.values())
    names = [name for name in _walk(path) if format_by_name(name) in wanted]
    if not names:
        raise SourceError(
            f"{path}: no data in this folder. Fix: give a folder with files ending in "
            f"{', '.join(_FORMATS)} (or these and .gz or .zst), or the file itself"
        )
    return [Listed(name, os.path.join(path, name)) for name in names]


def _walk(folder: str) -> list[str]:
    """Paths in a folder relative to it, sorted; hidden ones skipped."""
    found: list[str] = []
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        shown = [name for name in files if not name.startswith((".", "_"))]
        found += [os.path.relpath(os.path.join(root, name), folder) for name in shown]
    return sorted(name.replace(os.sep, "/") for name in found)


def _refuse(error: OSError) -> None:
    raise unreadable(str(error.filename), error) from error


def format_by_content(head: bytes, file: str, separator: str = "") -> str:
    """Format of a file by its first bytes.

    Raises
    ------
    SourceError
        It is empty, or none of the formats.
    """
    text = head.lstrip()
    if not text:
        raise empty(file)
    if text.startswith(b"PAR1"):
        return "parquet"
    if text.startswith(b"{"):
        return "jsonl"
    refuse_json_array(text, file)
    found = separator or separator_in(text.split(b"\n")[:-1] or [text])
    if not found:
        raise SourceError(
            f"{file}: its format can be told neither by its name nor by its first bytes. "
            'Fix: say it in the spec, such as format = "csv" under [source]'
        )
    return SEPARATORS.get(found, "csv")


def refuse_json_array(head: bytes, file: str) -> None:
    """Refuse a file that is one JSON array."""
    if head.lstrip().startswith(b"["):
        raise SourceError(
            f"{file}: it is one JSON array, not JSON Lines. "
            "Fix: write one object per line, for instance with jq -c '.[]'"
        )


def separator_in(lines: list[bytes]) -> str:
    """The separator that cuts all of ``lines`` into the same number of columns, the most."""
    best, most = "", 1
    for separator, format in SEPARATORS.items():
        rows = [split_line(line, separator.encode(), format == "csv") for line in lines[:50]]
        counts = {len(row) if row else 0 for row in rows}
        if len(counts) == 1 and max(counts) > most:
            best, most = separator, max(counts)
    return best
