"""Rows of CSV and TSV without quotes, cut at their separators in half the time of a parser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from features.jit import jit
from streaming.sources.block import Block
from streaming.sources.copying import side_by_side

__all__ = ["cut_rows"]


def cut_rows(
    block: Block, separator: str, values: int, wanted: Sequence[int]
) -> list[pa.Array] | None:
    r"""Cut each row of a block into so many values; no quote has a meaning.

    Parameters
    ----------
    block
        The rows.
    separator
        One ASCII character.
    values
        How many each row must have.
    wanted
        Which of them to return.

    Returns
    -------
    list of pyarrow.Array, or None
        A string column for each wanted value; None if a row has more or fewer values, or a wanted
        one is not UTF-8.

    Examples
    --------
    >>> from streaming.sources.block import index_block
    >>> block, _ = index_block(b"1\ta\t\n2\tb\tc\n", "log", 1, 0)
    >>> [column.to_pylist() for column in cut_rows(block, "\t", 3, [2, 0])]
    [['', 'c'], ['1', '2']]
    """
    data = np.frombuffer(block.data, np.uint8)
    places: Any = np.empty(len(data), np.int32)
    count = _places_of(data, ord(separator), places)
    if count != block.rows * (values - 1):
        return None
    edges = np.empty((values + 1, block.rows), np.int32)
    edges[0], edges[-1] = block.starts - 1, block.ends
    edges[1:-1] = places[:count].reshape(block.rows, values - 1).T
    if (edges[1] < block.starts).any() or (edges[-2] > block.ends).any():
        return None  # some row has more, and another fewer
    begin, end = edges[wanted] + 1, edges[[at + 1 for at in wanted]]
    texts, offsets = side_by_side(data, begin, end - begin)
    columns = [
        pa.StringArray.from_buffers(block.rows, pa.py_buffer(ends), pa.py_buffer(text))
        for text, ends in zip(texts, offsets, strict=True)
    ]
    return columns if block.data.isascii() or all(map(_is_utf8, columns)) else None


@jit
def _places_of(data: Any, byte: int, places: Any) -> int:
    """Fill in where a byte stands, without a branch for each; how often that is."""
    count = 0
    for at in range(len(data)):
        places[count] = at
        count += data[at] == byte
    return count


def _is_utf8(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
