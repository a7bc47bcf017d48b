"""Kernels of slots, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.jit import jit

__all__ = ["first_seen", "put_slots", "renamed"]

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]


@jit
def renamed(slots: I32, names: I32, fields: I64) -> None:
    """Replace each slot of some fields by its new name."""
    for i in range(len(slots)):
        for f in fields:
            slots[i, f] = names[slots[i, f]]


@jit
def first_seen(codes: I32, known: I32, new: I32) -> int:
    """Codes that are not known yet, in order of their first row; how many."""
    count = 0
    for i in range(len(codes)):
        code = codes[i]
        if known[code] == -1:
            known[code] = -2
            new[count] = code
            count += 1
    return count


@jit
def put_slots(codes: I32, slots: I32, out: I32, field: int) -> None:
    """The slot of each row's code, into a column of ``out``."""
    for i in range(len(codes)):
        out[i, field] = slots[codes[i]]
