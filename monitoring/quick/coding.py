"""Values of rows as they are found: a code for each text of a column, and each text copied once.

Of some columns every value is copied, with what it is: those that are read as numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.hashing import mix
from features.jit import load64, prefetch
from monitoring.quick.compiling import inlined, jit
from monitoring.text_codes import SEED
from streaming.sources.copying import SLACK, copy_short

__all__ = [
    "CODED",
    "COPIED",
    "MOST_ROWS",
    "Cells",
    "Coding",
    "add_cells",
    "fresh",
    "put_cells",
    "side_by_side",
]

CODED, COPIED = 0, 1
_FIRST = 16
_M = np.uint64(0xC6A4A7935BD1E995)
_ALL = ~np.uint64(0)
_CODE_BITS, _TAG_SHIFT = 20, np.uint64(53)  # of a slot: the code, and 11 bits of the hash
_CODE, _TAG = (1 << 20) - 1, ((1 << 11) - 1) << 20
MOST_ROWS = 1 << _CODE_BITS
_STAGGER = 1040  # columns of a power of two would share the same few places of a cache


class Cells(NamedTuple):
    """The values of one row: where each stands, and what it is (as ``json_scan`` has it)."""

    begin: NDArray[np.int64]
    size: NDArray[np.int64]
    kind: NDArray[np.uint8]
    hash: NDArray[np.uint64]

    @classmethod
    def of(cls, columns: int) -> Cells:
        """Of so many columns."""
        begin, size = np.zeros((2, columns), np.int64)
        return cls(begin, size, np.zeros(columns, np.uint8), np.zeros(columns, np.uint64))


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
    shape = len(mode), rows + rows // 4 | 15
    table = np.empty((len(mode), (1 << (2 * shape[1]).bit_length()) + _STAGGER), np.int32)
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
        begin = cells.begin[column]
        h = _hash(data, begin, cells.size[column])
        cells.hash[column] = h
        slot = np.int64(h & np.uint64(coding.room[column] - 1))
        prefetch(coding.table, column * coding.table.shape[1] + slot)
    for column in range(len(coding.mode)):
        begin, size, h = cells.begin[column], cells.size[column], cells.hash[column]
        if coding.mode[column] == COPIED:
            coding.kinds[column, row] = cells.kind[column]
            _put_text(data, begin, size, column, row, coding, text)
            continue
        mask, tag = np.uint64(coding.room[column] - 1), int(h >> _TAG_SHIFT) << _CODE_BITS
        at, code = h & mask, -1
        entry = int(coding.table[column, at])
        while entry >= 0:
            if entry & _TAG == tag and coding.hashes[column, entry & _CODE] == h:
                code = entry & _CODE
                break
            at = (at + np.uint64(1)) & mask
            entry = int(coding.table[column, at])
        if code < 0:
            code = coding.distinct[column]
            coding.table[column, at] = code | tag
            coding.hashes[column, code] = h
            _put_text(data, begin, size, column, code, coding, text)
            coding.distinct[column] = code + 1
            if 4 * (code + 1) > 3 * coding.room[column]:
                _grow(column, coding)
        coding.codes[column, row] = code


@inlined
def _hash(data: Any, at: int, size: int) -> Any:
    """As :func:`features.hashing.text_hash`, of a text after which 8 bytes can be read."""
    h = SEED ^ (np.uint64(size) * _M)
    while size > 8:
        h = _stir(h, load64(data, at))
        at, size = at + 8, size - 8
    if size > 0:
        h = _stir(h, load64(data, at) & (_ALL >> np.uint64(64 - 8 * size)))
    return mix(h)


@inlined
def _stir(h: Any, word: Any) -> Any:
    word = word * _M
    return (h ^ ((word ^ (word >> np.uint64(47))) * _M)) * _M


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
    """Twice as many slots, once few are free."""
    room = 2 * coding.room[column]
    coding.room[column] = room
    for i in range(room):
        coding.table[column, i] = -1
    mask = np.uint64(room - 1)
    for code in range(coding.distinct[column]):
        h = coding.hashes[column, code]
        at = h & mask
        while coding.table[column, at] >= 0:
            at = (at + np.uint64(1)) & mask
        coding.table[column, at] = code | np.int64(h >> _TAG_SHIFT) << _CODE_BITS


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
