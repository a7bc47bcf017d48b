"""Which values of a field are counted by themselves: the most frequent ones, as they come."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.coded import Coded
from monitoring.windows.window import OTHER

__all__ = ["Places"]

_LONGEST = 200


class Places:
    """Gives each value of a field a place for good, while there are any; the rest share one.

    Parameters
    ----------
    room
        How many places.

    Attributes
    ----------
    full
        Whether some value found no place.

    Examples
    --------
    >>> places = Places(1)
    >>> codes, values = places(Coded.of(pa.array(["a", "b", "a"])))
    >>> [values[code] for code in codes]
    ['a', '(other)', 'a']
    """

    def __init__(self, room: int) -> None:
        self.room, self.full = room, False
        self._words = pa.array([OTHER], pa.string())

    def __call__(self, coded: Coded) -> Coded:
        """The same rows, by the values that have places."""
        words = _short(coded.words)
        place = self._known(words)
        if (place < 0).any():
            self._add(words, coded, place)
            place = self._known(words)
            self.full |= bool((place < 0).any())
        return Coded(np.maximum(place, 0)[coded.codes], self._words)

    def _known(self, words: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Place of each word, or -1."""
        found = pc.fill_null(pc.index_in(words, value_set=self._words), -1)
        return np.array(found.to_numpy(zero_copy_only=False), np.int32)

    def _add(
        self, words: pa.Array, coded: Coded, place: np.ndarray[tuple[int], np.dtype[np.int32]]
    ) -> None:
        free = self.room + 1 - len(self._words)
        if free <= 0:
            return
        counts = np.where(place < 0, coded.counts(), 0)
        order = np.argsort(-counts, kind="stable")[:free]
        new = words.take(pa.array(order[counts[order] > 0])).to_pylist()
        fresh = pa.array(list(dict.fromkeys(new)), pa.string())
        self._words = pa.concat_arrays([self._words, fresh])


def _short(words: pa.Array) -> pa.Array:
    """Texts nobody would read to their end are cut."""
    if len(words) and (pc.max(pc.binary_length(words)).as_py() or 0) > _LONGEST:
        return pc.utf8_slice_codeunits(words, 0, _LONGEST)
    return words
