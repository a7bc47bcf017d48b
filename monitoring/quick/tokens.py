"""Pieces of a line: words, digits, and where a text or another value ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from features.jit import load64
from monitoring.quick.compiling import inlined
from streaming.example_scan import skip_value
from streaming.sources.json_scan import plain_value

__all__ = [
    "SAYS_EXAMPLE", "SAYS_FALSE", "SAYS_IMPRESSION", "SAYS_NULL", "any_value", "ends", "integer",
    "is_null", "one", "says", "text_end", "token_end",
]  # fmt: skip

_QUOTE, _BACKSLASH, _COMMA, _OPEN, _CLOSE, _BRACKET = (ord(c) for c in '"\\,{}[')
_ZERO, _NINE, _NEWLINE = (ord(c) for c in "09\n")
_WORDS = [b'"example"', b'"impression"', b"false", b"null"]
_TEXT = np.frombuffer(b"".join(_WORDS), np.uint8)
_AT = np.cumsum([0, *map(len, _WORDS)], dtype=np.int64)
SAYS_EXAMPLE, SAYS_IMPRESSION, SAYS_FALSE, SAYS_NULL = range(4)
# mypy takes an intrinsic's typing context for an argument of the caller
_zeros_below = cast(Callable[[Any], int], trailing_zeros)


@inlined
def text_end(data: Any, at: int) -> int:
    """Where the closing quote stands; below -1: an escape or control character comes before."""
    ones, tops = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    while True:
        word = load64(data, at)
        quote, escape = word ^ (ones * np.uint64(_QUOTE)), word ^ (ones * np.uint64(_BACKSLASH))
        marks = (quote - ones) & ~quote | (escape - ones) & ~escape
        marks = (marks | (word - ones * np.uint64(32)) & ~word) & tops
        if marks != 0:
            end = at + int(_zeros_below(marks) >> 3)
            return end if data[end] == _QUOTE else -2
        at += 8


@inlined
def ends(byte: int) -> bool:
    """Whether a number or word has ended before this byte."""
    return byte <= 32 or byte in (_COMMA, _CLOSE)


@inlined
def token_end(data: Any, at: int) -> int:
    """Where a number or word ends."""
    while not ends(data[at]):
        at += 1
    return at


@inlined
def is_null(data: Any, begin: int, end: int) -> bool:
    """Whether it is ``null``."""
    return end - begin == 4 and says(data, begin, SAYS_NULL) == end


@inlined
def one(data: Any, at: int) -> int:
    """Where a 1 ends; -1: there stands something else."""
    return at + 1 if data[at] == _ZERO + 1 and ends(data[at + 1]) else -1


@inlined
def says(data: Any, at: int, word: int) -> int:
    """Where a word ends; -1: there stands another."""
    same, size = True, int(_AT[word + 1] - _AT[word])
    for i in range(size):
        same &= data[at + i] == _TEXT[_AT[word] + i]
    return at + size if same and (data[at] == _QUOTE or ends(data[at + size])) else -1


@inlined
def integer(data: Any, at: int) -> tuple[int, int]:
    """Digits, and where they end: -1 if there are others, or too many."""
    begin, value = at, 0
    while _ZERO <= data[at] <= _NINE and at - begin < 16:
        value = value * 10 + (int(data[at]) - _ZERO)
        at += 1
    return value, at if 0 < at - begin <= 15 and ends(data[at]) else -1


@inlined
def any_value(data: Any, at: int) -> int:
    """Where a value ends that is not wanted."""
    if data[at] == _QUOTE or data[at] == _OPEN or data[at] == _BRACKET:
        stop = at
        while data[stop] != _NEWLINE:
            stop += 1
        return skip_value(data, at, stop)
    kind, end = plain_value(data, at, len(data))
    return end if kind != 0 and ends(data[end]) else -1
