"""From a value to its token: reading a number, and the bucket a number falls into.

One definition, called by the kernel over columns and by the one over a single event, so both
give the same bits. Kinds are small integers because kernels know no strings.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined

__all__ = [
    "CATEGORY",
    "KINDS",
    "LOG2",
    "LOG_SQUARED",
    "NOT_A_NUMBER",
    "NO_VALUE",
    "NUMBER",
    "QUANTILE",
    "TIME",
    "UNSURE",
    "WARMING",
    "log_squared_thresholds",
    "number_code",
    "read_number",
]

CATEGORY, LOG_SQUARED, LOG2, QUANTILE, TIME = 0, 1, 2, 3, 4
KINDS = {
    "category": CATEGORY,
    "categories": CATEGORY,
    "log_squared": LOG_SQUARED,
    "log2": LOG2,
    "quantile": QUANTILE,
    "hour_of_day": TIME,
    "day_of_week": TIME,
}

NUMBER, NO_VALUE, NOT_A_NUMBER, UNSURE = 0, 1, 2, 3
"""What :func:`read_number` found; UNSURE means: ask Python's ``float``."""

WARMING = -1
"""Token code of a quantile field whose edges are not learned yet."""

_EXACT = 2.0**53
_SMALL = 1024
_POWERS = np.array([10.0**i for i in range(23)])
_MINUS, _PLUS, _DOT, _ZERO, _NINE = 45, 43, 46, 48, 57


def _thresholds(top: float) -> NDArray[np.float64]:
    with localcontext() as context:
        context.prec = 40
        last = int(math.log(top) ** 2)
        return np.array([float(Decimal(b).sqrt().exp()) for b in range(1, last + 1)])


@cache
def log_squared_thresholds() -> NDArray[np.float64]:
    """Thresholds ``exp(sqrt(b))``, b = 1, 2, ... up to 2**53, correctly rounded.

    A table rather than ``floor(log(v)**2)``: logarithms differ in the last bit from one C
    library to the next, and a bucket must not.
    """
    return _thresholds(_EXACT)


_SMALL_CODES = np.searchsorted(_thresholds(float(_SMALL)), np.arange(_SMALL), side="right")
"""Numbers of thresholds at or below each small integer: most counts are small."""


@inlined
def read_number(data: NDArray[np.uint8], low: int, high: int) -> tuple[int, float]:
    """Read ``data[low:high]`` as a decimal number, exactly rounded.

    Plain decimals of up to 15 digits are read here (one exact product or quotient: Clinger
    1990); anything else that might be a number is left to Python's ``float``.

    Returns
    -------
    status
        ``NUMBER``, ``NO_VALUE`` (empty text), ``NOT_A_NUMBER`` or ``UNSURE``.
    value
        The number, where status is ``NUMBER``.
    """
    if low == high:
        return NO_VALUE, 0.0
    at = low
    negative = data[at] == _MINUS
    if negative or data[at] == _PLUS:
        at += 1
    mantissa = 0
    digits = 0
    decimals = 0
    seen_dot = False
    while at < high:
        c = data[at]
        if _ZERO <= c <= _NINE:
            mantissa = mantissa * 10 + (int(c) - _ZERO)
            digits += 1
            if digits > 15:
                return UNSURE, 0.0
            if seen_dot:
                decimals += 1
        elif c == _DOT and not seen_dot:
            seen_dot = True
        elif c == 35 or c > 127:  # '#' and non-ASCII never stand in a number
            return NOT_A_NUMBER, 0.0
        else:
            return UNSURE, 0.0
        at += 1
    if digits == 0:
        return UNSURE, 0.0
    value = float(mantissa) / _POWERS[decimals]
    return NUMBER, -value if negative else value


@inlined
def _floor_code(value: float) -> int:
    return int(np.floor(max(value, -_EXACT)))


@inlined
def number_code(kind: int, value: float, edges: NDArray[np.float64], low: int, high: int) -> int:
    """Bucket of a number (not NaN) under a transform.

    Parameters
    ----------
    kind
        ``LOG_SQUARED``, ``LOG2`` or ``QUANTILE``.
    value
        Any float64 but NaN; infinities fall into the outermost buckets.
    edges
        Thresholds, of which ``edges[low:high]`` are this field's (none and ``QUANTILE``:
        still learning, one token for all).
    """
    if kind == QUANTILE and low == high:
        return WARMING
    if kind == LOG2:
        if value < 2.0:
            return _floor_code(value)
        return int(math.frexp(min(value, _EXACT))[1])
    if kind == LOG_SQUARED:
        if value < 3.0:
            return _floor_code(value)
        if value < _SMALL and value == math.floor(value):
            return int(_SMALL_CODES[int(value)]) + 3
    base = low
    while low < high:  # the number of edges <= value
        middle = (low + high) >> 1
        if edges[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - base + (3 if kind == LOG_SQUARED else 0)
