"""Which key comes after which, learned from the lines themselves.

A producer writes its keys in the same order and with the same blanks on every line, or nearly.
So what stood between a value and the next one is remembered with the key before it, and compared
as whole words; where it differs, the key is read byte by byte, and remembered instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.jit import load64
from monitoring.quick.compiling import inlined, jit
from streaming.sources.json_strings import skip_blanks, string_end

__all__ = [
    "CLICKED", "CORRECTION", "COUNTERS", "ENDED", "EXAMPLE", "FIELDS", "FIELDS_KEYS", "ID",
    "IMPRESSION", "LABEL", "MODEL", "ODD", "OTHER", "PROBABILITY", "SHOWN_KEYS", "TIMESTAMP",
    "TYPE", "VERSION", "Layout", "member",
]  # fmt: skip

_NAMES = ("type", "v", "label", "impression", "correction", "click_timestamp")
_NAMES_SHOWN = (
    "type", "v", "impression_id", "timestamp", "fields", "probability", "model_version", "counters",
)  # fmt: skip
TYPE, VERSION, LABEL, IMPRESSION, CORRECTION, CLICKED = range(6)
ID, TIMESTAMP, FIELDS, PROBABILITY, MODEL, COUNTERS = range(2, 8)
OTHER = -1
EXAMPLE, SHOWN_KEYS, FIELDS_KEYS = 0, 1, 2
ENDED, ODD = -1, -2
"""Of :func:`member`: the object has ended; it is not plain."""

_ROOM = 64  # keys of an object that are learned beside those that are known
_WORDS = 8  # of 8 bytes that are compared; what is longer is read each time
_KEY_BYTES = 48
_QUOTE, _COLON, _COMMA, _OPEN, _CLOSE = (ord(c) for c in '":,{}')


class Layout(NamedTuple):
    """Keys of the three objects of an example, and what follows each.

    Place ``level * room + i`` is of key i of an object; its last place but one is of all keys
    that are not known, its last of the object's beginning.

    Parameters
    ----------
    room
        int64 (1,): places of an object.
    known
        int64 (3,): keys of each object.
    key, key_size
        uint8 (places, bytes): the text of each; int64 (places,).
    what
        int64 (places,): what its value is, :data:`OTHER`, or the column of a field.
    size, words, masks, after
        What stands between the value of this key and the next value: bytes (0: unknown), these
        as words, which bits of them count, and the place of the next key.
    """

    room: NDArray[np.int64]
    known: NDArray[np.int64]
    key: NDArray[np.uint8]
    key_size: NDArray[np.int64]
    what: NDArray[np.int64]
    size: NDArray[np.int64]
    words: NDArray[np.uint64]
    masks: NDArray[np.uint64]
    after: NDArray[np.int64]

    @classmethod
    def of(cls, columns: Sequence[str]) -> Layout:
        """Nothing known yet but the keys that are looked for."""
        levels = [[name.encode() for name in names] for names in (_NAMES, _NAMES_SHOWN, columns)]
        room = max(map(len, levels)) + _ROOM + 2
        wide = max([_KEY_BYTES, *(len(name) for names in levels for name in names)])
        places = 3 * room
        made = cls(
            np.array([room]),
            np.array([len(names) for names in levels]),
            np.zeros((places, wide), np.uint8),
            np.zeros(places, np.int64),
            np.full(places, OTHER, np.int64),
            np.zeros(places, np.int64),
            np.zeros((places, _WORDS), np.uint64),
            np.zeros((places, _WORDS), np.uint64),
            np.zeros(places, np.int64),
        )
        for level, names in enumerate(levels):
            for i, name in enumerate(names):
                at = level * room + i
                made.key[at, : len(name)] = np.frombuffer(name, np.uint8)
                made.key_size[at], made.what[at] = len(name), i
        return made


@inlined
def member(data: Any, at: int, level: int, place: int, layout: Any) -> tuple[int, int]:
    """Step from the end of a value to the next value of the object: its key's place, and where.

    Parameters
    ----------
    data
        Lines, newlines after the last: 64 bytes or more.
    at
        After the value, or after the opening brace.
    level
        Which object.
    place
        Of the key of the value; after the brace: the object's last.
    layout
        What is known; it learns.

    Returns
    -------
    place, at
        :data:`ENDED`: where the object ended; :data:`ODD`: it did not go on as plain JSON does.
    """
    size = layout.size[place]
    if size > 0:
        same = True
        for i in range((size + 7) >> 3):
            word = load64(data, at + 8 * i) ^ layout.words[place, i]
            same = same and word & layout.masks[place, i] == 0
        if same and data[at + size] > 32:
            return layout.after[place], at + size
    if data[at] == _CLOSE and place % layout.room[0] != layout.room[0] - 1:
        return ENDED, at + 1
    return _read_member(data, at, level, place, layout)


@jit
def _read_member(data: Any, at: int, level: int, place: int, layout: Any) -> tuple[int, int]:
    """Read it byte by byte, and learn it."""
    begin, room = at, layout.room[0]
    opening = place % room == room - 1
    at = skip_blanks(data, at, len(data))
    if data[at] == _CLOSE:
        return ENDED, at + 1
    if not opening:
        if data[at] != _COMMA:
            return ODD, at
        at = skip_blanks(data, at + 1, len(data))
    if data[at] != _QUOTE:
        return ODD, at
    start = at + 1
    end = string_end(data, start, len(data))
    if end < 0:
        return ODD, at
    at = skip_blanks(data, end + 1, len(data))
    if data[at] != _COLON:
        return ODD, at
    at = skip_blanks(data, at + 1, len(data))
    found = _find(data, start, end, level, place, layout)
    _learn(data, begin, at, place, found, layout)
    return found, at


@inlined
def _find(data: Any, start: int, end: int, level: int, last: int, layout: Any) -> Any:
    """The place of a key, looked for from the one after ``last`` on."""
    room, size = layout.room[0], end - start
    first, known = level * room, layout.known[level]
    for step in range(known):
        place = first + (last - first + 1 + step) % known
        if layout.key_size[place] != size:
            continue
        same = 0
        while same < size and data[start + same] == layout.key[place, same]:
            same += 1
        if same == size:
            return place
    if known >= room - 2 or size > layout.key.shape[1]:
        return first + room - 2
    place = first + known
    layout.known[level] += 1
    layout.key_size[place] = size
    for i in range(size):
        layout.key[place, i] = data[start + i]
    return place


@inlined
def _learn(data: Any, begin: int, end: int, place: int, after: int, layout: Any) -> None:
    size = end - begin
    layout.size[place] = size if size <= 8 * _WORDS else 0
    layout.after[place] = after
    for i in range(min((size + 7) >> 3, _WORDS)):
        rest = min(size - 8 * i, 8)
        mask = ~np.uint64(0) >> np.uint64(64 - 8 * rest)
        layout.masks[place, i] = mask
        layout.words[place, i] = load64(data, begin + 8 * i) & mask
