"""The one compiled scanner of JSON: finds the members of many objects, without decoding them.

Rows of a click log, examples, their impressions and the fields and counters in these are all
objects whose keys come in much the same order, row after row. One walk over a row finds the
members of all its levels; it knows which key to expect next, and takes 8 bytes at a time. It
leaves out an object with anything else in it than it is told to expect, or anything invalid, and
never reads one otherwise than a general parser would.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.jit import inlined, jit, pointers, read_only
from streaming.sources.json_keys import ANY, NUMBERS, PLAIN, Keys
from streaming.sources.json_values import (
    CLOSE,
    COLON,
    COMMA,
    INT,
    LIST,
    NULL,
    OBJECT,
    OPEN,
    QUOTE,
    TEXT,
    balanced_end,
    begins_with,
    nested_end,
    scan_value,
    skip_blanks,
    string_end,
    whole_number,
)

__all__ = ["ANY", "NUMBERS", "PLAIN", "Keys", "Members", "find_members"]

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


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
        null. Where :data:`ANY` was not expected it means nothing.
    plain
        bool (n,): which objects are as expected; the others' members mean nothing.
    inside
        Members of objects in these, by name, where there were keys for them.
    """

    begin: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    kind: Bytes
    number: I64
    plain: Flags
    inside: dict[str, Members]

    def of(self, rows: I64) -> Members:
        """Those of some objects, without their numbers and what is inside them."""
        if len(rows) == len(self.plain) and (rows == np.arange(len(rows))).all():
            return self
        begin, size, kind = self.begin[:, rows], self.size[:, rows], self.kind[:, rows]
        return Members(begin, size, kind, self.number, self.plain[rows], {})

    def put(self, rows: I64, found: Members) -> None:
        """Take those of some objects from elsewhere, without their numbers."""
        self.begin[:, rows], self.size[:, rows] = found.begin, found.size
        self.kind[:, rows], self.plain[rows] = found.kind, found.plain


def find_members(
    data: Bytes, starts: I64, ends: I64, plain: Flags, keys: Keys, most_odd: int | None = None
) -> Members | None:
    """Find the wanted members of the objects ``data[starts:ends]``.

    Parameters
    ----------
    data
        Valid UTF-8, where ``plain`` says so.
    starts, ends
        Of each object.
    plain
        Which to look at. Where an object inside one is not as expected, but has an end by its
        brackets, it alone is not plain.
    keys
        All keys to expect.
    most_odd
        Give up, and return ``None``, where more are not plain.

    Examples
    --------
    >>> text = b'{"a": {"b": [1]}, "c": 0.5}'
    >>> at = np.array([0]), np.array([len(text)])
    >>> keys, all_of_them = Keys.of("ac", "a", expect=ANY), np.ones(1, np.bool_)
    >>> found = find_members(np.frombuffer(text, np.uint8), *at, all_of_them, keys)
    >>> text[found.begin[0, 0] :][: found.size[0, 0]]
    b'{"b": [1]}'
    """
    starts, ends = np.ascontiguousarray(starts), np.ascontiguousarray(ends)
    found = _Found.of(plain, keys)
    most = found.rows if most_odd is None else most_odd
    within = _find(_Rows(read_only(data), starts, ends), keys.table, found, most)
    return found.members(keys) if within else None


class _Rows(NamedTuple):
    """What the kernel looks at."""

    data: Bytes
    starts: I64
    ends: I64


class _Found(NamedTuple):
    """What the kernel finds: the arrays of :class:`Members`, of one level after the other."""

    begin: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    kind: Bytes
    number: I64
    plain: Bytes
    rows: int

    @classmethod
    def of(cls, plain: Flags, keys: Keys) -> _Found:
        """Nothing yet."""
        rows, columns = len(plain), keys.ends[-1]
        pairs = zip(keys.levels, keys.ends, strict=True)
        numbers = max(end if level.expect == ANY else 0 for level, end in pairs)
        flags = np.zeros((len(keys.levels), rows), np.uint8)
        flags[0] = plain
        return cls(
            np.empty((columns, rows), np.int32), np.zeros((columns, rows), np.int32),
            np.zeros((columns, rows), np.uint8), np.zeros((numbers, rows), np.int64), flags, rows,
        )  # fmt: skip

    def members(self, keys: Keys) -> Members:
        """Those of each level."""
        parts = [
            Members(self.begin[a:b], self.size[a:b], self.kind[a:b], self.number[a:b], plain, {})
            for (a, b), plain in zip(
                pairwise([0, *keys.ends]), self.plain.view(np.bool_), strict=True
            )
        ]
        for number, (outer, name) in enumerate(keys.outer, 1):
            parts[outer].inside[name] = parts[number]
        return parts[0]


@jit
def _find(rows: Any, keys: Any, found: Any, most_odd: int) -> bool:
    """Find the wanted members of every plain row; False as soon as too many are not plain."""
    rows, keys, found, odd = pointers(rows), pointers(keys), pointers(found), 0
    for row in range(found.rows):
        if found.plain[row]:
            start, stop = rows.starts[row], rows.ends[row]
            found.plain[row] = _find_row(rows.data, start, stop, keys, row, found)
        odd += not found.plain[row]
        if odd > most_odd:
            return False
    return True


@inlined
def _find_row(data: Any, at: int, stop: int, keys: Any, row: int, found: Any) -> bool:
    """Go through one object, member by member, and through those in it whose keys are known.

    ``at`` is ``stop`` wherever something is not as expected.
    """
    level, expected, opening = 0, 0, True
    if at >= stop or data[at] != OPEN:
        return False
    while True:
        at = skip_blanks(data, at + 1, stop)
        if not opening or at >= stop or data[at] != CLOSE:
            key, at = _find_key(data, at, stop, keys, level, expected)
            spot, inside = -1, 0
            if key >= 0:
                expected, inside = key + 1, keys.inside[key]
                spot = keys.column[key] * found.rows + row if keys.column[key] >= 0 else -1
            opening = inside > 0 and at < stop and data[at] == OPEN and found.kind[spot] == 0
            if opening:
                found.kind[spot], found.begin[spot] = OBJECT, at
                level, expected = inside, keys.first[inside]
                continue
            at = _find_value(data, at, stop, keys, level, key, spot, found)
        opening = False
        while at >= stop or data[at] != COMMA:
            closed = at < stop and data[at] == CLOSE
            if level == 0:
                return closed and at + 1 == stop
            found.plain[level * found.rows + row] = closed
            key = keys.holder[level]
            level, expected, spot = keys.outer[level], key + 1, keys.column[key] * found.rows + row
            start = found.begin[spot]
            at = at + 1 if closed else balanced_end(data, start, stop)
            found.size[spot] = at - start
            at = skip_blanks(data, at, stop) if at >= 0 else stop


@inlined
def _find_key(
    data: Any, at: int, stop: int, keys: Any, level: int, expected: int
) -> tuple[int, int]:
    """Number of the key that begins at ``at`` (-1: unknown), and where its value does."""
    first, last = keys.first[level], keys.first[level + 1]
    if expected < last:
        low, high = keys.key_at[expected], keys.key_at[expected + 1]
        if begins_with(data, at, stop, keys.text, low, high):
            return expected, skip_blanks(data, at + high - low, stop)
    end = string_end(data, at + 1, stop, False) if at < stop and data[at] == QUOTE else -1
    colon = skip_blanks(data, end + 1, stop)
    if end < 0 or colon >= stop or data[colon] != COLON:
        return -1, stop
    key = -1
    for step in range(last - first):
        near = expected + step
        near -= last - first if near >= last else 0
        low, high = keys.key_at[near], keys.key_at[near + 1] - 1
        if high - low == end + 1 - at and begins_with(data, at, stop, keys.text, low, high):
            key = near
            break
    return key, skip_blanks(data, colon + 1, stop)


@inlined
def _find_value(
    data: Any, at: int, stop: int, keys: Any, level: int, key: int, spot: int, found: Any
) -> int:
    """Note a value, if it is wanted; where the next token is."""
    expect = keys.expect[level]
    what, end = scan_value(data, at, stop, expect == ANY)
    if not expect >> what & 1 or (spot >= 0 and found.kind[spot] != 0):
        return stop  # not what is expected, or a key twice
    if spot < 0:
        if expect == ANY and what >= LIST and nested_end(data, at, end) < 0:
            return stop
        return skip_blanks(data, end, stop)
    quote = what == TEXT
    found.kind[spot] = what
    found.begin[spot] = at + quote
    found.size[spot] = end - at - 2 * quote if what >= TEXT else 0
    if expect == ANY:
        low, high = keys.value_at[keys.column[key]], keys.value_at[keys.column[key] + 1]
        if low < high and not (
            high - low == end - at and begins_with(data, at, stop, keys.value, low, high)
        ):
            return stop
        if what > NULL:
            found.number[spot] = whole_number(data, at, end) if what == INT else -1
    return skip_blanks(data, end, stop)
