"""The one compiled scanner of JSON: finds the members of many objects, without decoding them.

Rows of a click log, examples, their impressions and the counters in these are all objects whose
keys come in much the same order, row after row. It knows which key to expect next, so a row costs
about a nanosecond a byte, a tenth of a general parser. It leaves out an object with anything else
in it than it is told to expect, or anything invalid, and never reads one otherwise than a general
parser would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numba.cpython.unsafe.numbers import trailing_zeros

from features.jit import inlined, jit, load64, read_only

__all__ = [
    "ANY", "BOOL", "FLOAT", "INT", "LIST", "NULL", "NUMBERS", "OBJECT", "PLAIN", "TEXT", "Keys",
    "Members", "find_members",
]  # fmt: skip

# the kinds of a value; 0: absent
NULL, TEXT, INT, FLOAT, BOOL, LIST, OBJECT = 1, 2, 3, 4, 5, 6, 7
NUMBERS = 1 << INT | 1 << FLOAT
"""Kinds to expect: numbers alone."""
PLAIN = NUMBERS | 1 << NULL | 1 << TEXT | 1 << BOOL | 1 << LIST
"""Scalars and lists of strings; no escape in any string; NaN is null."""
ANY = PLAIN | 1 << OBJECT
"""Anything. Strings may have escapes; a wanted list or object is left to a scan of its own."""

_QUOTE, _BACKSLASH, _COLON, _COMMA, _OPEN, _CLOSE = (ord(c) for c in '"\\:,{}')
_BRACKET, _END_BRACKET = ord("["), ord("]")
_MINUS, _PLUS, _POINT, _ZERO, _NINE, _E = (ord(c) for c in "-+.09e")
_LONG_NUMBER = 100
_MOST_DEPTH = 60
_MOST_DIGITS = 15
_WORDS = np.frombuffer(b"null\0true\0false\0NaN", np.uint8)
# mypy takes an intrinsic's typing context for an argument of the caller
_zeros_below = cast(Callable[[Any], int], trailing_zeros)

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


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
    value, value_at
        The one value that a wanted column may have, as it is written, likewise; empty: any.
    """

    text: Bytes
    at: I64
    column: I64
    value: Bytes
    value_at: I64

    @classmethod
    def of(
        cls,
        expected: Sequence[str],
        wanted: Sequence[str],
        values: Mapping[str, str] = MappingProxyType({}),
    ) -> Keys:
        """Keys of objects that look like ``expected``; the wanted ones are added.

        What a wanted column must be, according to ``values``, is seen to where anything is
        expected (:data:`ANY`).
        """
        names = list(dict.fromkeys([*expected, *wanted]))
        columns = {name: i for i, name in enumerate(wanted)}
        numbers = np.array([columns.get(name, -1) for name in names], np.int64)
        must_be = [values.get(name, "") for name in wanted]
        return cls(*_joined(names), numbers, *_joined(must_be))

    @property
    def wanted(self) -> int:
        """How many columns there are."""
        return len(self.value_at) - 1


def _joined(names: Sequence[str]) -> tuple[Bytes, I64]:
    """All texts, and where each begins."""
    texts = [name.encode() for name in names]
    at = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), at


@dataclass(frozen=True, slots=True)
class Members:
    """Where the wanted members of n objects stand.

    Parameters
    ----------
    begin, size
        int32 (wanted, n): value i of object j is ``data[begin[i, j] :][: size[i, j]]``, a string
        without its quotes; the size is 0 where it is absent or null.
    kind
        uint8 (wanted, n): what it is; 0: absent.
    number
        int64 (wanted, n): an integer of up to 15 digits; -1: another value; 0 where it is absent or
        null. Of no length where :data:`ANY` was not expected.
    """

    begin: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    kind: Bytes
    number: I64

    def of(self, rows: Flags) -> Members:
        """Those of some objects, without their numbers."""
        if rows.all():
            return self
        begin = np.ascontiguousarray(self.begin[:, rows])
        size = np.ascontiguousarray(self.size[:, rows])
        return Members(begin, size, np.ascontiguousarray(self.kind[:, rows]), self.number)


def find_members(
    data: Bytes, starts: I64, ends: I64, plain: Flags, keys: Keys, expect: int = PLAIN,
    most_odd: int | None = None,
) -> Members | None:  # fmt: skip
    """Find the wanted members of the objects ``data[starts:ends]``.

    Parameters
    ----------
    data
        Valid UTF-8, where ``plain`` says so.
    starts, ends
        Of each object.
    plain
        Which to look at. Changed in place: false for one with other things in it than expected.
    keys
        All keys to expect.
    expect
        :data:`PLAIN`, :data:`NUMBERS` or :data:`ANY`.
    most_odd
        Give up, and return ``None``, where more are not plain.

    Examples
    --------
    >>> text = b'{"a": {"b": [1]}, "c": 0.5}'
    >>> at = np.array([0]), np.array([len(text)])
    >>> found = find_members(
    ...     np.frombuffer(text, np.uint8), *at, np.ones(1, np.bool_), Keys.of("ac", "a"), ANY)
    >>> text[found.begin[0, 0] :][: found.size[0, 0]]
    b'{"b": [1]}'
    """
    rows, shape = len(starts), (keys.wanted, len(starts))
    found = Members(
        np.empty(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.uint8),
        np.zeros((keys.wanted, rows if expect == ANY else 0), np.int64),
    )  # fmt: skip
    within = _find(
        read_only(data), starts, ends, plain, keys.text, keys.at, keys.column, keys.value,
        keys.value_at, found.begin, found.size, found.kind, found.number, expect,
        rows if most_odd is None else most_odd,
    )  # fmt: skip
    return found if within else None


@jit
def _find(
    data: Any, starts: Any, ends: Any, plain: Any, keys: Any, key_at: Any, column: Any, value: Any,
    value_at: Any, begin: Any, size: Any, kind: Any, number: Any, expect: int, most_odd: int,
) -> bool:  # fmt: skip
    """Find the wanted members of every plain row; False as soon as too many are not plain."""
    odd = 0
    for row in range(len(starts)):
        if plain[row]:
            plain[row] = _find_row(
                data, starts[row], ends[row], keys, key_at, column, value, value_at, row, begin,
                size, kind, number, expect,
            )  # fmt: skip
        odd += not plain[row]
        if odd > most_odd:
            return False
    return True


@inlined
def _find_row(
    data: Any, at: int, stop: int, keys: Any, key_at: Any, column: Any, value: Any, value_at: Any,
    row: int, begin: Any, size: Any, kind: Any, number: Any, expect: int,
) -> bool:  # fmt: skip
    """Go through one object, member by member."""
    expected = 0
    opening = True
    while at < stop and data[at] == (_OPEN if opening else _COMMA):
        at = _skip_blanks(data, at + 1, stop)
        if opening and at < stop and data[at] == _CLOSE:
            break
        opening = False
        if at >= stop or data[at] != _QUOTE:
            return False
        end = _string_end(data, at + 1, stop)
        key = _find_key(data, at + 1, end, keys, key_at, expected)
        expected = key + 1
        at = _skip_blanks(data, end + 1, stop)
        if end < 0 or at >= stop or data[at] != _COLON:
            return False
        at = _skip_blanks(data, at + 1, stop)
        place = column[key] if key >= 0 else -1
        what, end = _value(data, at, stop, expect == ANY)
        if place < 0 and expect == ANY and what >= LIST and _nested_end(data, at, end) < 0:
            return False
        if not expect >> what & 1 or (place >= 0 and kind[place, row] != 0):
            return False  # not what is expected, or a key twice
        if place >= 0:
            quote = what == TEXT
            kind[place, row] = what
            begin[place, row] = at + quote
            size[place, row] = end - at - 2 * quote if what >= TEXT else 0
            if expect == ANY:
                low, high = value_at[place], value_at[place + 1]
                if low < high and not _is_text(data, at, end, value, low, high):
                    return False
                if what > NULL:
                    number[place, row] = _whole(data, at, end) if what == INT else -1
        at = _skip_blanks(data, end, stop)
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
def _value(data: Any, at: int, stop: int, whatever: bool) -> tuple[int, int]:
    """What a value is (0: nothing plain) and where it ends, quotes included."""
    if at >= stop:
        return 0, at
    first = data[at]
    if first == _QUOTE:
        end = _long_string_end(data, at + 1, stop) if whatever else _string_end(data, at + 1, stop)
        return (TEXT if end >= 0 else 0), end + 1
    if first == _OPEN or (first == _BRACKET and whatever):
        end = _balanced_end(data, at, stop)
        return 0 if end < 0 else (OBJECT if first == _OPEN else LIST), end
    if first == _BRACKET:
        end = _list_end(data, at, stop)
        return (LIST if end >= 0 else 0), end
    return _scalar(data, at, stop, whatever)


@inlined
def _scalar(data: Any, at: int, stop: int, whatever: bool) -> tuple[int, int]:
    """What a number or a word is (0: neither) and where it ends."""
    first = data[at]
    if first == _MINUS or _ZERO <= first <= _NINE:
        return _number(data, at, stop)
    if _is_word(data, at, stop, 0, 4):
        return NULL, at + 4
    if _is_word(data, at, stop, 5, 4):
        return BOOL, at + 4
    if _is_word(data, at, stop, 10, 5):
        return BOOL, at + 5
    if not whatever and _is_word(data, at, stop, 16, 3):
        return NULL, at + 3
    return 0, at


@inlined
def _is_text(data: Any, at: int, stop: int, text: Any, low: int, high: int) -> bool:
    if stop - at != high - low:
        return False
    same = True
    for i in range(stop - at):
        same &= data[at + i] == text[low + i]
    return same


@inlined
def _whole(data: Any, at: int, stop: int) -> int:
    """The value of digits; -1: there are too many, or a sign."""
    if stop - at > _MOST_DIGITS or data[at] == _MINUS:
        return -1
    value = 0
    for i in range(at, stop):
        value = value * 10 + (data[i] - _ZERO)
    return value


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
def _number(data: Any, at: int, stop: int) -> tuple[int, int]:
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


@inlined
def _skip_blanks(data: Any, at: int, stop: int) -> int:
    """Where the next token begins on this line."""
    while at < stop and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@inlined
def _string_end(data: Any, at: int, stop: int) -> int:
    """Where the closing quote stands; -1: nowhere, or after an escape or control character."""
    while at < stop and data[at] != _QUOTE:
        if data[at] == _BACKSLASH or data[at] < 32:
            return -1
        at += 1
    return at if at < stop else -1


@inlined
def _list_end(data: Any, at: int, stop: int) -> int:
    """Where a list ends that opens at ``at``; -1: nowhere, or other things than strings in it."""
    at = _skip_blanks(data, at + 1, stop)
    if at < stop and data[at] == _END_BRACKET:
        return at + 1
    while at < stop and data[at] == _QUOTE:
        end = _string_end(data, at + 1, stop)
        if end < 0:
            return -1
        at = _skip_blanks(data, end + 1, stop)
        if at < stop and data[at] == _END_BRACKET:
            return at + 1
        if at >= stop or data[at] != _COMMA:
            return -1
        at = _skip_blanks(data, at + 1, stop)
    return -1


@inlined
def _marks(word: Any, byte: int) -> Any:
    """The top bit of each of 8 bytes that is ``byte``; right up to the first one."""
    ones, tops = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    odd = word ^ (ones * np.uint64(byte))
    return (odd - ones) & ~odd & tops


@inlined
def _long_string_end(data: Any, at: int, stop: int) -> int:
    """Where the closing quote stands, 8 bytes at a time, escapes stepped over; -1: nowhere."""
    while at < stop:
        if at + 8 <= stop:
            word = load64(data, at)
            marks = _marks(word, _QUOTE) | _marks(word, _BACKSLASH)
            if marks == 0:
                at += 8
                continue
            at += _zeros_below(marks) >> 3
        if data[at] == _QUOTE:
            return at
        at += 2 if data[at] == _BACKSLASH else 1
    return -1


@inlined
def _balanced_end(data: Any, at: int, stop: int) -> int:
    """Where an object or a list ends that opens at ``at``, by its brackets alone; -1: nowhere."""
    depth = 0
    while at < stop:
        c = data[at]
        if c == _QUOTE:
            at = _long_string_end(data, at + 1, stop)
            if at < 0:
                return -1
        elif c in (_OPEN, _BRACKET):
            depth += 1
        elif c in (_CLOSE, _END_BRACKET):
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1


@inlined
def _nested_end(data: Any, at: int, stop: int) -> int:
    """Where an object or a list ends that opens at ``at``; -1: it is not valid, or very deep."""
    depth, objects = 0, 0  # a bit of `objects` for each level: an object, or a list
    while at < stop:
        first = data[at]
        if first in (_OPEN, _BRACKET):
            depth, objects = depth + 1, objects << 1 | (first == _OPEN)
            at = _skip_blanks(data, at + 1, stop)
            if depth > _MOST_DEPTH or at >= stop:
                return -1
            if data[at] != (_CLOSE if objects & 1 else _END_BRACKET):
                at = _member_value(data, at, stop) if objects & 1 else at
                if at < 0:
                    return -1
                continue
        elif first == _QUOTE:
            end = _long_string_end(data, at + 1, stop)
            if end < 0:
                return -1
            at = _skip_blanks(data, end + 1, stop)
        else:
            what, at = _scalar(data, at, stop, True)
            if what == 0:
                return -1
            at = _skip_blanks(data, at, stop)
        while at < stop and data[at] == (_CLOSE if objects & 1 else _END_BRACKET):
            depth, objects = depth - 1, objects >> 1
            if depth == 0:
                return at + 1
            at = _skip_blanks(data, at + 1, stop)
        if at >= stop or data[at] != _COMMA:
            return -1
        at = _skip_blanks(data, at + 1, stop)
        at = _member_value(data, at, stop) if objects & 1 else at
        if at < 0:
            return -1
    return -1


@inlined
def _member_value(data: Any, at: int, stop: int) -> int:
    """Where the value begins of a member whose key begins at ``at``; -1: there is none."""
    if at >= stop or data[at] != _QUOTE:
        return -1
    end = _long_string_end(data, at + 1, stop)
    at = _skip_blanks(data, end + 1, stop)
    if end < 0 or at >= stop or data[at] != _COLON:
        return -1
    return _skip_blanks(data, at + 1, stop)
