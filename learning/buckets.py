"""Kernel, stage 1: from an event's token hashes to its buckets in the weight tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.hashing import cross_hash
from features.jit import inlined, jit

__all__ = ["capacity", "expand_event"]

I64 = NDArray[np.int64]
U64S = NDArray[np.uint64]
CrossIndex = NDArray[np.int32]


@inlined
def _span(starts: I64, row: int, fields: int, field: int) -> tuple[int, int]:
    at = row * fields + field
    if len(starts) == 0:
        return at, at + 1
    return starts[at], starts[at + 1]


@jit
def capacity(starts: I64, rows: int, fields: int, crosses: CrossIndex) -> tuple[int, int]:
    """The most field tokens (bias included) and crosses that any of these events has."""
    if len(starts) == 0:
        return fields + 1, len(crosses)
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
    return most_fields + 1, most_crosses


@inlined
def _expand_fields(
    tokens: U64S, first: int, last: int, shift: np.uint64, size: int, out: I64, base: int
) -> int:
    out[base] = (np.int64(1) << (np.int64(64) - np.int64(shift))) * size  # the bias: past the rest
    for t in range(last - first):
        out[base + 1 + t] = np.int64(tokens[first + t] >> shift) * size
    return last - first + 1


@inlined
def _expand_cross(
    tokens: U64S,
    starts: I64,
    row: int,
    fields: int,
    cross: NDArray[np.int32],
    shift: np.uint64,
    size: int,
    out: I64,
    count: int,
) -> int:
    """Buckets of one cross whose fields may be lists."""
    low_a, high_a = _span(starts, row, fields, cross[0])
    low_b, high_b = _span(starts, row, fields, cross[1])
    for a in range(low_a, high_a):
        for b in range(low_b, high_b):
            pair = cross_hash(tokens[a], tokens[b])
            if cross[2] < 0:
                out[count] = np.int64(pair >> shift) * size
                count += 1
                continue
            low_c, high_c = _span(starts, row, fields, cross[2])
            for c in range(low_c, high_c):
                out[count] = np.int64(cross_hash(pair, tokens[c]) >> shift) * size
                count += 1
    return count


@inlined
def _expand_dense(
    tokens: U64S, first: int, crosses: CrossIndex, shift: np.uint64, size: int, out: I64, base: int
) -> int:
    """Buckets of all crosses where each field has one token."""
    for c in range(len(crosses)):
        pair = cross_hash(tokens[first + crosses[c, 0]], tokens[first + crosses[c, 1]])
        if crosses[c, 2] >= 0:
            pair = cross_hash(pair, tokens[first + crosses[c, 2]])
        out[base + c] = np.int64(pair >> shift) * size
    return len(crosses)


@inlined
def expand_event(
    tokens: U64S,
    starts: I64,
    row: int,
    fields: int,
    crosses: CrossIndex,
    shifts: U64S,
    sizes: I64,
    field_slots: I64,
    field_base: int,
    cross_slots: I64,
    cross_base: int,
) -> tuple[int, int]:
    """Offsets into the two tables of one event's buckets.

    Parameters
    ----------
    tokens, starts, row, fields
        Token hashes, as in :class:`features.hashed.Hashed`, and which event.
    crosses
        int32 (crosses, 3), as in :attr:`features.vectoriser.Vectoriser.crosses`.
    shifts, sizes
        Of fields and of crosses: 64 - bits; float64 values a bucket. Size 0: no such table.
    field_slots, field_base, cross_slots, cross_base
        Written, each from its base on.

    Returns
    -------
    tuple of int
        How many field slots (bias first) and cross slots were written.
    """
    first, _ = _span(starts, row, fields, 0)
    _, last = _span(starts, row, fields, fields - 1)
    n_fields = _expand_fields(tokens, first, last, shifts[0], sizes[0], field_slots, field_base)
    if sizes[1] == 0:
        return n_fields, 0
    if len(starts) == 0:
        return n_fields, _expand_dense(
            tokens, first, crosses, shifts[1], sizes[1], cross_slots, cross_base
        )
    end = cross_base
    for c in range(len(crosses)):
        end = _expand_cross(
            tokens, starts, row, fields, crosses[c], shifts[1], sizes[1], cross_slots, end
        )
    return n_fields, end - cross_base
