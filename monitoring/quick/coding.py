"""Values of rows as they are found: a code for each text of a column, and each text copied once.

Of some columns every value is copied, with what it is: those that are read as numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.hashing import text_hash
from monitoring.quick.bare import inlined, jit
from monitoring.text_codes import SEED
from streaming.sources.copying import SLACK, copy_short

__all__ = ["CODED", "COPIED", "Cells", "Coding", "add_cells", "fresh", "put_cells", "side_by_side"]

CODED, COPIED = 0, 1
_FIRST = 64
_STAGGER = 1040  # columns of a power of two would share the same few places of a cache


class Cells(NamedTuple):
    """The values of one row: where each stands, and what it is (as ``json_scan`` has it)."""

    begin: NDArray[np.int64]
    size: NDArray[np.int64]
    kind: NDArray[np.uint8]

    @classmethod
    def of(cls, columns: int) -> Cells:
        """Of so many columns."""
        return cls(
            np.zeros(columns, np.int64), np.zeros(columns, np.int64), np.zeros(columns, np.uint8)
        )


class Coding(NamedTuple):
    """The columns of some rows.

    Parameters
    ----------
    mode
        uint8 (columns,): :data:`CODED`, or :data:`COPIED`.
    codes
        int32 (columns, rows): of each row of a coded column.
    kinds
        uint8 (columns, rows): of each row of a copied one.
    hashes
        uint64 (columns, rows): of each distinct text of a coded column.
    begin, size
        int32 (columns, rows): where each distinct text, or each row's, stands in ``text``.
    distinct
        int64 (columns,): distinct texts.
    table, room
        int32 (columns, slots), int64 (columns,): codes by hash, in the first slots; -1: none.
    used
        int64 (1,): bytes of the text.
    """

    mode: NDArray[np.uint8]
    codes: NDArray[np.int32]
    kinds: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    begin: NDArray[np.int32]
    size: NDArray[np.int32]
    distinct: NDArray[np.int64]
    table: NDArray[np.int32]
    room: NDArray[np.int64]
    used: NDArray[np.int64]


def fresh(mode: NDArray[np.uint8], rows: int, old: Coding | None = None) -> Coding:
    """Ready for so many rows; in the memory of ``old``, but for what leaves with a batch."""
    shape = len(mode), rows | 15  # not of a cache's stride
    codes, kinds = np.empty(shape, np.int32), np.empty(shape, np.uint8)
    if old is not None and old.hashes.shape[1] >= rows:
        _clear(old)
        return old._replace(mode=mode, codes=codes, kinds=kinds)
    slots = max(_FIRST, 1 << (2 * rows).bit_length())
    table = np.empty((len(mode), slots + _STAGGER), np.int32)
    table[:, :_FIRST] = -1
    return Coding(
        mode, codes, kinds,
        np.empty(shape, np.uint64), np.empty(shape, np.int32), np.empty(shape, np.int32),
        np.zeros(len(mode), np.int64), table,
        np.full(len(mode), _FIRST, np.int64), np.zeros(1, np.int64),
    )  # fmt: skip


@jit
def _clear(coding: Any) -> None:
    coding.used[0] = 0
    for column in range(len(coding.distinct)):
        coding.distinct[column] = 0
        for i in range(coding.room[column]):
            coding.table[column, i] = -1


@jit
def add_cells(data: Any, cells: Any, row: int, coding: Any, text: Any) -> None:
    """Add a row, its values in ``data``; ``text`` has room for all of them and some bytes more."""
    put_cells(data, cells, row, coding, text)


@inlined
def put_cells(data: Any, cells: Any, row: int, coding: Any, text: Any) -> None:
    """As :func:`add_cells`."""
    for column in range(len(coding.mode)):
        begin, size = cells.begin[column], cells.size[column]
        if coding.mode[column] == COPIED:
            coding.kinds[column, row] = cells.kind[column]
            _put_text(data, begin, size, column, row, coding, text)
            continue
        h = text_hash(data, begin, begin + size, SEED)
        mask = np.uint64(coding.room[column] - 1)
        at = h & mask
        code = coding.table[column, at]
        while code >= 0 and coding.hashes[column, code] != h:
            at = (at + np.uint64(1)) & mask
            code = coding.table[column, at]
        if code < 0:
            code = coding.distinct[column]
            coding.table[column, at] = code
            coding.hashes[column, code] = h
            _put_text(data, begin, size, column, code, coding, text)
            coding.distinct[column] = code + 1
            if 2 * (code + 1) > coding.room[column]:
                _grow(column, coding)
        coding.codes[column, row] = code


@inlined
def _put_text(
    data: Any, start: int, size: int, column: int, number: int, coding: Any, text: Any
) -> None:
    used = coding.used[0]
    coding.begin[column, number], coding.size[column, number] = used, size
    copy_short(data, start, size, text, used)
    coding.used[0] = used + size


@jit
def _grow(column: int, coding: Any) -> None:
    room = 4 * coding.room[column]
    if room > coding.table.shape[1]:
        room = room >> 1
    coding.room[column] = room
    for i in range(room):
        coding.table[column, i] = -1
    mask = np.uint64(room - 1)
    for code in range(coding.distinct[column]):
        at = coding.hashes[column, code] & mask
        while coding.table[column, at] >= 0:
            at = (at + np.uint64(1)) & mask
        coding.table[column, at] = code


@jit
def texts_at(text: Any, begin: Any, offsets: Any, out: Any) -> None:
    """Copy texts side by side, :data:`SLACK` bytes after the last."""
    for i in range(len(begin)):
        copy_short(text, begin[i], offsets[i + 1] - offsets[i], out, offsets[i])


def side_by_side(
    text: NDArray[np.uint8], begin: NDArray[np.int32], size: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Texts one after the other, and where each begins, as Arrow has them."""
    offsets = np.zeros(len(size) + 1, np.int32)
    np.cumsum(size, out=offsets[1:])
    out = np.empty(int(offsets[-1]) + SLACK, np.uint8)
    texts_at(text, begin, offsets, out)
    return out, offsets
