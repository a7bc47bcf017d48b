"""The kernel that hashes events row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.hashing import missing_hash, text_hash
from features.jit import inlined, jit
from features.token_kernels import SEPARATOR, hash_event_texts

__all__ = ["LIST", "SCALAR", "SHARED", "hash_rows"]

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
SHARED, SCALAR, LIST = 0, 1, 2
"""What a field is: the same for all events, or of each one's own."""


@inlined
def _next(data: U8, low: int) -> int:
    """Where the value that begins here ends."""
    while low < len(data) and data[low] != SEPARATOR:
        low += 1
    return low


@inlined
def _hash_members(
    data: U8, at: int, count: int, seed: np.uint64, tokens: U64, size: int
) -> tuple[int, int]:
    """Write the tokens of a list; where the next value begins, and the next token."""
    before = size
    for _ in range(count):
        end = _next(data, at)
        if end > at:
            tokens[size] = text_hash(data, at, end, seed)
            size += 1
        at = end + 1
    if size == before:
        tokens[size] = missing_hash(seed)
        size += 1
    return at, size


@inlined
def _hash_scalars(
    data: U8, at: int, count: int, kinds: I64, on_text: I64, seeds: U64, edges: F64, spans: I64,
    own: U64,
) -> int:  # fmt: skip
    """Write the tokens of an event's scalars; where its next value begins, -1: carefully."""
    if count == 0:
        return at
    end = _next(data, at)
    for _ in range(count - 1):
        end = _next(data, end + 1)
    if hash_event_texts(data[at:end], kinds, on_text, seeds, edges, spans, own):
        return -1
    return end + 1


@jit
def hash_rows(
    data: U8, scalars: int, listed: U8, counts: I64, which: I64, time_fields: I64, times: U64,
    given: U64, given_starts: I64, kinds: I64, on_text: I64, seeds: U64, edges: F64, spans: I64,
    counters: U64, tokens: U64, starts: I64,
) -> int:  # fmt: skip
    """Hash events.

    Parameters
    ----------
    data, scalars
        Texts of the events' scalars, and how many an event has.
    listed, counts
        Texts of the members of their lists, and how many there are: int64 (events * lists).
    which
        Of each field: shared, a scalar or a list.
    time_fields, times
        Numbers of the fields that are times, and these ones' tokens (events, time fields).
    given, given_starts
        Tokens of what is shared, and where those of each field start.
    kinds, on_text, seeds, edges, spans
        As for ``hash_event_texts``.
    counters
        Tokens to put behind (events, fields).
    tokens, starts
        Written; as ``Hashed`` has them.

    Returns
    -------
    int
        How many tokens; -1 if a value wants the careful way.
    """
    own, at, size, j = np.empty(len(kinds), np.uint64), 0, 0, 0
    begin, k = 0, 0  # of the next list
    for row in range(len(counters)):
        at = _hash_scalars(data, at, scalars, kinds, on_text, seeds, edges, spans, own)
        if at < 0:
            return -1
        for t in range(len(time_fields)):
            own[time_fields[t]] = times[row, t]
        for field in range(len(kinds)):
            if which[field] == LIST:
                begin, size = _hash_members(listed, begin, counts[k], seeds[field], tokens, size)
                k += 1
            elif which[field] == SCALAR:
                tokens[size] = own[field]
                size += 1
            else:
                for i in range(given_starts[field], given_starts[field + 1]):
                    tokens[size] = given[i]
                    size += 1
            if len(starts) > 0:
                j += 1
                starts[j] = size
        for c in range(counters.shape[1]):
            tokens[size] = counters[row, c]
            size += 1
            if len(starts) > 0:
                j += 1
                starts[j] = size
    return size
