"""Which files a read has done, so that a later one goes on where it ended, in the same files."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from features.batch import FileMark, Position
from features.errors import SourceError
from streaming.sources.listing import Listed
from streaming.sources.streams import STDIN

__all__ = ["FilesRead", "mark_of"]

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
