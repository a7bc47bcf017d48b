"""Where the records of a CSV file stand: line ends inside a quoted value do not end one.

A value is quoted if it begins with a quote; a quote elsewhere stands for itself, and one inside is
doubled (RFC 4180). Text after the closing quote is appended to the value, on one line: a value over
several lines must be followed by a separator or a line end. If it is not, or if it does not close
within the limit, its quote was none of those, and only the lines up to it are a broken record.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.jit import inlined, jit
from streaming.sources.block import Block, index_block

__all__ = ["index_records"]

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
