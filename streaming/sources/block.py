"""Blocks of text rows, with every row's place in the file, and what a parser makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.batch import Batch, Position, Reject
from features.jit import byte_marks, jit, load64, zeros_below

__all__ = [
    "KEPT_OF_LONG_LINE",
    "Block",
    "Index",
    "Parsed",
    "index_block",
    "line_spans",
    "one_batch",
    "parse_each",
    "to_batch",
    "with_partitions",
]

KEPT_OF_LONG_LINE = 64 * 1024
_NEWLINE, _RETURN = 10, 13
_LINE_BYTES = 128  # or more, else lines are found twice

T = TypeVar("T")
Index = npt.NDArray[np.int64]
_NO_ROWS: Index = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of one file; a row is a line that is not blank, or a CSV record of several.

    Parameters
    ----------
    data
        The bytes, blank lines and line ends included.
    file
        Name of the file, as listed.
    starts, ends
        int64, one per row: ``data[starts[i]:ends[i]]`` is row i without its line end.
    lines
        int64, one per row: 1-based line number in the file.
    first_row
        How many rows of the file stand before this block; a header line is row -1.
    long_line
        Not 0: the block is the beginning of a single line of so many bytes, above the limit.
    broken
        int64, rising: rows in which a quoted value does not close.
    """

    data: bytes
    file: str
    starts: Index
    ends: Index
    lines: Index
    first_row: int
    long_line: int = 0
    broken: Index = field(default_factory=lambda: _NO_ROWS)

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return len(self.starts)

    def longest(self) -> int:
        """Bytes of its longest row."""
        return self.long_line or int((self.ends - self.starts).max(initial=0))

    def row(self, i: int) -> bytes:
        """Row i as it stands, without its line end."""
        return self.data[self.starts[i] : self.ends[i]]

    def origin(self, i: int) -> tuple[int, bytes]:
        """Line number and bytes of row i."""
        return int(self.lines[i]), self.row(i)

    def part(self, start: int, stop: int) -> Block:
        """Rows ``start`` to ``stop`` as a block of their own."""
        if (start, stop) == (0, self.rows):
            return self
        low = int(self.starts[start])
        high = int(self.starts[stop]) if stop < self.rows else len(self.data)
        cut = slice(start, stop)
        broken = self.broken[(self.broken >= start) & (self.broken < stop)] - start
        return replace(
            self,
            data=self.data[low:high],
            starts=self.starts[cut] - low,
            ends=self.ends[cut] - low,
            lines=self.lines[cut],
            first_row=self.first_row + start,
            broken=broken,
        )

    def without(self, rows: Index) -> Block:
        """Leave out some rows, given in order; the others are numbered anew."""
        begins = np.append(self.starts, len(self.data))
        cuts = [0, *np.stack([begins[rows], begins[rows + 1]], axis=1).ravel().tolist()]
        pieces = zip(cuts[::2], [*cuts[1::2], len(self.data)], strict=True)
        sizes = np.zeros(self.rows, np.int64)
        sizes[rows] = np.diff(begins)[rows]
        shift = np.cumsum(sizes)
        return replace(
            self,
            data=b"".join(self.data[low:high] for low, high in pieces),
            starts=np.delete(self.starts - shift, rows),
            ends=np.delete(self.ends - shift, rows),
            lines=np.delete(self.lines, rows),
            broken=_NO_ROWS,
        )

    def reject(self, i: int, reason: str, detail: str) -> Reject:
        """Row i as a reject."""
        line, raw = self.origin(i)
        return Reject(reason, detail, self.file, line, raw)

    def long_reject(self, i: int, limit: int) -> Reject | None:
        """Row i as a reject that keeps its beginning, if it has more than ``limit`` bytes."""
        length = self.long_line or int(self.ends[i] - self.starts[i])
        if length <= limit:
            return None
        raw = self.row(i)[:KEPT_OF_LONG_LINE]
        detail = f"line of {length} bytes, above the limit of {limit}; raw has the first {len(raw)}"
        return Reject("line_too_long", detail, self.file, int(self.lines[i]), raw)


def parse_each(
    rows: Iterable[int], parse: Callable[[int], T | Reject]
) -> tuple[list[T], list[int], dict[int, Reject]]:
    """Parse rows one by one: what the good ones hold, their numbers; the bad ones by number."""
    good: list[T] = []
    numbers: list[int] = []
    rejects: dict[int, Reject] = {}
    for i in rows:
        row = parse(i)
        if isinstance(row, Reject):
            rejects[i] = row
        else:
            good.append(row)
            numbers.append(i)
    return good, numbers, rejects


def line_spans(data: bytes) -> tuple[Index, Index]:
    r"""Begin and end of every line; ``\n`` or ``\r\n`` ends one and is not part of it."""
    view, room, lines = np.frombuffer(data, np.uint8), 0, len(data) // _LINE_BYTES + 1
    while room < lines:
        room = lines
        spans = np.empty((2, room), np.int64)
        lines = _find_lines(view, spans[0], spans[1])
    return spans[0, :lines], spans[1, :lines]


@jit
def _find_lines(data: Any, starts: Any, ends: Any) -> int:
    """Note begin and end of each line while there is room; how many there are."""
    line, start, at, stop = 0, 0, 0, len(data)
    while at < stop or start < stop:
        if at + 8 <= stop:
            marks = byte_marks(load64(data, at), _NEWLINE)
            if marks == 0:
                at += 8
                continue
            at += zeros_below(marks) >> 3
        if at == stop or data[at] == _NEWLINE:
            if line < len(ends):
                starts[line] = start
                ends[line] = at - (at > start and data[at - 1] == _RETURN)
            line += 1
            start = at + 1
        at += 1
    return line


def index_block(data: bytes, file: str, line: int, first_row: int) -> tuple[Block, int]:
    r"""Find the rows of ``data``, whose first line is number ``line``; count its lines too.

    Examples
    --------
    >>> block, lines = index_block(b"a\n\nb\r\n", "log", 1, 0)
    >>> block.origin(1), lines
    ((3, b'b'), 3)
    """
    starts, ends = line_spans(data)
    count = len(starts)
    lines = np.arange(line, line + count)
    filled = ends > starts
    if not filled.all():
        starts, ends, lines = starts[filled], ends[filled], lines[filled]
    return Block(data, file, starts, ends, lines, first_row), count


@dataclass(frozen=True, slots=True)
class Parsed:
    """A stretch of a block, parsed.

    Parameters
    ----------
    columns
        The good rows.
    rows
        int64, one per good row: which row of the block it is.
    end
        Rows of the block done with after this stretch, rejects included.
    rejects
        The bad rows of the stretch, in order.
    """

    columns: pa.RecordBatch
    rows: Index
    end: int
    rejects: list[Reject] = field(default_factory=list)


def to_batch(
    parsed: Parsed, place: Position, first_row: int, origin: Callable[[int], tuple[int, bytes]]
) -> Batch:
    """Place a stretch of the block that begins at ``first_row`` of the file of ``place``."""
    rows, file, marks, before = parsed.rows, place.file, place.marks, place.before
    return Batch(
        columns=parsed.columns,
        file=file,
        origin=lambda i: origin(int(rows[i])),
        positions=lambda i: Position(file, first_row + int(rows[i]) + 1, marks, before),
        rejects=parsed.rejects,
        position=Position(file, first_row + parsed.end, marks, before),
    )


def with_partitions(
    parsed: Parsed, partitions: Mapping[str, str | None], names: Sequence[str]
) -> Parsed:
    """Add the columns that a file's folders give, the same for all its rows."""
    if not partitions:
        return parsed
    columns, rows = parsed.columns, len(parsed.rows)
    arrays = [
        pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, np.int32), mask=np.full(rows, partitions[name] is None)),
            pa.array([partitions[name]], pa.string()),
        )
        if name in partitions
        else columns.column(name)
        for name in names
    ]
    return replace(parsed, columns=pa.RecordBatch.from_arrays(arrays, names=list(names)))


def one_batch(table: pa.Table, names: Sequence[str]) -> pa.RecordBatch:
    """Make a table's columns one record batch under ``names``."""
    arrays = [c.chunk(0) if c.num_chunks == 1 else c.combine_chunks() for c in table.columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))
