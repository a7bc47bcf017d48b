"""What a JSON value is and where it ends, compiled, without decoding it."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.jit import byte_marks, inlined, load64, zeros_below

__all__ = [
    "BOOL", "CLOSE", "COLON", "COMMA", "FLOAT", "INT", "LIST", "NULL", "OBJECT", "OPEN", "QUOTE",
    "TEXT", "balanced_end", "begins_with", "nested_end", "scan_value", "skip_blanks", "string_end",
    "whole_number",
]  # fmt: skip

# the kinds of a value; 0: absent
NULL, TEXT, INT, FLOAT, BOOL, LIST, OBJECT = 1, 2, 3, 4, 5, 6, 7
QUOTE, _BACKSLASH, COLON, COMMA, OPEN, CLOSE = (ord(c) for c in '"\\:,{}')
_BRACKET, _END_BRACKET = ord("["), ord("]")
_MINUS, _PLUS, _POINT, _ZERO, _NINE, _E = (ord(c) for c in "-+.09e")
_LONG_NUMBER = 100
_MOST_DEPTH = 60
_MOST_DIGITS = 15
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)  # of 8 bytes
_WORDS = np.frombuffer(b"null\0true\0false\0NaN", np.uint8)


@inlined
def scan_value(data: Any, at: int, stop: int, whatever: bool) -> tuple[int, int]:
    """What a value is (0: nothing plain) and where it ends, quotes included."""
    if at >= stop:
        return 0, at
    first = data[at]
    if first == QUOTE:
        end = string_end(data, at + 1, stop, whatever)
        return (TEXT if end >= 0 else 0), end + 1
    if first == OPEN or (first == _BRACKET and whatever):
        end = balanced_end(data, at, stop)
        return 0 if end < 0 else (OBJECT if first == OPEN else LIST), end
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
def begins_with(data: Any, at: int, stop: int, text: Any, low: int, high: int) -> bool:
    """Whether ``data[at:stop]`` begins with ``text[low:high]``, which has 8 bytes behind it."""
    if high - low > stop - at:
        return False
    while low < high and at + 8 <= stop:
        odd = load64(data, at) ^ load64(text, low)
        if high - low < 8:
            odd <<= np.uint64(8 * (8 - high + low))  # what is behind the text
        if odd != 0:
            return False
        at, low = at + 8, low + 8
    while low < high:
        if data[at] != text[low]:
            return False
        at, low = at + 1, low + 1
    return True


@inlined
def whole_number(data: Any, at: int, stop: int) -> int:
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
    """Where digits end, 8 bytes at a time."""
    while at + 8 <= stop:
        odd = load64(data, at) ^ (_ONES * np.uint64(_ZERO))
        marks = (odd | (odd + _ONES * np.uint64(0x7F - 9))) & _TOPS
        if marks != 0:
            return at + (zeros_below(marks) >> 3)
        at += 8
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
def skip_blanks(data: Any, at: int, stop: int) -> int:
    """Where the next token begins on this line."""
    while at < stop and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@inlined
def string_end(data: Any, at: int, stop: int, escapes: bool) -> int:
    """Where the closing quote stands, 8 bytes at a time; -1: nowhere.

    Escapes are stepped over and control characters too, or else there is no end after one.
    """
    while at < stop:
        if at + 8 <= stop:
            word = load64(data, at)
            controls = (word - _ONES * np.uint64(32)) & ~word & _TOPS
            marks = byte_marks(word, QUOTE) | byte_marks(word, _BACKSLASH) | controls
            if marks == 0:
                at += 8
                continue
            at += zeros_below(marks) >> 3
        if data[at] == QUOTE:
            return at
        if not escapes and (data[at] == _BACKSLASH or data[at] < 32):
            return -1
        at += 2 if data[at] == _BACKSLASH else 1
    return -1


@inlined
def _list_end(data: Any, at: int, stop: int) -> int:
    """Where a list ends that opens at ``at``; -1: nowhere, or other things than strings in it."""
    at = skip_blanks(data, at + 1, stop)
    if at < stop and data[at] == _END_BRACKET:
        return at + 1
    while at < stop and data[at] == QUOTE:
        end = string_end(data, at + 1, stop, False)
        if end < 0:
            return -1
        at = skip_blanks(data, end + 1, stop)
        if at < stop and data[at] == _END_BRACKET:
            return at + 1
        if at >= stop or data[at] != COMMA:
            return -1
        at = skip_blanks(data, at + 1, stop)
    return -1


@inlined
def balanced_end(data: Any, at: int, stop: int) -> int:
    """Where an object or a list ends that opens at ``at``, by its brackets alone; -1: nowhere."""
    depth = 0
    while at < stop:
        c = data[at]
        if c == QUOTE:
            at = string_end(data, at + 1, stop, True)
            if at < 0:
                return -1
        elif c in (OPEN, _BRACKET):
            depth += 1
        elif c in (CLOSE, _END_BRACKET):
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1


@inlined
def nested_end(data: Any, at: int, stop: int) -> int:
    """Where an object or a list ends that opens at ``at``; -1: it is not valid, or very deep."""
    depth, objects = 0, 0  # a bit of `objects` for each level: an object, or a list
    while at < stop:
        first = data[at]
        if first in (OPEN, _BRACKET):
            depth, objects = depth + 1, objects << 1 | (first == OPEN)
            at = skip_blanks(data, at + 1, stop)
            if depth > _MOST_DEPTH or at >= stop:
                return -1
            if data[at] != (CLOSE if objects & 1 else _END_BRACKET):
                at = _member_value(data, at, stop) if objects & 1 else at
                if at < 0:
                    return -1
                continue
        elif first == QUOTE:
            end = string_end(data, at + 1, stop, True)
            if end < 0:
                return -1
            at = skip_blanks(data, end + 1, stop)
        else:
            what, at = _scalar(data, at, stop, True)
            if what == 0:
                return -1
            at = skip_blanks(data, at, stop)
        while at < stop and data[at] == (CLOSE if objects & 1 else _END_BRACKET):
            depth, objects = depth - 1, objects >> 1
            if depth == 0:
                return at + 1
            at = skip_blanks(data, at + 1, stop)
        if at >= stop or data[at] != COMMA:
            return -1
        at = skip_blanks(data, at + 1, stop)
        at = _member_value(data, at, stop) if objects & 1 else at
        if at < 0:
            return -1
    return -1


@inlined
def _member_value(data: Any, at: int, stop: int) -> int:
    """Where the value begins of a member whose key begins at ``at``; -1: there is none."""
    if at >= stop or data[at] != QUOTE:
        return -1
    end = string_end(data, at + 1, stop, True)
    at = skip_blanks(data, end + 1, stop)
    if end < 0 or at >= stop or data[at] != COLON:
        return -1
    return skip_blanks(data, at + 1, stop)
