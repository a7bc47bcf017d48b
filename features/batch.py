"""What a source yields: rows in Arrow, the rows it could not read, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa

from features.values import as_text

__all__ = ["Batch", "FileMark", "Position", "Reject"]


class FileMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """By what a file that was read is known again.

    Parameters
    ----------
    rows
        Rows of it done with.
    size
        Bytes it had when it was opened; -1: not known, as of a pipe.
    head, tail
        Checksums of its first bytes, and of some from all over it up to the last before ``size``.
    """

    rows: int = 0
    size: int = -1
    head: int = 0
    tail: int = 0


class Position(msgspec.Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """How far a source has been read; enough to go on from there.

    Parameters
    ----------
    file
        Name of the file being read (its path as the source lists it, ``-`` for stdin, or
        ``sim:NAME`` for the simulator).
    row
        Rows of that file done with, rejects included, the header line and blank lines not.
    marks
        Of that file, and of the files done with before it, by their names.
    before
        How many files were done with before it.
    """

    file: str = ""
    row: int = 0
    marks: dict[str, FileMark] = {}
    before: int = 0

    def __hash__(self) -> int:
        """Of the place alone: marks are a dictionary."""
        return hash((self.file, self.row))

    @property
    def is_whole(self) -> bool:
        """Whether it has the marks of all files done with."""
        return len(self.marks) == self.before + 1

    def short(self) -> Position:
        """The same in a bounded number of bytes: without the marks of the files done with."""
        own = {self.file: self.marks[self.file]} if self.file in self.marks else {}
        return Position(self.file, self.row, own, self.before)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be used.

    Parameters
    ----------
    reason
        Short stable name that is counted, such as ``row_too_short`` or ``broken_json``.
    detail
        For people: which field, what was found, what was expected.
    file, line
        Where it stands; line is 1-based in the (decompressed) file, 0 where there are no lines.
    raw
        The row as it stood, undecoded.
    """

    reason: str
    detail: str
    file: str
    line: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of one file, in order.

    Parameters
    ----------
    columns
        The wanted columns in the wanted order (a column may be string, binary holding valid
        UTF-8, dictionary of string, int64, float64, bool, list of these, timestamp, or null).
    file
        The file they come from.
    positions
        ``positions(i)``: the position after row i of ``columns`` (to resume in mid-batch).
    origin
        ``origin(i)``: line number and raw bytes of row i, for a reject found later.
    rejects
        Rows of this stretch of the file that could not be parsed (not in ``columns``).
    position
        Position after the whole batch, rejects included.
    """

    columns: pa.RecordBatch
    file: str
    origin: Callable[[int], tuple[int, bytes]]
    positions: Callable[[int], Position]
    position: Position
    rejects: list[Reject] = field(default_factory=list)

    def reject(self, row: int, reason: str, detail: str) -> Reject:
        """A reject of row ``row`` of ``columns``."""
        return Reject(reason, detail, self.file, *self.origin(row))

    def misfit(self, row: int, reason: str, column: str, due: str) -> Reject:
        """A reject of a row whose value in a column (empty: its number) is not what is due."""
        found = as_text(self.columns.column(column)[row].as_py()) if column else "its row number"
        return self.reject(row, reason, f"column {column!r}: {found[:60]!r} is not {due}")
