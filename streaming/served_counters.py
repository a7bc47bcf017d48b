"""Counters as they were served, read from the JSON that impressions carry."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.sources.json_columns import texts_of
from streaming.sources.json_keys import NUMBERS, Keys
from streaming.sources.json_scan import find_members

__all__ = ["served_matrix"]

_counters = msgspec.json.Decoder(dict[str, float])


def served_matrix(served: pa.BinaryArray, names: Sequence[str]) -> NDArray[np.float64]:
    """Counters by name, from the JSON that impressions carry.

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
    ends = offsets.astype(np.int64)
    data = np.frombuffer(served.buffers()[2] or b"", np.uint8)
    filled = served.is_valid().to_numpy(zero_copy_only=False)
    keys = Keys.of((), names, expect=NUMBERS)
    found = find_members(data, ends[:-1], ends[1:], filled, keys)
    assert found is not None
    found.size[:, ~found.plain] = 0
    texts = texts_of(data, found.begin.T.ravel(), found.size.T.ravel())
    numbers = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    out = np.array(numbers, np.float64).reshape(rows, len(names))
    for i in np.flatnonzero(filled & ~found.plain).tolist():
        values = _counters.decode(served[i].as_py())
        out[i] = [values.get(name, np.nan) for name in names]
    return out
