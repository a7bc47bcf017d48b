"""Kernels for strings of plain JSON, and for lists of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.jit import inlined, jit

__all__ = ["list_end", "skip_blanks", "string_end", "string_lists"]

_QUOTE, _BACKSLASH, _COMMA, _END_BRACKET = (ord(c) for c in '"\\,]')


@inlined
def skip_blanks(data: Any, at: int, stop: int) -> int:
    """Where the next token begins on this line."""
    while at < stop and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@inlined
def string_end(data: Any, at: int, stop: int) -> int:
    """Where the closing quote stands; -1: nowhere, or after an escape or control character."""
    while at < stop and data[at] != _QUOTE:
        if data[at] == _BACKSLASH or data[at] < 32:
            return -1
        at += 1
    return at if at < stop else -1


@inlined
def list_end(data: Any, at: int, stop: int) -> int:
    """Where a list ends that opens at ``at``; -1: nowhere, or other things than strings in it."""
    at = skip_blanks(data, at + 1, stop)
    if at < stop and data[at] == _END_BRACKET:
        return at + 1
    while at < stop and data[at] == _QUOTE:
        end = string_end(data, at + 1, stop)
        if end < 0:
            return -1
        at = skip_blanks(data, end + 1, stop)
        if at < stop and data[at] == _END_BRACKET:
            return at + 1
        if at >= stop or data[at] != _COMMA:
            return -1
        at = skip_blanks(data, at + 1, stop)
    return -1


def string_lists(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], valid: npt.NDArray[np.bool_]
) -> pa.Array:
    r"""Make a column of lists of strings.

    Parameters
    ----------
    text, offsets
        Each row's list as it is written, without escapes; nothing for a null.
    valid
        Which rows are no nulls.

    Examples
    --------
    >>> text = np.frombuffer(b'["a", "bc"][]', np.uint8)
    >>> string_lists(text, np.array([0, 11, 13, 13]), np.array([True, True, False])).to_pylist()
    [['a', 'bc'], [], None]
    """
    text = text[: offsets[-1]]
    members = np.count_nonzero(text == _QUOTE) // 2
    ends, rows = np.zeros(members + 1, np.int32), np.zeros(len(offsets), np.int32)
    out = np.empty(len(text), np.uint8)
    _split(text, offsets, ends, rows, out)
    values = pa.Array.from_buffers(
        pa.string(), members, [None, pa.py_buffer(ends), pa.py_buffer(out)]
    )
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    kind = pa.list_(pa.string())
    return pa.Array.from_buffers(kind, len(valid), [bits, pa.py_buffer(rows)], children=[values])


@jit
def _split(text: Any, offsets: Any, ends: Any, rows: Any, out: Any) -> None:
    """Copy what stands between quotes; where each string ends, and each row's last one."""
    member, size = 0, 0
    for row in range(len(offsets) - 1):
        at = offsets[row]
        while at < offsets[row + 1]:
            if text[at] == _QUOTE:
                at += 1
                while text[at] != _QUOTE:
                    out[size] = text[at]
                    size += 1
                    at += 1
                member += 1
                ends[member] = size
            at += 1
        rows[row + 1] = member
