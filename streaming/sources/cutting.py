"""Cuts a stream of bytes into blocks of whole rows, lines or CSV records, in bounded memory.

Line ends inside a quoted value do not end a record. A value is quoted if it begins with a quote; a
quote elsewhere stands for itself, and one inside is doubled (RFC 4180). Text after the closing
quote is appended to the value, on one line: a value over several lines must be followed by a
separator or a line end. If it is not, or if it does not close within the limit, its quote was none
of those, and only the lines up to it are a broken record.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.errors import SourceError
from features.jit import inlined, jit
from streaming.sources.block import KEPT_OF_LONG_LINE, Block, index_block
from streaming.sources.faults import Damage, check_rows

__all__ = ["BlockLimits", "from_row", "index_records", "read_blocks"]

_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")


def index_records(
    data: bytes,
    file: str,
    line: int,
    first_row: int,
    separator: str,
    *,
    longest: int = 1 << 20,
    is_end: bool = True,
) -> tuple[Block, int, bytes]:
    r"""Find the records of ``data``, whose first line is number ``line``.

    Parameters
    ----------
    data, file, line, first_row
        As :func:`streaming.sources.block.index_block` takes them.
    separator
        One ASCII character.
    longest
        Most bytes of a record over several lines.
    is_end
        Whether nothing follows ``data``; else its last record may be left for later.

    Returns
    -------
    block
        The records.
    lines
        How many lines they take.
    rest
        What is left for later.

    Examples
    --------
    >>> block, lines, rest = index_records(b'a,"b\nc"\nd,"e\n', "log", 1, 0, ",", is_end=False)
    >>> block.origin(0), lines, rest
    ((1, b'a,"b\nc"'), 2, b'd,"e\n')
    """
    if b'"' not in data:
        block, lines = index_block(data, file, line, first_row)
        return block, lines, b""
    view = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero((view == _QUOTE) | (view == _NEWLINE))
    spans: Any = np.empty((3, len(marks) + 1), np.int64)
    broken: Any = np.zeros(len(marks) + 1, np.bool_)
    place = (view, marks, ord(separator), longest, is_end)
    rows, stop, lines = _find_records(*place, spans, broken)
    starts, ends, numbers = spans[:, :rows]
    numbers += line
    faulty = np.flatnonzero(broken[:rows])
    block = Block(data[:stop], file, starts, ends, numbers, first_row, broken=faulty)
    return block, lines, data[stop:]


@jit
def _find_records(
    data: Any, marks: Any, separator: int, longest: int, is_end: bool, spans: Any, broken: Any
) -> tuple[int, int, int]:
    """Fill in begin, end and first line of each record; count records, bytes and lines.

    ``marks`` are the places of all quotes and line ends.
    """
    size, begin, at, row, line = len(data), 0, 0, 0, 0
    while begin < size:
        first = line
        while at < len(marks) and data[marks[at]] == _QUOTE:
            mark = marks[at]
            at += 1
            if mark > begin and data[mark - 1] != separator:
                continue  # it does not begin a value: it stands for itself
            after, crossed = _after_closing(data, marks, at, begin + longest)
            if after < 0 and not is_end and size <= begin + longest:
                return row, begin, first
            if after < 0 or (crossed and not _ends_value(data, marks[after - 1] + 1, separator)):
                broken[row] = True
                while at < len(marks) and data[marks[at]] == _QUOTE:
                    at += 1
            else:
                line += crossed
                at = after
        stop = marks[at] if at < len(marks) else size
        end = stop - (stop > begin and data[stop - 1] == _RETURN)
        if end > begin:
            spans[0, row], spans[1, row], spans[2, row] = begin, end, first
            row += 1
        begin = stop + 1
        at += 1
        line += 1
    return row, size, line


@inlined
def _after_closing(data: Any, marks: Any, at: int, stop: int) -> tuple[int, int]:
    """The mark after the one that closes a value (-1: none before ``stop``), and its line ends."""
    lines = 0
    while at < len(marks) and marks[at] < stop:
        mark = marks[at]
        if data[mark] == _NEWLINE:
            lines += 1
        elif mark + 1 < len(data) and data[mark + 1] == _QUOTE:
            at += 1
        else:
            return at + 1, lines
        at += 1
    return -1, lines


@inlined
def _ends_value(data: Any, at: int, separator: int) -> bool:
    if at >= len(data) or data[at] == separator or data[at] == _NEWLINE:
        return True
    return data[at] == _RETURN and (at + 1 >= len(data) or data[at + 1] == _NEWLINE)


@dataclass(frozen=True)
class BlockLimits:
    """What bounds the memory of a read.

    Parameters
    ----------
    block_bytes
        Text parsed at once, in bytes; more costs memory, less costs a call per block.
    batch_rows
        Most rows in a batch.
    max_line_bytes
        A longer line (without its line end) is rejected as ``line_too_long``.
    """

    block_bytes: int = 1 << 20
    batch_rows: int = 8_192
    max_line_bytes: int = 1 << 20


def read_blocks(
    chunks: Iterable[bytes], file: str, limits: BlockLimits, first_row: int, quoted: str = ""
) -> Generator[Block]:
    """Cut ``chunks`` into blocks of whole rows.

    Parameters
    ----------
    chunks
        The text.
    file
        Its name.
    limits
        What bounds the blocks.
    first_row
        Number of the first row.
    quoted
        The separator of a CSV file, whose quoted values may hold line ends; empty: a row is a line.

    Raises
    ------
    SourceError
        The stream is damaged; all whole rows before the damage have been yielded.
    """
    cutter = _Cutter(file, limits, first_row, quoted)
    try:
        for data, long_line in _whole_lines(chunks, limits):
            if long_line:
                yield from cutter.rows(b"", is_end=True)
                yield cutter.long_row(data, long_line)
            else:
                yield from cutter.rows(data)
        yield from cutter.rows(b"", is_end=True)
    except Damage as damage:
        raise SourceError(
            f"{file}: {damage}; it could be read up to line {cutter.line - 1}. Fix: {damage.fix}"
        ) from damage


class _Cutter:
    """Rows of the whole lines of a file, with their numbers."""

    def __init__(self, file: str, limits: BlockLimits, first_row: int, quoted: str) -> None:
        self.line = 1
        self._file, self._limits, self._row, self._quoted = file, limits, first_row, quoted
        self._open = b""  # a record that goes on in the next lines

    def rows(self, data: bytes, *, is_end: bool = False) -> Generator[Block]:
        """Blocks of the next lines; at the end, of what was left open too."""
        data = self._open + data
        if not data:
            return
        if self._quoted:
            place = (self._file, self.line, self._row, self._quoted)
            longest = self._limits.max_line_bytes
            block, lines, self._open = index_records(data, *place, longest=longest, is_end=is_end)
        else:
            block, lines = index_block(data, self._file, self.line, self._row)
        self._row += block.rows
        self.line += lines
        for start in range(0, block.rows, self._limits.batch_rows):
            yield block.part(start, min(start + self._limits.batch_rows, block.rows))

    def long_row(self, head: bytes, length: int) -> Block:
        """A block of the beginning of a line above the limit."""
        start, end, number = (np.array([value]) for value in (0, len(head), self.line))
        block = Block(head, self._file, start, end, number, self._row, length)
        self._row += 1
        self.line += 1
        return block


def from_row(blocks: Iterable[Block], row: int, file: str) -> Generator[Block]:
    """Leave out the rows before ``row`` (and a header), without parsing them.

    Raises
    ------
    SourceError
        The file has no rows, or not so many.
    """
    end = 0
    for block in blocks:
        end = block.first_row + block.rows
        if end > row:
            yield block.part(max(row - block.first_row, 0), block.rows)
    check_rows(end, row, file)


def _whole_lines(chunks: Iterable[bytes], limits: BlockLimits) -> Generator[tuple[bytes, int]]:
    """Yield (whole lines, 0), or (beginning of a line above the limit, its length)."""
    feed = iter(chunks)
    pending: list[bytes] = []
    size = 0
    longest = limits.max_line_bytes + 1  # a "\r" may be part of the line end
    try:
        for chunk in feed:
            pending.append(chunk)
            size += len(chunk)
            if size < limits.block_bytes or (b"\n" not in chunk and size <= longest):
                continue
            whole, rest = _cut(pending)
            pending, size = [rest], len(rest)
            if whole:
                yield whole, 0
            if len(rest) > longest:
                head, length, rest = _skip_line(rest, feed)
                pending, size = [rest], len(rest)
                yield head, length
    except Damage:
        whole, _ = _cut(pending)
        if whole:
            yield whole, 0
        raise
    if size:
        yield b"".join(pending), 0


def _cut(pending: list[bytes]) -> tuple[bytes, bytes]:
    data = b"".join(pending)
    at = data.rfind(b"\n") + 1
    return data[:at], data[at:]


def _skip_line(begun: bytes, feed: Iterator[bytes]) -> tuple[bytes, int, bytes]:
    """Read to the end of a line: its beginning, its length, and what follows it."""
    length, last, rest = len(begun), begun[-1:], b""
    for chunk in feed:
        end = chunk.find(b"\n")
        seen = chunk if end < 0 else chunk[:end]
        length, last = length + len(seen), seen[-1:] or last
        if end >= 0:
            rest = chunk[end + 1 :]
            break
    return begun[:KEPT_OF_LONG_LINE], length - (last == b"\r"), rest
