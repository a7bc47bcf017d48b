"""A compiled reader of plain JSON Lines: flat objects, strings without escapes, lists of those.

Most click logs are just that, and in the same order of keys on every line. It knows which key to
expect next, so a line costs about a nanosecond a byte, a tenth of a general parser. It
leaves out a line with anything else in it, or anything invalid, and never reads one otherwise
than a general parser would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.jit import inlined, jit
from streaming.sources.block import Block
from streaming.sources.copying import side_by_side
from streaming.sources.json_strings import list_end, skip_blanks, string_end, string_lists
from streaming.sources.json_values import EXACT

__all__ = [
    "BOOL", "FLOAT", "INT", "LIST", "TEXT", "Keys", "plain_value", "scan_block", "scan_number",
    "text_array", "texts_of", "typed_column",
]  # fmt: skip

# what a value is; 0: absent, 1: null, LIST: of texts
TEXT, INT, FLOAT, BOOL, LIST = 2, 3, 4, 5, 6
_QUOTE, _BRACKET, _COLON, _COMMA, _OPEN, _CLOSE = (ord(c) for c in '"[:,{}')
_MINUS, _PLUS, _POINT, _ZERO, _NINE, _E = (ord(c) for c in "-+.09e")
_LONG_NUMBER = 100
_FEW = 16  # one row in so many may be not plain
_WORDS = np.frombuffer(b"null\0true\0false\0NaN", np.uint8)

_ARROW = {
    0: pa.string(),
    1 << TEXT: pa.string(),
    1 << INT: pa.int64(),
    1 << FLOAT: pa.float64(),
    1 << INT | 1 << FLOAT: pa.float64(),
    1 << BOOL: pa.bool_(),
}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys to expect, in order.

    Parameters
    ----------
    text
        uint8, the bytes of all keys.
    at
        int64, where each begins, and the end of the last.
    column
        int64, which wanted column each is; -1: none.
    """

    text: npt.NDArray[np.uint8]
    at: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]

    @classmethod
    def of(cls, expected: Sequence[str], wanted: Sequence[str]) -> Keys:
        """Keys of a log whose rows look like ``expected``; the wanted ones are added."""
        names = list(dict.fromkeys([*expected, *wanted]))
        texts = [name.encode() for name in names]
        at = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        columns = {name: i for i, name in enumerate(wanted)}
        numbers = np.array([columns.get(name, -1) for name in names], np.int64)
        return cls(np.frombuffer(b"".join(texts), np.uint8), at, numbers)


def scan_block(
    block: Block, plain: npt.NDArray[np.bool_], keys: Keys, wanted: Sequence[str]
) -> pa.RecordBatch | None:
    """Read the plain rows of a block.

    Parameters
    ----------
    block
        The rows.
    plain
        bool, one per row: whether to look at it, in which case it is valid UTF-8. Changed in
        place: false for a row that is not plain.
    keys
        All keys to expect.
    wanted
        Names of the columns to return.

    Returns
    -------
    RecordBatch or None
        The rows left in ``plain``; None where they are not nearly all, or where a column holds
        values of several types, floats among them, or numbers that its type would not hold
        exactly.
    """
    data = np.frombuffer(block.data, np.uint8)
    shape = (len(wanted), block.rows)
    begin: Any = np.empty(shape, np.int32)
    size: Any = np.zeros(shape, np.int32)
    kind: Any = np.zeros(shape, np.uint8)
    spans = (block.starts, block.ends, plain)
    if not _scan(data, *spans, keys.text, keys.at, keys.column, begin, size, kind):
        return None
    if not plain.all():
        begin, kind, size = (np.ascontiguousarray(a[:, plain]) for a in (begin, kind, size))
    texts, offsets = side_by_side(data, begin, size)
    arrays = list(map(typed_column, texts, offsets, kind))
    if any(array is None for array in arrays):
        return None
    return pa.RecordBatch.from_arrays(arrays, names=list(wanted))


def texts_of(data: Any, begin: Any, end: Any) -> pa.Array:
    """Texts ``data[begin:end]``, null where that is empty."""
    sizes = end - begin
    [text], [offsets] = side_by_side(data, begin[None].astype(np.int32), sizes[None])
    return text_array(text, offsets, np.where(sizes > 0, TEXT, 0), 1)


def typed_column(text: Any, offsets: Any, kind: Any) -> pa.Array | None:
    """Make a column of values as they are written; ``None`` as :func:`scan_block` does."""
    seen = int(np.bitwise_or.reduce(np.left_shift(1, kind, dtype=np.uint8)))
    if seen & 1 << LIST:
        return None if seen & ~3 != 1 << LIST else string_lists(text, offsets, kind == LIST)
    return _typed(text_array(text, offsets, kind, seen & 3), seen & ~3)


def text_array(text: Any, offsets: Any, kind: Any, nulls: int) -> pa.Array:
    """Make a column of texts, null where ``kind`` says so; ``nulls``: whether it may."""
    valid = pa.py_buffer(np.packbits(kind >= TEXT, bitorder="little")) if nulls else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), len(kind), buffers)


def _typed(texts: pa.Array, seen: int) -> pa.Array | None:
    """Cast to the type of the kinds ``seen`` (a bit each); None if mixed, or not exact."""
    kind = _ARROW.get(seen)
    if kind == pa.string():
        return texts
    if kind is None:  # texts, integers and booleans stand as they are read, but for -0
        as_read = not seen & 1 << FLOAT and not pc.any(pc.equal(texts, "-0")).as_py()
        return texts if as_read else None
    try:
        values = texts.cast(kind)
    except pa.ArrowInvalid:
        return None
    if kind == pa.float64() and (pc.max(pc.abs(values)).as_py() or 0.0) >= EXACT:
        return None
    return values


@jit
def _scan(
    data: Any,
    starts: Any,
    ends: Any,
    plain: Any,
    keys: Any,
    key_at: Any,
    column: Any,
    begin: Any,
    size: Any,
    kind: Any,
) -> bool:
    """Find the wanted values of every plain row; False as soon as too many are not plain."""
    odd, rows = 0, len(starts)
    for row in range(rows):
        if plain[row]:
            plain[row] = _scan_row(
                data, starts[row], ends[row], keys, key_at, column, row, begin, size, kind
            )
        odd += not plain[row]
        if odd * _FEW > rows:
            return False
    return True


@inlined
def _scan_row(
    data: Any,
    at: int,
    stop: int,
    keys: Any,
    key_at: Any,
    column: Any,
    row: int,
    begin: Any,
    size: Any,
    kind: Any,
) -> bool:
    """Go through one object, member by member."""
    expected = 0
    opening = True
    while at < stop and data[at] == (_OPEN if opening else _COMMA):
        at = skip_blanks(data, at + 1, stop)
        if opening and at < stop and data[at] == _CLOSE:
            break
        opening = False
        if at >= stop or data[at] != _QUOTE:
            return False
        end = string_end(data, at + 1, stop)
        key = _find_key(data, at + 1, end, keys, key_at, expected)
        expected = key + 1
        at = skip_blanks(data, end + 1, stop)
        if end < 0 or at >= stop or data[at] != _COLON:
            return False
        at = skip_blanks(data, at + 1, stop)
        what, end = plain_value(data, at, stop)
        if what == 0 and _is_word(data, at, stop, 16, 3):
            what, end = 1, at + 3
        place = column[key] if key >= 0 else -1
        if what == 0 or (place >= 0 and kind[place, row] != 0):
            return False  # no plain value, or a key twice
        if place >= 0:
            quote = what == TEXT
            kind[place, row] = what
            begin[place, row] = at + quote
            size[place, row] = end - at - 2 * quote if what >= TEXT else 0
        at = skip_blanks(data, end, stop)
    return at + 1 == stop and data[at] == _CLOSE


@inlined
def _find_key(data: Any, start: int, end: int, keys: Any, key_at: Any, expected: int) -> int:
    """Number of a key, looked for from the expected one on; -1: unknown."""
    count = len(key_at) - 1
    for step in range(count):
        key = (expected + step) % count
        low = key_at[key]
        size = end - start
        if key_at[key + 1] - low != size:
            continue
        same = 0
        while same < size and data[start + same] == keys[low + same]:
            same += 1
        if same == size:
            return key
    return -1


@inlined
def plain_value(data: Any, at: int, stop: int) -> tuple[int, int]:
    """What a value is (0: not plain) and where it ends, quotes included."""
    if at >= stop:
        return 0, at
    first = data[at]
    if first == _QUOTE:
        end = string_end(data, at + 1, stop)
        return (TEXT if end >= 0 else 0), end + 1
    if first == _BRACKET:
        end = list_end(data, at, stop)
        return (LIST if end >= 0 else 0), end
    if first == _MINUS or _ZERO <= first <= _NINE:
        return scan_number(data, at, stop)
    if _is_word(data, at, stop, 0, 4):
        return 1, at + 4
    if _is_word(data, at, stop, 5, 4):
        return BOOL, at + 4
    if _is_word(data, at, stop, 10, 5):
        return BOOL, at + 5
    return 0, at


@inlined
def _is_word(data: Any, at: int, stop: int, word: int, size: int) -> bool:
    if stop - at < size:
        return False
    same = True
    for i in range(size):
        same &= data[at + i] == _WORDS[word + i]
    return same


@inlined
def _digits(data: Any, at: int, stop: int) -> int:
    while at < stop and _ZERO <= data[at] <= _NINE:
        at += 1
    return at


@inlined
def scan_number(data: Any, at: int, stop: int) -> tuple[int, int]:
    """A number by the grammar of RFC 8259, section 6: int or float (0: neither), and its end.

    One that might be beyond a float64 is neither: a general parser refuses it in any field.
    """
    what, begin = INT, at
    start = at + (data[at] == _MINUS)
    at = _digits(data, start, stop)
    if at == start or (data[start] == _ZERO and at > start + 1):
        return 0, at
    if at < stop and data[at] == _POINT:
        what, start = FLOAT, at + 1
        at = _digits(data, start, stop)
        if at == start:
            return 0, at
    if at < stop and (data[at] | 32) == _E:
        what, start = FLOAT, at + 1
        if start < stop and (data[start] == _PLUS or data[start] == _MINUS):
            start += 1
        at = _digits(data, start, stop)
        if at == start or at > start + 2:
            return 0, at
    return (what if at - begin < _LONG_NUMBER else 0), at
