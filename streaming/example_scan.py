"""A compiled look into example events: where the fields stand, the label, times, the prediction.

It knows just enough JSON to step over what is not wanted. A line that is not as an example is
usually written (a correction, an escape in a key, a key twice, anything invalid) is left to the
strict reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from features.events import MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS
from features.jit import inlined, jit, load64
from streaming.sources.json_scan import scan_number

__all__ = ["Found", "copy_spans", "named_number", "runs_of", "scan_examples", "skip_value"]

I64 = NDArray[np.int64]
_QUOTE, _BACKSLASH, _COLON, _COMMA, _OPEN, _CLOSE = (ord(c) for c in '"\\:,{}')
_BRACKET, _END_BRACKET, _ZERO, _NINE, _NEWLINE = (ord(c) for c in "[]09\n")

_NAMES = (
    "type", "v", "label", "impression", "correction", "click_timestamp",
    "impression_id", "timestamp", "fields", "probability", "model_version", "counters",
)  # fmt: skip
_TYPE, _VERSION, _LABEL, _IMPRESSION, _CORRECTION, _CLICKED = range(6)
_ID, _TIMESTAMP, _FIELDS, _PROBABILITY, _MODEL, _COUNTERS = range(6, 12)
_WORDS = ('"example"', '"impression"', "1", "false", "null")
_EXAMPLE, _SHOWN, _ONE, _FALSE, _NULL = range(12, 17)
_TEXTS = [text.encode() for text in (*_NAMES, *_WORDS)]
_TEXT = np.frombuffer(b"".join(_TEXTS), np.uint8)
_AT = np.cumsum([0, *map(len, _TEXTS)], dtype=np.int64)
_NEEDED = 1 << _TYPE | 1 << _VERSION | 1 << _LABEL | 1 << _IMPRESSION
_NEEDED_SHOWN = 1 << _ID | 1 << _TIMESTAMP | 1 << _FIELDS | 1 << _TYPE | 1 << _VERSION
# mypy takes an intrinsic's typing context for an argument of the caller
_zeros_below = cast(Callable[[Any], int], trailing_zeros)
_LEAST, _MOST = MIN_TIMESTAMP_MS, MAX_TIMESTAMP_MS


@dataclass(frozen=True, slots=True)
class Found:
    """What stands in n lines.

    Parameters
    ----------
    plain
        bool (n,): whether the line was understood; if not, the rest says nothing.
    begin, end
        int64 (n,): the fields, an object, are ``data[begin:end]``.
    label, timestamp
        int64 (n,): 0 or 1; ms since 1970.
    clicked
        int64 (n,): ms since 1970; 0: none; -1: not plain, ask a strict reader.
    probability, model
        int64 (n, 2): begin and end of the value, as it stands; the same: none.
    counters
        int64 (n, 2): likewise, an object of numbers.
    """

    plain: NDArray[np.bool_]
    begin: I64
    end: I64
    label: I64
    timestamp: I64
    clicked: I64
    probability: I64
    model: I64
    counters: I64


def scan_examples(data: NDArray[np.uint8], starts: I64, ends: I64) -> Found:
    """Look into the lines ``data[starts:ends]``.

    Examples
    --------
    >>> line = (b'{"type":"example","v":1,"label":1,"impression":{"type":"impression","v":1,'
    ...         b'"impression_id":"i","timestamp":1736121600000,"fields":{"ad":"a"}}}')
    >>> found = scan_examples(np.frombuffer(line, np.uint8), np.array([0]), np.array([len(line)]))
    >>> line[found.begin[0] : found.end[0]], int(found.label[0]), bool(found.plain[0])
    (b'{"ad":"a"}', 1, True)
    """
    out = np.zeros((len(starts), 12), np.int64)
    _scan_all(data, starts, ends, out)
    begin, end, label, time, plain, clicked = (out[:, i].copy() for i in range(6))
    return Found(
        plain == 1, begin, end, label, time, clicked, out[:, 6:8], out[:, 8:10], out[:, 10:12]
    )


@jit
def _scan_all(data: Any, starts: Any, ends: Any, out: Any) -> None:
    for row in range(len(starts)):
        out[row, 4] = _scan_line(data, starts[row], ends[row], out[row])


@jit
def _scan_line(data: Any, at: int, stop: int, out: Any) -> int:
    """Read one example into ``out``; 1 if it was understood to its end."""
    end, seen = _scan_object(data, at, stop, out)
    return 1 if end == stop and (seen & _NEEDED) == _NEEDED else 0


@inlined
def _scan_shown(data: Any, at: int, stop: int, out: Any) -> int:
    """Read the impression in it; where it ends, -1 if it was not understood."""
    end, seen = _scan_object_shown(data, at, stop, out)
    return end if (seen & _NEEDED_SHOWN) == _NEEDED_SHOWN else -1


@inlined
def _scan_object(data: Any, at: int, stop: int, out: Any) -> tuple[int, int]:
    """Members of an example: where it ends (-1: not understood), and which keys were there."""
    seen = 0
    first = True
    while at < stop and data[at] == (_OPEN if first else _COMMA):
        first = False
        start, end, at = _key(data, at + 1, stop)
        if at < 0:
            return -1, seen
        key = _which(data, start, end, 0, 6)
        if key >= 0 and seen >> key & 1:
            return -1, seen
        seen |= 1 << key if key >= 0 else 0
        begin = at
        at = _scan_shown(data, at, stop, out) if key == _IMPRESSION else skip_value(data, at, stop)
        if at < 0 or not _member(data, key, begin, at, out):
            return -1, seen
        at = _blank(data, at, stop)
    return (at + 1 if at < stop and data[at] == _CLOSE else -1), seen


@inlined
def _member(data: Any, key: int, begin: int, end: int, out: Any) -> bool:
    """Take a value of an example; false if it is not what is due."""
    if key == _TYPE:
        return _is(data, begin, end, _EXAMPLE)
    if key == _VERSION:
        return _is(data, begin, end, _ONE)
    if key == _LABEL:
        out[2] = data[begin] - _ZERO
        return bool(end == begin + 1 and (out[2] == 0 or out[2] == 1))
    if key == _CORRECTION:
        return _is(data, begin, end, _FALSE)
    if key == _CLICKED:
        out[5] = 0 if _is(data, begin, end, _NULL) else _integer(data, begin, end)
    return True


@inlined
def _scan_object_shown(data: Any, at: int, stop: int, out: Any) -> tuple[int, int]:
    """Members of an impression, as :func:`_scan_object`."""
    seen = 0
    first = True
    while at < stop and data[at] == (_OPEN if first else _COMMA):
        first = False
        start, end, at = _key(data, at + 1, stop)
        if at < 0:
            return -1, seen
        key = _which(data, start, end, 6, 12)
        key = key if key >= 0 else _which(data, start, end, 0, 2)
        if key >= 0 and seen >> key & 1:
            return -1, seen
        seen |= 1 << key if key >= 0 else 0
        begin = at
        at = skip_value(data, at, stop)
        if at < 0 or not _member_shown(data, key, begin, at, out):
            return -1, seen
        at = _blank(data, at, stop)
    return (at + 1 if at < stop and data[at] == _CLOSE else -1), seen


@inlined
def _member_shown(data: Any, key: int, begin: int, end: int, out: Any) -> bool:
    """Take a value of an impression; false if it is not what is due."""
    if key == _TYPE:
        return _is(data, begin, end, _SHOWN)
    if key == _VERSION:
        return _is(data, begin, end, _ONE)
    if key == _ID:
        return bool(data[begin] == _QUOTE and 2 < end - begin <= 130)
    if key == _TIMESTAMP:
        out[3] = _integer(data, begin, end)
        return bool(_LEAST <= out[3] <= _MOST)
    if key == _FIELDS:
        out[0], out[1] = begin, end
        return bool(data[begin] == _OPEN)
    if key == _PROBABILITY and not _is(data, begin, end, _NULL):
        out[6], out[7] = begin, end
    if key == _MODEL and not _is(data, begin, end, _NULL):
        out[8], out[9] = begin, end
    if key == _COUNTERS and not _is(data, begin, end, _NULL):
        out[10], out[11] = begin, end
        return _are_numbers(data, begin, end)
    return True


@inlined
def _are_numbers(data: Any, at: int, stop: int) -> bool:
    """Whether this is an object of numbers, and all of it."""
    if data[at] != _OPEN:
        return False
    at = _blank(data, at + 1, stop)
    if data[at] == _CLOSE:
        return at + 1 == stop
    while at > 0:
        _, _, _, _, at = named_number(data, at, stop)
    return at == 0


@inlined
def named_number(data: Any, at: int, stop: int) -> tuple[int, int, int, int, int]:
    """Step over one member of an object of numbers.

    Returns
    -------
    start, end, value, value_end, at
        Where its key and its number are, and where the next member begins; 0: it was the last,
        and the object ends where it should; -1: it is not plain.
    """
    start, end, value = _key(data, at, stop)
    if value < 0:
        return 0, 0, 0, 0, -1
    what, value_end = scan_number(data, value, stop)
    at = _blank(data, value_end, stop)
    if what == 0 or at >= stop:
        return 0, 0, 0, 0, -1
    if data[at] == _COMMA:
        return start, end, value, value_end, at + 1
    return start, end, value, value_end, 0 if data[at] == _CLOSE and at + 1 == stop else -1


@inlined
def _key(data: Any, at: int, stop: int) -> tuple[int, int, int]:
    """Where a key begins and ends, and where its value begins (-1: no plain key)."""
    at = _blank(data, at, stop)
    if at >= stop or data[at] != _QUOTE:
        return 0, 0, -1
    start = at + 1
    end = start
    while end < stop and data[end] != _QUOTE:
        if data[end] == _BACKSLASH:
            return 0, 0, -1
        end += 1
    at = _blank(data, end + 1, stop)
    if at >= stop or data[at] != _COLON:
        return 0, 0, -1
    at = _blank(data, at + 1, stop)
    return start, end, at if at < stop else -1


@inlined
def _which(data: Any, start: int, end: int, first: int, last: int) -> int:
    for word in range(first, last):
        if _is(data, start, end, word):
            return word
    return -1


@inlined
def _is(data: Any, start: int, end: int, word: int) -> bool:
    low = _AT[word]
    if end - start != _AT[word + 1] - low:
        return False
    same = True
    for i in range(end - start):
        same &= data[start + i] == _TEXT[low + i]
    return same


@inlined
def _integer(data: Any, start: int, end: int) -> int:
    """Read digits; -1 if there are others, or too many."""
    if end - start > 15:
        return -1
    value = 0
    for i in range(start, end):
        if not _ZERO <= data[i] <= _NINE:
            return -1
        value = value * 10 + (data[i] - _ZERO)
    return value


@inlined
def _blank(data: Any, at: int, stop: int) -> int:
    while at < stop and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@inlined
def _marks(word: Any, byte: int) -> Any:
    """The top bit of each of 8 bytes that is ``byte``; right up to the first one."""
    ones, tops = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    odd = word ^ (ones * np.uint64(byte))
    return (odd - ones) & ~odd & tops


@inlined
def _string(data: Any, at: int, stop: int) -> int:
    """Where a string ends that opens at ``at``; -1: nowhere."""
    at += 1
    while at < stop:
        if at + 8 <= stop:
            word = load64(data, at)
            marks = _marks(word, _QUOTE) | _marks(word, _BACKSLASH)
            if marks == 0:
                at += 8
                continue
            at += _zeros_below(marks) >> 3
        if data[at] == _QUOTE:
            return at + 1
        at += 2 if data[at] == _BACKSLASH else 1
    return -1


@inlined
def skip_value(data: Any, at: int, stop: int) -> int:
    """Where the value at ``at`` ends; -1: nowhere."""
    if data[at] == _QUOTE:
        return _string(data, at, stop)
    if data[at] == _OPEN or data[at] == _BRACKET:
        return _skip_nested(data, at, stop)
    begin = at
    while at < stop and data[at] > 32 and data[at] != _COMMA and data[at] != _CLOSE:
        at += 1
    return at if at > begin else -1


@inlined
def _skip_nested(data: Any, at: int, stop: int) -> int:
    depth = 0
    while at < stop:
        c = data[at]
        if c == _QUOTE:
            at = _string(data, at, stop)
            if at < 0:
                return -1
            continue
        if c in (_OPEN, _BRACKET):
            depth += 1
        elif c in (_CLOSE, _END_BRACKET):
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1


@jit
def runs_of(data: Any, spans: Any, out: Any, first: Any) -> int:
    """Number the runs of rows with the same text; their first rows, and how many there are."""
    count = 0
    for row in range(len(spans)):
        begin, size = spans[row, 0], spans[row, 1] - spans[row, 0]
        same = count > 0
        if same:
            last = spans[first[count - 1], 0]
            same = size == spans[first[count - 1], 1] - last
            i = 0
            while same and i < size:
                same = data[begin + i] == data[last + i]
                i += 1
        if not same:
            first[count] = row
            count += 1
        out[row] = count - 1
    return count


@jit
def copy_spans(data: Any, begin: Any, end: Any, out: Any, starts: Any) -> None:
    """Copy ``data[begin:end]`` one after the other into ``out``, a newline after each."""
    at = 0
    for row in range(len(begin)):
        starts[row] = at
        for i in range(begin[row], end[row]):
            out[at] = data[i]
            at += 1
        out[at] = _NEWLINE
        at += 1
