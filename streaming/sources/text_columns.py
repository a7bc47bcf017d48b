"""Columns of texts that stand anywhere in a block: copied side by side, eight bytes at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from features.jit import inlined, jit, load64, read_only

__all__ = ["SLACK", "copy_short", "side_by_side"]

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
