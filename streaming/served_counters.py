"""The counters that impressions carry: from JSON objects to a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.jit import jit
from streaming.example_scan import named_number
from streaming.sources.json_scan import texts_of

__all__ = ["served_matrix"]

F64 = NDArray[np.float64]
_strictly = msgspec.json.Decoder(dict[str, float]).decode


def served_matrix(served: pa.BinaryArray, names: Sequence[str]) -> F64:
    """Values by name.

    Parameters
    ----------
    served
        JSON objects of numbers, n rows, null where there is none: the column
        :data:`streaming.prepare.SERVED`.
    names
        Which of them are wanted.

    Returns
    -------
    ndarray
        float64 (n, names), NaN where a row lacks it.

    Raises
    ------
    msgspec.DecodeError
        A row holds something else.

    Examples
    --------
    >>> served_matrix(pa.array([b'{"a":1.5,"b":2}', None], pa.binary()), ["b", "c"])
    array([[ 2., nan],
           [nan, nan]])
    """
    rows = len(served)
    offsets = np.frombuffer(served.buffers()[1], np.int32)[served.offset :][: rows + 1]
    data = np.frombuffer(served.buffers()[2] or b"", np.uint8)
    filled = served.is_valid().to_numpy(zero_copy_only=False)
    begin = offsets[:-1].astype(np.int64)
    end = np.where(filled, offsets[1:], begin)
    words = [name.encode() for name in names]
    text = np.frombuffer(b"".join(words), np.uint8)
    at_word = np.cumsum([0, *map(len, words)], dtype=np.int64)
    spans = np.zeros((2, rows, len(names)), np.int64)
    plain = np.ones(rows, np.bool_)
    _find(data, begin, end, text, at_word, spans, plain)
    texts = texts_of(data, spans[0].ravel(), spans[1].ravel())
    numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    out = np.array(numbers, np.float64).reshape(rows, len(names))
    for i in np.flatnonzero(~plain).tolist():
        said = _strictly(served[i].as_py())
        out[i] = [said.get(name, np.nan) for name in names]
    return out


@jit
def _find(data: Any, begin: Any, end: Any, text: Any, at_word: Any, spans: Any, plain: Any) -> None:
    for row in range(len(begin)):
        if begin[row] < end[row]:
            plain[row] = _find_row(data, begin[row], end[row], text, at_word, spans[:, row])
            if not plain[row]:
                spans[:, row] = 0


@jit
def _find_row(data: Any, at: int, stop: int, text: Any, at_word: Any, spans: Any) -> bool:
    """Find the numbers of one object; false if it is not plain, or says one twice."""
    words, last = len(at_word) - 1, -1
    at += 1
    while at > 0:
        start, end, value, value_end, at = named_number(data, at, stop)
        if at < 0:
            return False
        for step in range(words):  # all write them in one order
            word = (last + 1 + step) % words
            if _same(data, start, end, text, at_word[word], at_word[word + 1]):
                if spans[1, word] > 0:
                    return False
                spans[0, word], spans[1, word], last = value, value_end, word
                break
    return True


@jit
def _same(data: Any, start: int, end: int, text: Any, low: int, high: int) -> bool:
    if end - start != high - low:
        return False
    same = True
    for i in range(end - start):
        same &= data[start + i] == text[low + i]
    return same
