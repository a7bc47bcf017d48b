"""Cuts a stream of bytes at the ends of lines or CSV records, in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from features.errors import SourceError
from streaming.sources.block import KEPT_OF_LONG_LINE, Block, index_block
from streaming.sources.csv_records import index_records
from streaming.sources.faults import Damage, check_rows

__all__ = ["Limits", "from_row", "read_blocks"]


@dataclass(frozen=True)
class Limits:
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
    chunks: Iterable[bytes], file: str, limits: Limits, first_row: int, quoted: str = ""
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

    def __init__(self, file: str, limits: Limits, first_row: int, quoted: str) -> None:
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


def _whole_lines(chunks: Iterable[bytes], limits: Limits) -> Generator[tuple[bytes, int]]:
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
