"""Whether a value, such as an ad, is new: first seen less than a day ago."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.jit import jit
from monitoring.coded import MISSING, Coded

__all__ = ["Newness"]

_SLOTS = 1 << 20
_DAY_MS = 86_400_000
_NEW, _KNOWN, _MISSING = range(3)
_ALWAYS = -(1 << 60)


class Newness:
    """Remembers when each value of a field was first seen, in 8 MB.

    Values share 2**20 places by hash: of n values about the share n / 2**20 of new ones is taken
    for known. What is seen on the first day counts as known, for nobody knows since when it is.

    Examples
    --------
    >>> newness, day = Newness(), 86_400_000
    >>> ads = Coded.of(pa.array(["a", "a", "b", "b"]))
    >>> coded = newness(ads, np.array([1, 2 * day, 2 * day, 4 * day]))
    >>> [coded.values[code] for code in coded.codes]
    ['known', 'known', 'new', 'known']
    """

    def __init__(self) -> None:
        self._first = np.zeros(_SLOTS, np.int64)
        self._since = 0

    def __call__(self, coded: Coded, time_ms: NDArray[np.int64]) -> Coded:
        """``new``, ``known`` or missing for each row."""
        if len(coded) and not self._since:
            self._since = int(time_ms[0])
        places = (coded.hashes % np.uint64(_SLOTS)).astype(np.int64)
        missing = pc.equal(coded.words, MISSING).to_numpy(zero_copy_only=False)
        places[missing] = -1
        out = np.empty(len(coded), np.int32)
        _judge(coded.codes, places, time_ms, self._first, self._since + _DAY_MS, out)
        return Coded(out, pa.array(["new", "known", MISSING]))

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {"first": self._first, "since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._first, self._since = state["first"], state["since"]


@jit
def _judge(codes: Any, places: Any, time_ms: Any, first: Any, from_ms: int, out: Any) -> None:
    for i in range(len(codes)):
        place = places[codes[i]]
        if place < 0:
            out[i] = _MISSING
            continue
        if first[place] == 0:
            first[place] = time_ms[i] if time_ms[i] >= from_ms else _ALWAYS
        out[i] = _NEW if time_ms[i] - first[place] < _DAY_MS else _KNOWN
