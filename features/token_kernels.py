"""The kernels that turn text and numbers into token hashes: over a column, and over one event.

Both call :func:`_text_token` for each value; that is what makes the vectoriser one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.hashing import code_hash, missing_hash, text_hash
from features.jit import inlined, jit
from features.transforms import (
    CATEGORY,
    NO_VALUE,
    NOT_A_NUMBER,
    NUMBER,
    TIME,
    UNSURE,
    number_code,
    read_number,
)

__all__ = [
    "AS_CATEGORY",
    "AS_MISSING",
    "GOOD",
    "REJECT",
    "SEPARATOR",
    "UNSURE",
    "WRONG",
    "hash_event_texts",
    "hash_number_column",
    "hash_text_column",
]

REJECT, AS_MISSING, AS_CATEGORY = 0, 1, 2
"""What a text means where a number is declared."""

GOOD, WRONG = 0, 1
"""Status of a value; WRONG is a text where a number is declared, UNSURE as in transforms."""

SEPARATOR = 0x1F
"""Stands between the values of one event (ASCII unit separator)."""


@inlined
def number_token(
    kind: int, value: float, seed: np.uint64, edges: NDArray[np.float64], low: int, high: int
) -> np.uint64:
    """Token hash of a number; NaN is missing."""
    if value != value:
        return missing_hash(seed)
    return code_hash(number_code(kind, value, edges, low, high), seed)


@inlined
def wrong_token(
    on_text: int, data: NDArray[np.uint8], low: int, high: int, seed: np.uint64
) -> tuple[int, np.uint64]:
    """Token hash of a text where a number is declared, by the field's ``text`` setting."""
    if on_text == AS_CATEGORY:
        return GOOD, text_hash(data, low, high, seed)
    return (GOOD if on_text == AS_MISSING else WRONG), missing_hash(seed)


@inlined
def _text_token(
    kind: int,
    on_text: int,
    data: NDArray[np.uint8],
    low: int,
    high: int,
    seed: np.uint64,
    edges: NDArray[np.float64],
    edge_low: int,
    edge_high: int,
) -> tuple[int, np.uint64]:
    if low == high:
        return GOOD, missing_hash(seed)
    if kind == CATEGORY:
        return GOOD, text_hash(data, low, high, seed)
    found, value = read_number(data, low, high)
    if found == NUMBER:
        return GOOD, number_token(kind, value, seed, edges, edge_low, edge_high)
    if found == NOT_A_NUMBER:
        return wrong_token(on_text, data, low, high, seed)
    return (GOOD if found == NO_VALUE else UNSURE), missing_hash(seed)


@inlined
def _is_null(validity: NDArray[np.uint8], bit: int) -> bool:
    return len(validity) > 0 and not (validity[bit >> 3] >> (bit & 7)) & 1


@inlined
def _hash_categories(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    validity: NDArray[np.uint8],
    first_bit: int,
    seed: np.uint64,
    out: NDArray[np.uint64],
) -> None:
    """:func:`_text_token` of every category: a loop of its own runs at twice the speed."""
    missing = missing_hash(seed)
    for i in range(len(offsets) - 1):
        low, high = offsets[i], offsets[i + 1]
        absent = low == high or _is_null(validity, i + first_bit)
        out[i] = missing if absent else text_hash(data, low, high, seed)


@jit
def hash_text_column(
    kind: int,
    on_text: int,
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    validity: NDArray[np.uint8],
    first_bit: int,
    seed: np.uint64,
    edges: NDArray[np.float64],
    edge_low: int,
    edge_high: int,
    out: NDArray[np.uint64],
    status: NDArray[np.uint8],
) -> None:
    """Hash an Arrow string column.

    Parameters
    ----------
    data, offsets, validity, first_bit
        Arrow's buffers; offsets has n + 1 members; an empty validity means no nulls.
    seed, edges, edge_low, edge_high
        Of the field.
    out, status
        n token hashes and n statuses, written.
    """
    if kind == CATEGORY:
        _hash_categories(data, offsets, validity, first_bit, seed, out)
        status[:] = GOOD
        return
    for i in range(len(offsets) - 1):
        low, high = offsets[i], offsets[i + 1]
        if _is_null(validity, i + first_bit):
            high = low
        status[i], out[i] = _text_token(
            kind, on_text, data, low, high, seed, edges, edge_low, edge_high
        )


@jit
def hash_number_column(
    kind: int,
    values: NDArray[np.float64],
    live_from: int,
    seed: np.uint64,
    edges: NDArray[np.float64],
    edge_low: int,
    edge_high: int,
    out: NDArray[np.uint64],
) -> None:
    """Hash a column of numbers, NaN where missing; rows before ``live_from`` see no edges."""
    for i in range(len(values)):
        top = edge_low if i < live_from else edge_high
        out[i] = number_token(kind, values[i], seed, edges, edge_low, top)


@jit
def hash_event_texts(
    data: NDArray[np.uint8],
    kinds: NDArray[np.int64],
    on_text: NDArray[np.int64],
    seeds: NDArray[np.uint64],
    edges: NDArray[np.float64],
    spans: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> int:
    """Hash one event, the texts of all its fields but times joined by :data:`SEPARATOR`.

    Tokens of times are left as they are.

    Returns
    -------
    int
        0, or 1 if the event wants the careful way: a separator within a value, a number
        that Python must read, a text where a number is declared.
    """
    field = 0
    low = 0
    n = len(data)
    for at in range(n + 1):
        if at < n and data[at] != SEPARATOR:
            continue
        while field < len(kinds) and kinds[field] == TIME:
            field += 1
        if field == len(kinds):
            return 1
        found, out[field] = _text_token(
            kinds[field], on_text[field], data, low, at, seeds[field], edges,
            spans[field], spans[field + 1],
        )  # fmt: skip
        if found != GOOD:
            return 1
        field += 1
        low = at + 1
    while field < len(kinds) and kinds[field] == TIME:
        field += 1
    return 0 if field == len(kinds) else 1
