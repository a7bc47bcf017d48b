"""The arithmetic of a fading counter: integer weights in panes of one half-life each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["PANES", "UNIT", "decayed", "pane", "weight", "weights_at"]

PANES = 8
"""Panes that a read looks back on: older views weigh less than 1/128 and count as nothing."""
UNIT = 4096
"""Weight of an event at the very start of a pane; at its end it is twice that."""
_NEAR_HALF = 1e-6


def pane(at_ms: int, half_life_ms: int) -> int:
    """Give the number of the pane a time falls in.

    Examples
    --------
    >>> pane(7_200_000, 3_600_000)
    2
    """
    return at_ms // half_life_ms


def weight(at_ms: int, half_life_ms: int) -> int:
    """Give the integer weight of an event within its pane, from ``UNIT`` to twice that.

    Examples
    --------
    >>> weight(0, 3_600_000), weight(1_800_000, 3_600_000)
    (4096, 5793)
    """
    exact: float = UNIT * 2.0 ** ((at_ms % half_life_ms) / half_life_ms)
    return round(exact)


def decayed(sums: Mapping[int, int], at_ms: int, half_life_ms: int) -> float:
    """Read a counter at a time: about the sum of ``2**-((at_ms - t) / half_life_ms)``.

    Parameters
    ----------
    sums
        Sum of weights by pane.
    at_ms
        When. Panes after its own, and more than ``PANES - 1`` before it, count as nothing.

    Examples
    --------
    >>> decayed({0: 4096}, 3_600_000, 3_600_000)
    0.5
    """
    now = pane(at_ms, half_life_ms)
    total = 0.0
    for number in range(now - PANES + 1, now + 1):  # oldest first: one order, the same bits
        total += sums.get(number, 0) * 2.0 ** (number - now)
    return total / weight(at_ms, half_life_ms)


def weights_at(times: NDArray[np.int64], half_lives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weigh events at some times: :func:`weight` of each, to the bit.

    Parameters
    ----------
    times, half_lives
        int64 milliseconds, of shapes that go together.

    Examples
    --------
    >>> weights_at(np.array([0, 1_800_000]), np.array(3_600_000)).tolist()
    [4096, 5793]
    """
    times, half_lives = np.broadcast_arrays(times, half_lives)
    exact = UNIT * np.exp2((times % half_lives) / half_lives)
    out: NDArray[np.int64] = np.rint(exact).astype(np.int64)
    # powers differ by an ulp from library to library: near a tie, only Python's decides
    unsure = np.abs(exact - np.floor(exact) - 0.5) < _NEAR_HALF
    for at in zip(*np.nonzero(unsure), strict=True):
        out[at] = weight(int(times[at]), int(half_lives[at]))
    return out
