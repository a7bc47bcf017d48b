"""Counters in this process: a hash table of keys, read and written strictly by event time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.kernels import NO_TIME, advance, read_rows, refill
from features.counters.panes import PANES, weights_at

__all__ = ["NO_TIME", "CounterTable"]

Arrays = dict[str, NDArray[Any]]
_Any = NDArray[Any]
_Four = tuple[_Any, _Any, _Any, _Any]
_Five = tuple[_Any, _Any, _Any, _Any, _Any]
_FIRST_SLOTS, _FIRST_QUEUE = 1024, 64


class CounterTable:
    """Views and clicks of keys, fading by one or more half-lives.

    Whatever the order of its updates, a key's sums are the same. A read at a time before the
    key's newest update leaves out the pane of that time, for it may hold a click after it.
    Once a table is full, keys older than all panes are dropped; only then it doubles.

    Parameters
    ----------
    half_lives_ms
        One or more.
    width
        Keys of a row.

    Examples
    --------
    >>> table = CounterTable([3_600_000], width=1)
    >>> key, hour = np.array([[7], [7], [7]], np.uint64), 3_600_000
    >>> seen = table.advance(key, np.array([0, hour, 2 * hour]), np.array([True, False, False]))
    >>> seen[:, 0, 0].tolist()
    [[0.0, 0.0], [0.5, 0.5], [0.75, 0.25]]
    """

    def __init__(self, half_lives_ms: Sequence[int], width: int) -> None:
        self.half_lives = np.array(half_lives_ms, np.int64)
        self.width = width
        self._lay_out(_FIRST_SLOTS)
        while width * 4 > len(self._slots):
            self._lay_out(2 * len(self._slots))
        self._lay_out_queue(_FIRST_QUEUE)
        self._counts = np.array([0, 0, NO_TIME], np.int64)

    def _lay_out(self, slots: int) -> None:
        halves = len(self.half_lives)
        self._slots = np.zeros(slots, np.uint64)
        self._last = np.zeros(slots, np.int64)
        self._newest = np.zeros((slots, halves), np.int64)
        self._sums = np.zeros((slots, halves, PANES, 2), np.int64)

    def _lay_out_queue(self, places: int) -> None:
        self._heap = np.arange(places)
        self._heap_times = np.zeros(places, np.int64)
        self._heap_weights = np.zeros((places, len(self.half_lives)), np.int64)
        self._heap_keys = np.zeros((places, self.width), np.uint64)

    # --- in order --------------------------------------------------------------------------

    def advance(
        self,
        keys: NDArray[np.uint64],
        times: NDArray[np.int64],
        clicked: NDArray[np.bool_],
        delays: NDArray[np.int64] | None = None,
        wanted: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """Take events in order: each is read, then its view counts, and its click at its time.

        Parameters
        ----------
        keys
            uint64 (rows, width); 0 where a row has no such key.
        times
            int64 milliseconds; :data:`NO_TIME`: the row is neither read nor counted.
        clicked
            Whether each row was clicked.
        delays
            Milliseconds from impression to click; ``None``: 0.
        wanted
            Rows to be read, the others are counted only; ``None``: all.

        Returns
        -------
        ndarray of float64, shape (rows, width, half-lives, 2)
            Views and clicks before each row; NaN where there is no key, or it was not wanted.
        """
        known = times != NO_TIME
        clicked = clicked & known
        when = times if delays is None else times + np.maximum(delays, 0)
        click_times = np.where(clicked, when, NO_TIME)
        weights = self._weights(times, known)
        click_weights = weights if delays is None else self._weights(click_times, clicked)
        out = np.empty((len(times), self.width, len(self.half_lives), 2))
        wanted = np.ones(len(times), np.bool_) if wanted is None else wanted
        row = 0
        while True:
            row = advance(
                *self._table(), self._counts, *self._queue(),
                np.ascontiguousarray(keys), times, weights, click_times, click_weights,
                wanted, row, out,
            )  # fmt: skip
            if row == len(times):
                return out
            self._make_room()

    def read(self, keys: NDArray[np.uint64], times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read as :meth:`advance` does, and count nothing."""
        out = np.empty((len(times), self.width, len(self.half_lives), 2))
        weights = self._weights(times, times != NO_TIME)
        read_rows(*self._table(), np.ascontiguousarray(keys), times, weights, out)
        return out

    # --- room ------------------------------------------------------------------------------

    def _weights(self, times: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
        return weights_at(np.where(known, times, 0)[:, None], self.half_lives)

    def _table(self) -> _Five:
        return self._slots, self._last, self._newest, self._sums, self.half_lives

    def _queue(self) -> _Four:
        return self._heap, self._heap_times, self._heap_weights, self._heap_keys

    def _make_room(self) -> None:
        if self._counts[1] == len(self._heap):
            clicks = self._queued()
            self._lay_out_queue(2 * len(self._heap))
            self._fill_queue(clicks)
        live = self._live()
        slots = len(self._slots)
        if self._counts[0] > slots - slots // 4 - max(self.width, 1):
            self._rebuild(live, slots if len(live) <= slots // 2 - self.width else 2 * slots)

    def _live(self) -> NDArray[np.int64]:
        """Slots with a pane that a read at the newest time would count."""
        horizon = self._counts[2] // self.half_lives - PANES
        alive = (self._slots != 0) & (self._newest > horizon).any(axis=1)
        return np.flatnonzero(alive)

    def _rebuild(self, kept: NDArray[np.int64], slots: int) -> None:
        old = self._table()[:4]
        self._lay_out(slots)
        refill(*self._table()[:4], *old, kept)
        self._counts[0] = len(kept)

    # --- as data ---------------------------------------------------------------------------

    def dump(self) -> Arrays:
        """Give the whole state as plain arrays."""
        used = np.flatnonzero(self._slots)
        times, weights, keys = self._queued()
        return {
            "slots": np.array([len(self._slots), self._counts[2]], np.int64),
            "keys": self._slots[used],
            "last": self._last[used],
            "newest": self._newest[used],
            "sums": self._sums[used],
            "click_times": times,
            "click_weights": weights,
            "click_keys": keys,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up what :meth:`dump` gave; raises ValueError if it is of another table."""
        slots, clock = arrays["slots"].tolist()
        keys, sums = arrays["keys"], arrays["sums"]
        shape = (len(keys), len(self.half_lives), PANES, 2)
        queue = (len(arrays["click_times"]), self.width)
        power_of_two = slots >= _FIRST_SLOTS and not slots & (slots - 1)
        if sums.shape != shape or arrays["click_keys"].shape != queue or not power_of_two:
            raise ValueError("the counters are of another spec")
        if len(keys) >= slots:
            raise ValueError("the counters do not fit their table")
        self._lay_out(slots)
        kept = np.arange(len(keys))
        refill(*self._table()[:4], keys, arrays["last"], arrays["newest"], sums, kept)
        places = _FIRST_QUEUE
        while places < queue[0]:
            places *= 2
        self._lay_out_queue(places)
        self._counts[:] = len(keys), queue[0], clock
        self._fill_queue((arrays["click_times"], arrays["click_weights"], arrays["click_keys"]))

    def _queued(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        ids = self._heap[: self._counts[1]]
        return self._heap_times[ids], self._heap_weights[ids], self._heap_keys[ids]

    def _fill_queue(
        self, clicks: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]
    ) -> None:
        n = len(clicks[0])
        self._heap_times[:n], self._heap_weights[:n], self._heap_keys[:n] = clicks
