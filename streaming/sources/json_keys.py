"""The keys that the JSON scanner expects: of a row, and of objects in it that it looks into."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streaming.sources.json_values import BOOL, FLOAT, INT, LIST, NULL, OBJECT, TEXT

__all__ = ["ANY", "NUMBERS", "PLAIN", "KeyTable", "Keys"]

NUMBERS = 1 << INT | 1 << FLOAT
"""Kinds to expect: numbers alone."""
PLAIN = NUMBERS | 1 << NULL | 1 << TEXT | 1 << BOOL | 1 << LIST
"""Scalars and lists of strings; no escape in any string; NaN is null."""
ANY = PLAIN | 1 << OBJECT
"""Anything. Strings may have escapes; a wanted object is looked into only if it has keys."""

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
_NONE: Mapping[str, Any] = MappingProxyType({})
_ESCAPED = re.compile(r'["\\\0-\x1f]')


class KeyTable(NamedTuple):
    """The keys of all levels, one level after the other, as the kernel has them.

    Parameters
    ----------
    text, key_at
        Each key as it stands in JSON, with its quotes and the colon; where it begins.
    column
        Which wanted column each is; -1: none.
    inside
        Number of the level whose keys its value has, if that is an object; 0: none.
    value, value_at
        The one value that a wanted column may have, as it is written, likewise; empty: any.
    first
        The first key of each level, and the end of the last.
    holder, outer
        The key whose value each level is, and the level of that key.
    expect
        Kinds of value in each level.
    """

    text: Bytes
    key_at: I64
    column: I64
    inside: I64
    value: Bytes
    value_at: I64
    first: I64
    holder: I64
    outer: I64
    expect: I64


@dataclass(frozen=True, eq=False)
class Keys:
    """The keys to expect in an object.

    Parameters
    ----------
    names
        All keys, in order.
    wanted
        Those whose values are to be found: the columns.
    values
        The one value that a column may have, as it is written; seen to in :data:`ANY` alone.
    expect
        Kinds of value: :data:`PLAIN`, :data:`NUMBERS` or :data:`ANY`.
    inside
        The keys of objects that are values of wanted ones.
    """

    names: tuple[str, ...]
    wanted: tuple[str, ...]
    values: Mapping[str, str]
    expect: int
    inside: Mapping[str, Keys]

    @classmethod
    def of(
        cls, expected: Sequence[str], wanted: Sequence[str], values: Mapping[str, str] = _NONE,
        expect: int = PLAIN, inside: Mapping[str, Keys] = _NONE,
    ) -> Keys:  # fmt: skip
        """Keys of objects that look like ``expected``; the wanted ones are added.

        A key that JSON writes with an escape is never found: such an object is not plain.
        """
        names = dict.fromkeys([*expected, *wanted])
        plain = tuple(name for name in names if not _ESCAPED.search(name))
        return cls(plain, tuple(wanted), values, expect, inside)

    @cached_property
    def levels(self) -> list[Keys]:
        """These keys and those inside, one level after the other."""
        levels = [self]
        for keys in levels:  # which grows meanwhile
            levels += keys.inside.values()
        return levels

    @cached_property
    def outer(self) -> list[tuple[int, str]]:
        """Where each level but the first is: the level around it, and its name there."""
        return [(i, name) for i, keys in enumerate(self.levels) for name in keys.inside]

    @cached_property
    def ends(self) -> list[int]:
        """Where the columns of each level end, among those of all."""
        return list(accumulate(len(keys.wanted) for keys in self.levels))

    @cached_property
    def table(self) -> KeyTable:
        """All levels, for the kernel."""
        names = [(i, name) for i, keys in enumerate(self.levels) for name in keys.names]
        wanted = [(i, name) for i, keys in enumerate(self.levels) for name in keys.wanted]
        columns = {name: column for column, name in enumerate(wanted)}
        inside = {name: level for level, name in enumerate(self.outer, 1)}
        return KeyTable(
            *_joined([f'"{name}":' for _, name in names]),
            _numbers([columns.get(name, -1) for name in names]),
            _numbers([inside.get(name, 0) for name in names]),
            *_joined([self.levels[i].values.get(name, "") for i, name in wanted]),
            _numbers([0, *accumulate(len(keys.names) for keys in self.levels)]),
            _numbers([0, *map(names.index, inside)]),
            _numbers([0, *(level for level, _ in inside)]),
            _numbers([keys.expect for keys in self.levels]),
        )


def _numbers(values: Sequence[int]) -> I64:
    return np.array(values, np.int64)


def _joined(texts: Sequence[str]) -> tuple[Bytes, I64]:
    """All texts, with 8 bytes behind them, and where each begins."""
    encoded = [text.encode() for text in texts]
    at = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded) + bytes(8), np.uint8), at
