"""The one compiled scanner of JSON: finds the members of many objects, without decoding them.

Rows of a click log, examples, their impressions and the counters in these are all objects whose
keys come in much the same order, row after row. It knows which key to expect next, so a row costs
about a nanosecond a byte, a tenth of a general parser. It leaves out an object with anything else
in it than it is told to expect, or anything invalid, and never reads one otherwise than a general
parser would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from features.jit import inlined, jit, read_only
from streaming.sources.json_values import (
    BOOL,
    CLOSE,
    COLON,
    COMMA,
    FLOAT,
    INT,
    LIST,
    NULL,
    OBJECT,
    OPEN,
    QUOTE,
    TEXT,
    is_text,
    nested_end,
    scan_value,
    skip_blanks,
    string_end,
    whole_number,
)

__all__ = ["ANY", "NUMBERS", "PLAIN", "Keys", "Members", "find_members"]

NUMBERS = 1 << INT | 1 << FLOAT
"""Kinds to expect: numbers alone."""
PLAIN = NUMBERS | 1 << NULL | 1 << TEXT | 1 << BOOL | 1 << LIST
"""Scalars and lists of strings; no escape in any string; NaN is null."""
ANY = PLAIN | 1 << OBJECT
"""Anything. Strings may have escapes; a wanted list or object is left to a scan of its own."""


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
    while at < stop and data[at] == (OPEN if opening else COMMA):
        at = skip_blanks(data, at + 1, stop)
        if opening and at < stop and data[at] == CLOSE:
            break
        opening = False
        if at >= stop or data[at] != QUOTE:
            return False
        end = string_end(data, at + 1, stop)
        key = _find_key(data, at + 1, end, keys, key_at, expected)
        expected = key + 1
        at = skip_blanks(data, end + 1, stop)
        if end < 0 or at >= stop or data[at] != COLON:
            return False
        at = skip_blanks(data, at + 1, stop)
        place = column[key] if key >= 0 else -1
        what, end = scan_value(data, at, stop, expect == ANY)
        if place < 0 and expect == ANY and what >= LIST and nested_end(data, at, end) < 0:
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
                if low < high and not is_text(data, at, end, value, low, high):
                    return False
                if what > NULL:
                    number[place, row] = whole_number(data, at, end) if what == INT else -1
        at = skip_blanks(data, end, stop)
    return at + 1 == stop and data[at] == CLOSE


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
