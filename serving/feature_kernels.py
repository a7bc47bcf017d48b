"""Kernels of the feature path: texts to counter keys, keys to a command, states to values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.hashing import cross_hash, missing_hash, text_hash
from features.jit import inlined, jit

__all__ = [
    "ABSENT",
    "PRIOR",
    "event_keys",
    "find_distinct",
    "find_ends",
    "pack_mget",
    "read_values",
]

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
I16 = NDArray[np.int16]
F64 = NDArray[np.float64]

ABSENT, PRIOR = -1, -2
"""Where a value was taken from, beside the number of a key: the event lacks the field, so it is
missing; nothing is known of it nor of its parents."""

_SEPARATOR = np.uint8(0x1F)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NONE = np.uint64(0)
_ENTRY = 17
_PANES = 8


@jit
def find_ends(data: U8, ends: I64) -> int:
    """Find where joined values end; how many there are, -1 for more than ``ends`` has room for.

    Another number than was joined means that a value holds a separator itself.
    """
    found = 0
    for at in range(len(data) + 1):
        if at == len(data) or data[at] == _SEPARATOR:
            if found == len(ends):
                return -1
            ends[found] = at
            found += 1
    return found


@jit
def event_keys(
    data: U8, ends: I64, first: I64, step: I64, seeds: U64, pairs: I64, overall: np.uint64,
    own: U64, tokens: U64, out: U64,
) -> None:  # fmt: skip
    """Hash events' values to the keys of their counters, as ``StoredCounters.keys`` does.

    Parameters
    ----------
    data, ends
        Texts of all values, one byte between any two; and where each ends.
    first, step
        Which of them is each part's for the first event, and how many further for every next one;
        0: all events share it.
    seeds
        Of the parts.
    pairs
        int64 (keys, 2): the parts of each key; -1: no second one, or none at all (overall).
    overall
        Key of the overall counter.
    own
        What each key is mixed with, that of its table.
    tokens
        Room for one event's.
    out
        uint64 (events, keys), written.
    """
    for row in range(len(out)):
        for part in range(len(seeds)):
            if row and step[part] == 0:
                continue
            at = first[part] + row * step[part]
            low, high = ends[at - 1] + 1 if at else 0, ends[at]
            missing = missing_hash(seeds[part])
            token = missing if low == high else text_hash(data, low, high, seeds[part])
            tokens[part] = token if token != missing else _NONE
        _join(tokens, pairs, overall, own, out[row])


@inlined
def _join(tokens: U64, pairs: I64, overall: np.uint64, own: U64, out: U64) -> None:
    for k in range(len(pairs)):
        a, b = pairs[k, 0], pairs[k, 1]
        key = overall
        if a >= 0:
            key = tokens[a] if b < 0 else cross_hash(tokens[a], tokens[b])
            if tokens[a] == _NONE or (b >= 0 and tokens[b] == _NONE):
                out[k] = _NONE
                continue
            if key == _NONE:
                key = _GOLDEN
        out[k] = key ^ own[k]


@jit
def find_distinct(keys: U64, out: U64, place: I64) -> int:
    """Write each key once, in the order in which they come; how many there are.

    Parameters
    ----------
    keys
        Of counters.
    out
        uint64, room for all of them; written.
    place
        int64, one a key: where it is in ``out``; written.
    """
    size = 16
    while size < 2 * len(keys):
        size *= 2
    mask, found = np.uint64(size - 1), 0
    table = np.full(size, -1, np.int32)
    for i in range(len(keys)):
        key = keys[i]
        at = ((key * _GOLDEN) >> np.uint64(32)) & mask
        while table[at] >= 0 and out[table[at]] != key:
            at = (at + np.uint64(1)) & mask
        if table[at] < 0:
            table[at] = found
            out[found] = key
            found += 1
        place[i] = table[at]
    return found


@jit
def pack_mget(keys: U64, heads: U8, lengths: I64, out: U8) -> int:
    """Write ``MGET`` arguments in Redis's protocol; how many bytes they take.

    Parameters
    ----------
    keys
        Of counters.
    heads, lengths
        What stands before the key's eight bytes, by shard, and how long it is.
    out
        Written.
    """
    shards, at = np.uint64(len(heads)), 0
    for key in keys:
        shard = ((key >> np.uint64(32)) * shards) >> np.uint64(32)
        for i in range(lengths[shard]):
            out[at + i] = heads[shard, i]
        at += lengths[shard]
        for i in range(8):
            out[at + i] = np.uint8((key >> np.uint64(8 * i)) & np.uint64(0xFF))
        out[at + 8], out[at + 9] = np.uint8(13), np.uint8(10)
        at += 10
    return at


@inlined
def _little(data: U8, at: int, size: int) -> np.int64:
    value = np.int64(0)
    for i in range(size):
        value |= np.int64(data[at + i]) << np.int64(8 * i)
    return value


@inlined
def _read_state(
    data: U8, low: int, high: int, halves: I64, at_ms: int, scale: F64, sums: F64, out: F64
) -> bool:
    """One counter's views and clicks at a time, as ``redis_format.faded``; whether it has any."""
    sums[:] = 0.0
    for e in range(low, high, _ENTRY):
        slot = np.int64(data[e])
        if slot >= len(halves):
            continue
        back = at_ms // halves[slot] - _little(data, e + 1, 4)
        if 0 <= back < _PANES:
            sums[slot, 0, back] = _little(data, e + 5, 4) + _little(data, e + 9, 2) * 2.0**32
            sums[slot, 1, back] = _little(data, e + 11, 4) + _little(data, e + 15, 2) * 2.0**32
    known = False
    for h in range(len(halves)):
        for what in range(2):
            total = 0.0
            for back in range(_PANES - 1, -1, -1):
                total += sums[h, what, back] * 2.0**-back
            out[2 * h + what] = total / scale[h]
            known = known or total > 0.0
    return known


@inlined
def _take_over(parent: F64, most: float, out: F64) -> None:
    """The parent's click rate, with no more views than the prior is worth."""
    for h in range(0, len(out), 2):
        views = min(parent[h], most)
        out[h] = views
        out[h + 1] = 0.0 if views == 0.0 else min(parent[h + 1] / parent[h], 1.0) * views


@jit
def read_values(
    data: U8, ends: I64, place: I64, keys: U64, request: I64, at_ms: I64, scales: F64,
    halves: I64, counts: I64, starts: I64, chains: I64, most_views: F64, out: F64, taken: I16,
) -> None:  # fmt: skip
    """Read the values of events' counters, each from the first of its chain that is known.

    Parameters
    ----------
    data, ends
        Entries of the states that the store gave, and where each state ends.
    place, keys
        (events, keys): which state it is; the key, 0 where the event lacks a value.
    request
        Of each event.
    at_ms, scales
        When each request is read; and float64 (requests, keys, half-lives), the weight of a view
        at that time.
    halves, counts
        int64 (keys, half-lives) in ms, and how many a key has.
    starts
        Where in a row of ``out`` a key's values start.
    chains
        int64 (keys, parents): which keys stand in for one that is not known, -1 at the end.
    most_views
        By key: what a parent counts for at the most.
    out, taken
        Written: values (events, values), and where each key's are from (events, keys): its own
        number, that of a parent, ``ABSENT`` or ``PRIOR``.
    """
    sums = np.empty((halves.shape[1], 2, _PANES))
    for e in range(len(keys)):
        r = request[e]
        for k in range(keys.shape[1]):
            n, own = counts[k], out[e, starts[k] : starts[k] + 2 * counts[k]]
            if keys[e, k] == _NONE:
                own[:] = np.nan
                taken[e, k] = ABSENT
                continue
            i = place[e, k]
            low = ends[i - 1] if i else 0
            known = _read_state(
                data, low, ends[i], halves[k, :n], at_ms[r], scales[r, k], sums, own
            )
            taken[e, k] = k if known else PRIOR
        for k in range(keys.shape[1]):
            if taken[e, k] != PRIOR:
                continue
            for parent in chains[k]:
                if parent >= 0 and taken[e, parent] == parent:
                    own = out[e, starts[k] : starts[k] + 2 * counts[k]]
                    first = starts[parent]
                    _take_over(out[e, first : first + 2 * counts[k]], most_views[k], own)
                    taken[e, k] = parent
                    break
