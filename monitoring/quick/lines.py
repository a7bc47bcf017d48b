"""Lines of examples, each read once from end to end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.events import MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS
from monitoring.quick import layout as lay
from monitoring.quick.coding import CODED, put_cells
from monitoring.quick.compiling import inlined, jit
from monitoring.quick.tokens import (
    SAYS_EXAMPLE,
    SAYS_FALSE,
    SAYS_IMPRESSION,
    SAYS_NULL,
    any_value,
    ends,
    integer,
    is_null,
    one,
    says,
    text_end,
    token_end,
)  # fmt: skip
from streaming.sources.json_scan import FLOAT, INT, LIST, TEXT, plain_value

__all__ = ["DONE", "NO_ROOM", "ODD_LINE", "OTHER_MODE", "PAD", "Said", "scan_fields", "scan_lines"]

PAD = 80
"""Newlines that must stand after the last line: the kernels look ahead."""

DONE, ODD_LINE, OTHER_MODE, NO_ROOM = range(4)
"""All is read; the next line is not plain; it is, but some column must be copied to be read; or
there is no room for another row."""

_QUOTE, _OPEN, _BRACKET, _ZERO, _MINUS, _NEWLINE, _RETURN = (ord(c) for c in '"{[0-\n\r')
_NULL = 1
_LEAST, _MOST = MIN_TIMESTAMP_MS, MAX_TIMESTAMP_MS
_NEEDED = 1 << lay.TYPE | 1 << lay.VERSION | 1 << lay.LABEL | 1 << lay.IMPRESSION
_NEEDED_SHOWN = (
    1 << lay.TYPE | 1 << lay.VERSION | 1 << lay.ID | 1 << lay.TIMESTAMP | 1 << lay.FIELDS
)
_MAX_FIELDS = 1 << 20


class Said(NamedTuple):
    """What each line says beside its fields: int64 (rows,) each; a click at 0 is none."""

    label: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    clicked: NDArray[np.int64]


@jit
def scan_lines(
    data: Any, where: Any, layout: Any, cells: Any, said: Any, coding: Any, text: Any
) -> int:
    """Read lines up to one that is not plain.

    Parameters
    ----------
    data
        Lines, :data:`PAD` newlines after them.
    where
        int64 (2,): where to read on, and the number of the next row; both are moved on.
    layout
        Of the lines.
    cells
        For the values of a line: the last but one column is the probability, the last the
        version.
    said, coding, text
        For what is found.
    """
    at, row, stop = where[0], where[1], len(data) - PAD
    how = DONE
    while at < stop:
        if data[at] == _NEWLINE:
            at += 1
            continue
        if data[at] == _RETURN and data[at + 1] == _NEWLINE:
            at += 2
            continue
        if row == len(said.label):
            how = NO_ROOM
            break
        end = _line(data, at, layout, cells, said, row)
        if end >= 0 and data[end] == _RETURN:
            end += 1
        how = ODD_LINE if end < 0 or data[end] != _NEWLINE else _suits(data, cells, coding)
        if how != DONE:
            break
        put_cells(data, cells, row, coding, text)
        at = end + 1
        row += 1
    where[0], where[1] = at, row
    return how


@jit
def scan_fields(data: Any, layout: Any, cells: Any, coding: Any) -> int:
    """Read the fields of one line, newlines after them, into ``cells``, as :func:`scan_lines`."""
    _clear(cells, len(cells.kind) - 2)
    at = _fields(data, 0, layout, cells)
    if at != len(data) - PAD:
        return ODD_LINE
    return int(_suits(data, cells, coding))


@inlined
def _clear(cells: Any, columns: int) -> None:
    for column in range(columns):
        cells.kind[column] = 0
        cells.size[column] = 0
        cells.begin[column] = 0


@inlined
def _suits(data: Any, cells: Any, coding: Any) -> int:
    """Whether the values can be taken as they are written."""
    how = DONE
    for column in range(len(coding.mode)):
        kind = cells.kind[column]
        if kind > TEXT and coding.mode[column] == CODED:
            if kind in (FLOAT, LIST):
                how = OTHER_MODE
            at = cells.begin[column]
            if kind == INT and data[at] == _MINUS and data[at + 1] == _ZERO:
                return ODD_LINE
    return how


@inlined
def _line(data: Any, at: int, layout: Any, cells: Any, said: Any, row: int) -> int:
    """Read an example: where it ends; -1: it is not plain."""
    if data[at] != _OPEN:
        return -1
    _clear(cells, len(cells.kind))
    said.clicked[row] = 0
    seen, key, at = 0, layout.room[0] - 1, at + 1
    while True:
        key, at = lay.member(data, at, lay.EXAMPLE, key, layout)
        if key < 0:
            break
        what = layout.what[key]
        if what >= 0:
            if seen >> what & 1:
                return -1
            seen |= 1 << what
        if what == lay.IMPRESSION:
            at = _impression(data, at, layout, cells, said, row)
        elif what == lay.LABEL:
            said.label[row] = int(data[at]) - _ZERO
            at = at + 1 if 0 <= said.label[row] <= 1 and ends(data[at + 1]) else -1
        elif what == lay.TYPE:
            at = says(data, at, SAYS_EXAMPLE)
        elif what == lay.VERSION:
            at = one(data, at)
        elif what == lay.CORRECTION:
            at = says(data, at, SAYS_FALSE)
        elif what == lay.CLICKED:
            end = says(data, at, SAYS_NULL)
            if end < 0:
                said.clicked[row], end = integer(data, at)
            at = end
        else:
            at = any_value(data, at)
        if at < 0:
            return -1
    return at if key == lay.ENDED and (seen & _NEEDED) == _NEEDED else -1


@inlined
def _impression(data: Any, at: int, layout: Any, cells: Any, said: Any, row: int) -> int:
    """Read the impression in it."""
    if data[at] != _OPEN:
        return -1
    seen, key, at = 0, 2 * layout.room[0] - 1, at + 1
    while True:
        key, at = lay.member(data, at, lay.SHOWN_KEYS, key, layout)
        if key < 0:
            break
        what = layout.what[key]
        if what >= 0:
            if seen >> what & 1:
                return -1
            seen |= 1 << what
        begin = at
        if what == lay.FIELDS:
            at = _fields(data, at, layout, cells)
            at = at if at - begin <= _MAX_FIELDS else -1
        elif what == lay.ID:
            at = text_end(data, at + 1) + 1 if data[at] == _QUOTE else -1
            at = at if 2 < at - begin <= 130 else -1
        elif what == lay.TIMESTAMP:
            said.timestamp[row], at = integer(data, at)
            at = at if _LEAST <= said.timestamp[row] <= _MOST else -1
        elif what == lay.TYPE:
            at = says(data, at, SAYS_IMPRESSION)
        elif what == lay.VERSION:
            at = one(data, at)
        elif what == lay.PROBABILITY:
            at = _probability(data, at, cells)
        elif what == lay.MODEL:
            at = _model(data, at, cells)
        elif what == lay.COUNTERS:
            at = -1
        else:
            at = any_value(data, at)
        if at < 0:
            return -1
    return at if key == lay.ENDED and (seen & _NEEDED_SHOWN) == _NEEDED_SHOWN else -1


@inlined
def _fields(data: Any, at: int, layout: Any, cells: Any) -> int:
    """Read an impression's fields, as :mod:`streaming.sources.json_scan` does."""
    if data[at] != _OPEN:
        return -1
    key, at = 3 * layout.room[0] - 1, at + 1
    while True:
        key, at = lay.member(data, at, lay.FIELDS_KEYS, key, layout)
        if key < 0:
            return at if key == lay.ENDED else -1
        if data[at] == _QUOTE:
            end = text_end(data, at + 1)
            if end < 0:
                return -1
            kind, begin, size, at = TEXT, at + 1, end - at - 1, end + 1
        else:
            kind, end = plain_value(data, at, len(data))
            if kind == 0:
                return -1
            begin, size, at = at, end - at if kind > _NULL else 0, end
        column = layout.what[key]
        if column >= 0:
            if cells.kind[column] != 0:
                return -1
            cells.kind[column], cells.begin[column], cells.size[column] = kind, begin, size


@inlined
def _probability(data: Any, at: int, cells: Any) -> int:
    """Note a number, or what may be one."""
    column = len(cells.kind) - 2
    if data[at] == _QUOTE or data[at] == _OPEN or data[at] == _BRACKET:
        return -1
    begin = at
    at = token_end(data, at)
    if not is_null(data, begin, at):
        cells.kind[column], cells.begin[column], cells.size[column] = TEXT, begin, at - begin
    return at if at > begin else -1


@inlined
def _model(data: Any, at: int, cells: Any) -> int:
    if data[at] != _QUOTE:
        return says(data, at, SAYS_NULL)
    column, end = len(cells.kind) - 1, text_end(data, at + 1)
    if end < 0:
        return -1
    cells.kind[column], cells.begin[column], cells.size[column] = TEXT, at + 1, end - at - 1
    return end + 1
