"""Lines of examples as records of the log hold them, and where each line stands in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from streaming.log import Record, Values
from streaming.sources.block import line_spans

__all__ = ["LINE_BITS", "Place", "lines_of", "lines_of_records"]

Place = Callable[[int], tuple[str, int]]
I64 = NDArray[np.int64]
LINE_BITS = 20
"""An example of the log has the row number ``offset << LINE_BITS | line`` in its partition."""


def lines_of_records(records: Sequence[Record]) -> tuple[bytes, Place]:
    """The lines of some records, and where each line stands in the log."""
    groups = groupby(records, lambda record: (record.topic, record.partition))
    return lines_of([Values.of(*at, *_offsets_and_values(some)) for at, some in groups])


def _offsets_and_values(records: Iterable[Record]) -> tuple[list[int], list[bytes]]:
    offsets, values = zip(*((record.offset, record.value) for record in records), strict=True)
    return list(offsets), list(values)


def lines_of(parts: Sequence[Values]) -> tuple[bytes, Place]:
    """The lines of the values of some records, and where each line stands in the log."""
    data = parts[0].data if len(parts) == 1 else b"\n".join([part.data for part in parts])
    return data, _Places(data, parts)


class _Places:
    """Where lines stand in the log; looked up when first asked, for few are."""

    def __init__(self, data: bytes, parts: Sequence[Values]) -> None:
        self._data, self._parts = data, parts
        sizes = [0, *(len(part.data) + 1 for part in parts)]
        self._begins = np.cumsum(sizes[:-1])

    @cached_property
    def _starts(self) -> I64:
        """Where each line begins that is not blank."""
        starts, ends = line_spans(self._data)
        return starts[ends > starts]

    def __call__(self, line: int) -> tuple[str, int]:
        at = self._starts[line]
        number = int(np.searchsorted(self._begins, at, side="right")) - 1
        part, begin = self._parts[number], self._begins[number]
        record = int(np.searchsorted(part.ends, at - begin, side="right"))
        record_begin = begin + (part.ends[record - 1] + 1 if record else 0)
        within = line - int(np.searchsorted(self._starts, record_begin))
        return f"{part.topic}-{part.partition}", int(part.offsets[record]) << LINE_BITS | within
