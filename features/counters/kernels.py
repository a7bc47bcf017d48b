"""The kernels of the counter table: find, add, read, and a queue of clicks that are to come.

A slot holds a key, the time of its newest event, and for each half-life its newest pane and a
ring of the last ``PANES`` panes. ``counts`` is (slots used, clicks queued, newest time seen).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.counters.panes import PANES
from features.jit import inlined, jit

__all__ = ["NO_TIME", "advance", "read_rows", "refill"]

NO_TIME = np.iinfo(np.int64).min
"""A missing time: the event is neither read nor counted."""

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
_FADE = np.array([2.0**i for i in range(1 - PANES, 1)])
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_USED, _QUEUED, _CLOCK = 0, 1, 2


@inlined
def _find(slots: U64, key: np.uint64) -> int:
    """Give the slot of a key, or the empty one where it belongs."""
    mask = len(slots) - 1
    at = int((key * _SPREAD) >> np.uint64(32)) & mask
    while slots[at] != key and slots[at] != np.uint64(0):
        at = (at + 1) & mask
    return at


@inlined
def _add(
    slots: U64, last: I64, newest: I64, sums: I64, half_lives: I64, counts: I64,
    key: np.uint64, at_ms: int, weights: I64, what: int,
) -> None:  # fmt: skip
    """Add a view (``what`` 0) or a click (1) to a key, making its slot if there is none."""
    at = _find(slots, key)
    fresh = slots[at] != key
    if fresh:
        slots[at] = key
        counts[_USED] += 1
    if fresh or at_ms > last[at]:
        last[at] = at_ms
    for h in range(len(half_lives)):
        pane = at_ms // half_lives[h]
        if fresh:
            sums[at, h] = 0
            newest[at, h] = pane
        elif pane > newest[at, h]:
            for gone in range(max(newest[at, h] + 1, pane - PANES + 1), pane + 1):
                sums[at, h, gone % PANES] = 0
            newest[at, h] = pane
        if pane > newest[at, h] - PANES:
            sums[at, h, pane % PANES, what] += weights[h]


@inlined
def _read(
    slots: U64, last: I64, newest: I64, sums: I64, half_lives: I64,
    key: np.uint64, at_ms: int, weights: I64, out: F64,
) -> None:  # fmt: skip
    """Read a key at a time into ``out`` (half-lives, 2), as ``panes.decayed`` would."""
    if key == np.uint64(0) or at_ms == NO_TIME:
        out[:] = np.nan
        return
    out[:] = 0.0
    at = _find(slots, key)
    if slots[at] != key:
        return
    late = at_ms < last[at]  # the pane of at_ms may hold what came after it: leave that out
    for h in range(len(half_lives)):
        now = at_ms // half_lives[h]
        for step in range(PANES - 1 if late else PANES):
            pane = now - PANES + 1 + step
            if newest[at, h] - PANES < pane <= newest[at, h]:
                ring = pane % PANES
                out[h, 0] += sums[at, h, ring, 0] * _FADE[step]
                out[h, 1] += sums[at, h, ring, 1] * _FADE[step]
        out[h, 0] /= weights[h]
        out[h, 1] /= weights[h]


@inlined
def _push(heap: I64, click_times: I64, n: int) -> None:
    """Sift the click at place ``n`` up."""
    while n > 0:
        above = (n - 1) >> 1
        if click_times[heap[above]] <= click_times[heap[n]]:
            return
        heap[above], heap[n] = heap[n], heap[above]
        n = above


@inlined
def _pop(heap: I64, click_times: I64, n: int) -> None:
    """Move the earliest of ``n`` clicks behind the others."""
    n -= 1
    heap[0], heap[n] = heap[n], heap[0]
    at = 0
    while 2 * at + 1 < n:
        below = 2 * at + 1
        if below + 1 < n and click_times[heap[below + 1]] < click_times[heap[below]]:
            below += 1
        if click_times[heap[at]] <= click_times[heap[below]]:
            return
        heap[at], heap[below] = heap[below], heap[at]
        at = below


@jit
def advance(
    slots: U64, last: I64, newest: I64, sums: I64, half_lives: I64, counts: I64,
    heap: I64, heap_times: I64, heap_weights: I64, heap_keys: U64,
    keys: U64, times: I64, weights: I64, click_times: I64, click_weights: I64,
    wanted: NDArray[np.bool_], start: int, out: F64,
) -> int:  # fmt: skip
    """Take rows in order: clicks that have come by then, the read, the view, the click queued.

    Parameters
    ----------
    keys
        (rows, keys); 0 where there is none.
    times, weights
        Of the rows; ``NO_TIME`` counts for nothing.
    click_times, click_weights
        ``NO_TIME`` where there is no click.
    wanted
        Whether a row is to be read; the others are counted only.
    start
        First row to take.
    out
        (rows, keys, half-lives, 2), written.

    Returns
    -------
    int
        The row that the table has no room for; call again from it once there is.
    """
    width = keys.shape[1]
    room = len(slots) - len(slots) // 4 - width
    for row in range(start, len(times)):
        now = times[row]
        if now == NO_TIME:
            out[row] = np.nan
            continue
        while counts[_QUEUED] > 0 and heap_times[heap[0]] <= now:
            if counts[_USED] > room:
                return row
            click = heap[0]
            _pop(heap, heap_times, counts[_QUEUED])
            counts[_QUEUED] -= 1
            for k in range(width):
                if heap_keys[click, k] != np.uint64(0):
                    _add(
                        slots, last, newest, sums, half_lives, counts, heap_keys[click, k],
                        heap_times[click], heap_weights[click], 1,
                    )  # fmt: skip
        if counts[_USED] > room or counts[_QUEUED] == len(heap):
            return row
        counts[_CLOCK] = max(counts[_CLOCK], now)
        if not wanted[row]:
            out[row] = np.nan
        for k in range(width):
            key = keys[row, k]
            if wanted[row]:
                _read(
                    slots, last, newest, sums, half_lives, key, now, weights[row], out[row, k]
                )  # fmt: skip
            if key != np.uint64(0):
                _add(
                    slots, last, newest, sums, half_lives, counts, key, now, weights[row], 0
                )  # fmt: skip
        if click_times[row] != NO_TIME:
            click = heap[counts[_QUEUED]]
            heap_times[click] = click_times[row]
            heap_weights[click] = click_weights[row]
            heap_keys[click] = keys[row]
            _push(heap, heap_times, counts[_QUEUED])
            counts[_QUEUED] += 1
    return len(times)


@jit
def read_rows(
    slots: U64, last: I64, newest: I64, sums: I64, half_lives: I64,
    keys: U64, times: I64, weights: I64, out: F64,
) -> None:  # fmt: skip
    """Read rows and change nothing."""
    for row in range(len(times)):
        for k in range(keys.shape[1]):
            _read(
                slots, last, newest, sums, half_lives, keys[row, k], times[row],
                weights[row], out[row, k],
            )  # fmt: skip


@jit
def refill(
    slots: U64, last: I64, newest: I64, sums: I64,
    from_slots: U64, from_last: I64, from_newest: I64, from_sums: I64, kept: I64,
) -> None:  # fmt: skip
    """Copy some slots of one table into another, empty one."""
    for i in kept:
        at = _find(slots, from_slots[i])
        slots[at], last[at] = from_slots[i], from_last[i]
        newest[at], sums[at] = from_newest[i], from_sums[i]
