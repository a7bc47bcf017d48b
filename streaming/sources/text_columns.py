"""Columns of texts that stand anywhere in a block: copied side by side, eight bytes at a time.

Rows of CSV and TSV without quotes are cut at their separators, in half the time of a parser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from features.jit import inlined, jit, load64, read_only
from streaming.sources.block import Block

__all__ = ["SLACK", "copy_short", "cut_rows", "side_by_side"]

SLACK = 8
"""Bytes after a copied text that may be written too."""
_NEAR = 128  # rows whose lines stay in a cache


@intrinsic
def _store64(typingctx: Any, array: Any, index: Any, word: Any) -> Any:
    """Write the 8 bytes of a uint64 into a uint8 array from ``index`` on; needs no alignment."""
    signature = types.void(array, index, types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.gep(data, [args[1]])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        builder.store(args[2], word, align=1)
        return context.get_dummy_value()

    return signature, codegen


store64: Callable[[Any, Any, np.uint64], None] = cast(Any, _store64)


@inlined
def copy_short(data: Any, start: int, size: int, out: Any, at: int) -> None:
    """Copy ``data[start : start + size]`` to ``out[at:]``; up to ``SLACK`` bytes after it too."""
    done = 0
    while done < size and start + done + 8 <= len(data):
        store64(out, at + done, load64(data, start + done))
        done += 8
    while done < size:
        out[at + done] = data[start + done]
        done += 1


def side_by_side(data: Any, begin: Any, size: Any) -> tuple[list[Any], Any]:
    """Bytes and offsets, as Arrow has them, of columns whose values stand anywhere in ``data``.

    Parameters
    ----------
    data
        uint8.
    begin, size
        int32 (columns, rows), of each value.

    Returns
    -------
    texts
        uint8, one array a column, with some bytes behind the last value.
    offsets
        int32 (columns, rows + 1).
    """
    offsets = np.zeros((len(size), size.shape[1] + 1), np.int32)
    np.cumsum(size, axis=1, out=offsets[:, 1:])
    bases = np.concatenate([[0], np.cumsum(offsets[:, -1] + np.int64(SLACK))])
    text = np.empty(bases[-1], np.uint8)
    _gather(read_only(data), begin, offsets, bases, text)
    return [text[low:high] for low, high in pairwise(bases)], offsets


@jit
def _gather(data: Any, begin: Any, offsets: Any, bases: Any, text: Any) -> None:
    """Copy the values of each column side by side, SLACK bytes after each column.

    Some rows at a time: as many as a cache holds.
    """
    for first in range(0, begin.shape[1], _NEAR):
        for column in range(begin.shape[0]):
            base = bases[column]
            for row in range(first, min(first + _NEAR, begin.shape[1])):
                low = offsets[column, row]
                start = begin[column, row]
                size = offsets[column, row + 1] - low
                copy_short(data, start, size, text, base + low)


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
