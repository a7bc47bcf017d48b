"""Which files a path means, in which order, and which of them an earlier read has done."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import msgspec

from features.batch import FileMark, Position
from features.errors import SourceError
from streaming.sources.compression import COMPRESSED
from streaming.sources.faults import unreadable
from streaming.sources.streams import STDIN

__all__ = ["ENDINGS", "FilesRead", "Listed", "format_by_name", "list_files", "mark_of"]

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".vw": "vw",
    ".libsvm": "libsvm",
    ".svmlight": "libsvm",
    ".svm": "libsvm",
    ".libffm": "libffm",
    ".ffm": "libffm",
    ".txt": "",
}
"""Format of each known ending; empty: text of some kind."""

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


def format_by_name(path: str) -> str | None:
    """Format by the ending, a compression ending aside; ``""``: text of some kind; or None."""
    return ENDINGS.get(_ending(path))


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


# What tells a file from another: so many bytes at its beginning, and at as many places up to its
# end. A few rows changed between these are not noticed: to read all of a large log would be slow.
_LOOKED_AT, _PLACES = 1 << 12, 64


def mark_of(path: str, rows: int = 0, size: int = -1) -> FileMark:
    """Make a mark of the first ``size`` bytes of a file; of all it has by default."""
    if path == STDIN or not os.path.isfile(path):
        return FileMark(rows)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size if size < 0 else size
            head = zlib.crc32(file.read(min(_LOOKED_AT, size)))
            tail = 0
            for place in range(1, _PLACES + 1):
                file.seek(max(size - _LOOKED_AT, 0) * place // _PLACES)
                tail = zlib.crc32(file.read(min(_LOOKED_AT, size)), tail)
            return FileMark(rows, size, head, tail)
    except OSError:
        return FileMark(rows)  # whoever reads it says why it cannot be read


class FilesRead:
    """The files of a log that have been read, and those that still are to be.

    Parameters
    ----------
    path, files
        The log, and its files in order.
    start
        Where an earlier read ended, if this one goes on from there.

    Raises
    ------
    SourceError
        ``start`` is in none of the files.
    """

    def __init__(self, path: str, files: Sequence[Listed], start: Position | None) -> None:
        self._files, self._at = list(files), 0
        self._marks: dict[str, FileMark] = {}
        self._before = 0
        self._is_whole = True
        if start is not None and start.file:
            self._go_on(path, start)

    def _go_on(self, path: str, start: Position) -> None:
        names = [file.name for file in self._files]
        if start.file not in names:
            raise SourceError(
                f"{path}: cannot go on from {start.file!r}, which is not among its files. "
                "Fix: give the log that was being read, or start from the beginning"
            )
        at = names.index(start.file)
        self._is_whole = start.is_whole
        self._marks = dict(start.marks)
        self._marks[start.file] = msgspec.structs.replace(
            start.marks.get(start.file, FileMark()), rows=start.row
        )
        before, after = self._files[:at], self._files[at + 1 :]
        if self._is_whole:
            after = before + after  # those that are done with are passed by, late ones are not
        elif start.marks and at != start.before:
            raise SourceError(
                f"{path}: {at} files stand before {start.file!r}, {start.before} did when it was "
                "read: one came late, or went. Fix: read a late file by itself, and keep it apart"
            )
        self._before = start.before
        self._files = [self._files[at], *after]

    def __iter__(self) -> Iterator[tuple[Listed, int]]:
        """Each file with rows to read, and how many of them are done with.

        The file that was being read comes first, then all others; also those that came late, and
        the new rows of those that have grown.

        Raises
        ------
        SourceError
            A file is not the one that was read.
        """
        for at, file in enumerate(self._files):
            earlier = self._marks.get(file.name)
            if earlier is not None:
                _check_same(file, earlier)
                if at and os.path.getsize(file.path) == earlier.size:
                    continue
            yield file, 0 if earlier is None else earlier.rows

    def position(self, file: Listed) -> Position:
        """Of the beginning of a file, with the marks of those before it."""
        if file.path == STDIN:
            return Position(file.name)
        marks = {**self._marks, file.name: mark_of(file.path)}
        if self._is_whole:
            return Position(file.name, 0, marks, len(marks) - 1)
        return Position(file.name, 0, marks, self._before).short()

    def done(self, position: Position) -> None:
        """Take note that a file has been read to its end."""
        if position.file in position.marks:
            mark = position.marks[position.file]
            self._marks[position.file] = msgspec.structs.replace(mark, rows=position.row)
            self._before += 1


def _check_same(file: Listed, earlier: FileMark) -> None:
    """Refuse a file that is not the one that was read, with more at its end at most."""
    if earlier.size < 0:
        return
    size = os.path.getsize(file.path)
    now = mark_of(file.path, earlier.rows, min(earlier.size, size))
    if now == earlier:
        return
    what = f"has {size:,} bytes, had {earlier.size:,}" if size < earlier.size else "has other bytes"
    raise SourceError(
        f"{file.path}: it is not the file of which {earlier.rows:,} rows were read before: it "
        f"{what}. Fix: give back the file that was being read, or start without --resume"
    )
