"""Kernel, stage 1: from an event's token hashes to its buckets in the weight tables."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.hashing import cross_hash
from features.jit import inlined, jit, prefetch

__all__ = ["Events", "Slots", "capacity", "expand_event", "fetch_event", "slots_for"]

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64S = NDArray[np.uint64]


class Events(NamedTuple):
    """Token hashes of some events, and how they are crossed.

    Parameters
    ----------
    tokens, starts, rows, fields
        As in :class:`features.hashed.Hashed`.
    crosses
        int32 (crosses, 3), as in :attr:`features.vectoriser.Vectoriser.crosses`.
    shifts
        uint64 (2,): 64 - bits of the fields' and of the crosses' table.
    sizes
        int64 (2,): numbers that a bucket of each table holds.
    """

    tokens: U64S
    starts: I64
    rows: int
    fields: int
    crosses: I32
    shifts: U64S
    sizes: I64


class Slots(NamedTuple):
    """Where one event's features are, twice: of the event at hand and of the one after it.

    Parameters
    ----------
    field, cross
        int64 (2, most): where each feature's bucket begins in its table.
    field_of, cross_of
        int32 (2, most): which field, and which cross, a feature is of.
    members
        int32 (2, most, 3): which of the event's field features a cross is of; -1: of but two.
    """

    field: I64
    cross: I64
    field_of: I32
    cross_of: I32
    members: I32


@inlined
def _span(starts: I64, row: int, fields: int, field: int) -> tuple[int, int]:
    at = row * fields + field
    if len(starts) == 0:
        return at, at + 1
    return starts[at], starts[at + 1]


@jit
def capacity(starts: I64, rows: int, fields: int, crosses: I32) -> tuple[int, int]:
    """The most field tokens and crosses that any of these events has."""
    if len(starts) == 0:
        return fields, len(crosses)
    most_fields, most_crosses = 0, 0
    for row in range(rows):
        tokens = starts[(row + 1) * fields] - starts[row * fields]
        count = 0
        for c in range(len(crosses)):
            size = 1
            for m in range(3):
                if crosses[c, m] >= 0:
                    low, high = _span(starts, row, fields, crosses[c, m])
                    size *= high - low
            count += size
        most_fields, most_crosses = max(most_fields, tokens), max(most_crosses, count)
    return most_fields, most_crosses


def slots_for(events: Events) -> Slots:
    """Room for any of these events; where each field has one token, filled but for the buckets."""
    if not len(events.starts):
        f, c = events.fields, len(events.crosses)
        field, cross = np.empty((2, f), np.int64), np.empty((2, c), np.int64)
        return Slots(field, cross, *_dense_slots(f, events.crosses.tobytes()))
    f, c = capacity(events.starts, events.rows, events.fields, events.crosses)
    return Slots(
        np.empty((2, f), np.int64), np.empty((2, c), np.int64), np.empty((2, f), np.int32),
        np.empty((2, c), np.int32), np.empty((2, c, 3), np.int32),
    )  # fmt: skip


@lru_cache(64)
def _dense_slots(fields: int, crosses: bytes) -> tuple[I32, I32, I32]:
    """What is the same of all events whose fields have one token each; nobody writes it."""
    index = np.frombuffer(crosses, np.int32).reshape(-1, 3)
    field_of = np.tile(np.arange(fields, dtype=np.int32), (2, 1))
    cross_of = np.tile(np.arange(len(index), dtype=np.int32), (2, 1))
    return field_of, cross_of, np.stack([index, index])


# The kernels below take arrays and no tuples of them: numba would count references in each event.


@inlined
def _expand_dense(
    tokens: U64S, row: int, fields: int, crosses: I32, shifts: U64S, sizes: I64,
    field: I64, cross: I64, half: int,
) -> None:  # fmt: skip
    """Buckets of an event whose fields have one token each; the rest of the slots stays."""
    first, shift, size = row * fields, shifts[0], sizes[0]
    for j in range(fields):
        field[half, j] = np.int64(tokens[first + j] >> shift) * size
    shift, size = shifts[1], sizes[1]
    for c in range(len(crosses)):
        pair = cross_hash(tokens[first + crosses[c, 0]], tokens[first + crosses[c, 1]])
        if crosses[c, 2] >= 0:
            pair = cross_hash(pair, tokens[first + crosses[c, 2]])
        cross[half, c] = np.int64(pair >> shift) * size


@jit
def _expand_ragged(
    tokens: U64S, starts: I64, row: int, fields: int, crosses: I32, shifts: U64S, sizes: I64,
    field: I64, cross: I64, field_of: I32, cross_of: I32, members: I32, half: int,
) -> tuple[int, int]:  # fmt: skip
    """An event whose fields have any number of tokens: a cross has one for each combination."""
    first, count, end = starts[row * fields], 0, 0
    for j in range(fields):
        low, high = _span(starts, row, fields, j)
        for t in range(low, high):
            field[half, count] = np.int64(tokens[t] >> shifts[0]) * sizes[0]
            field_of[half, count] = j
            count += 1
    for m in range(len(crosses)):
        low_a, high_a = _span(starts, row, fields, crosses[m, 0])
        low_b, high_b = _span(starts, row, fields, crosses[m, 1])
        low_c, high_c, third = 0, 1, crosses[m, 2] >= 0
        if third:
            low_c, high_c = _span(starts, row, fields, crosses[m, 2])
        for a in range(low_a, high_a):
            for b in range(low_b, high_b):
                pair = cross_hash(tokens[a], tokens[b])
                for c in range(low_c, high_c):
                    found = cross_hash(pair, tokens[c]) if third else pair
                    cross[half, end] = np.int64(found >> shifts[1]) * sizes[1]
                    cross_of[half, end] = m
                    members[half, end, 0] = a - first
                    members[half, end, 1] = b - first
                    members[half, end, 2] = c - first if third else -1
                    end += 1
    return count, end


@inlined
def expand_event(
    tokens: U64S, starts: I64, row: int, fields: int, crosses: I32, shifts: U64S, sizes: I64,
    field: I64, cross: I64, field_of: I32, cross_of: I32, members: I32, half: int,
) -> tuple[int, int]:  # fmt: skip
    """Write an event's features into a half of the slots; gives how many fields and crosses.

    Parameters
    ----------
    tokens, starts, fields, crosses, shifts, sizes
        As in :class:`Events`.
    row
        Which event.
    field, cross, field_of, cross_of, members
        As in :class:`Slots`; written.
    half
        Which half of those.
    """
    if len(starts) > 0:
        return _expand_ragged(
            tokens, starts, row, fields, crosses, shifts, sizes,
            field, cross, field_of, cross_of, members, half,
        )  # fmt: skip
    _expand_dense(tokens, row, fields, crosses, shifts, sizes, field, cross, half)
    return fields, len(crosses)


@inlined
def fetch_event(table: NDArray[Any], slots: I64, half: int, count: int) -> None:
    """Ask for the cache lines of some buckets, to be there when they are read."""
    for j in range(count):
        prefetch(table, slots[half, j])
