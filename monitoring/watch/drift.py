"""Drift: how far a distribution has moved from that of the reference.

These are effect sizes, not tests. With millions of rows every test finds a difference; what matters
is its size.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.watch.categorical import MISSING
from monitoring.watch.slices import OTHER

__all__ = ["F64", "LARGE", "MODERATE", "Drift", "drift_of", "field_drift", "prediction_drift"]

F64 = NDArray[np.float64]
_CELLS = 50
_REST = "(rest)"
_HALF = 0.5
_DECILES = 10
MODERATE, LARGE = 0.1, 0.25


class Drift(msgspec.Struct, frozen=True):
    """A distribution now against the reference.

    Parameters
    ----------
    psi
        Population stability index: sum of (now - before) * ln(now / before) over the cells'
        shares, half a row added to each cell. Commonly: below 0.1 no change, above 0.25 a large
        one.
    psi_noise
        What it would be on average if nothing had changed: (cells - 1) * (1/n + 1/m).
    jensen_shannon
        Distance, 0 (equal) to 1 (nothing in common): square root of the divergence in bits.
    level
        ``none``, ``moderate`` or ``large``, by ``psi - psi_noise``.
    cell, before, after
        The cell that has moved most, and its share before and after.
    missing_before, missing_after
        Share of rows without a value.
    """

    psi: float
    psi_noise: float
    jensen_shannon: float
    level: str
    cell: str
    before: float
    after: float
    missing_before: float | None = None
    missing_after: float | None = None


def drift_of(names: list[str], before: F64, after: F64) -> Drift | None:
    """Compare counts of the same cells; ``None`` if a side is empty.

    Examples
    --------
    >>> moved = drift_of(["a", "b"], np.array([500.0, 500.0]), np.array([900.0, 100.0]))
    >>> round(moved.psi, 2), round(moved.jensen_shannon, 2), moved.level, moved.cell
    (0.88, 0.38, 'large', 'b')
    """
    n, m = before.sum(), after.sum()
    if not n > 0 or not m > 0:
        return None
    p, q = (before + _HALF) / (n + _HALF * len(before)), (after + _HALF) / (m + _HALF * len(after))
    moves = (q - p) * np.log(q / p)
    noise = (len(names) - 1) * (1.0 / n + 1.0 / m)
    size, most = float(moves.sum() - noise), int(np.argmax(moves))
    return Drift(
        psi=float(moves.sum()),
        psi_noise=float(noise),
        jensen_shannon=_jensen_shannon(before / n, after / m),
        level="none" if size < MODERATE else "moderate" if size < LARGE else "large",
        cell=names[most],
        before=float(before[most] / n),
        after=float(after[most] / m),
    )


def field_drift(
    before: Mapping[str, float], after: Mapping[str, float], *, all_told: bool = True
) -> Drift | None:
    """Compare a field's counts by value: the reference's most frequent ones, and all others.

    A field that goes missing shows as its cell ``(missing)``.

    Parameters
    ----------
    before, after
        Rows by value, ``(other)`` those of values without a count of their own.
    all_told
        Whether a value that ``after`` does not name had no row there; if not, it may be among
        the others, and is compared as one of them.
    """
    order = sorted(before, key=lambda value: (-before[value], value))
    named = [value for value in order if value != OTHER and (all_told or value in after)]
    cells = list(dict.fromkeys([MISSING, *named]))[:_CELLS]
    drift = drift_of([*cells, _REST], _shares(before, cells), _shares(after, cells))
    if drift is None:
        return None
    return msgspec.structs.replace(
        drift,
        missing_before=before.get(MISSING, 0.0) / sum(before.values()),
        missing_after=after.get(MISSING, 0.0) / sum(after.values()),
    )


def prediction_drift(before: F64, after: F64) -> Drift | None:
    """Compare histograms of predictions in the reference's ten bins of equal mass."""
    total = before.sum()
    if not total > 0:
        return None
    middle = np.cumsum(before) - before / 2.0
    place = np.minimum((middle / total * _DECILES).astype(np.int64), _DECILES - 1)
    used = np.unique(place[before > 0])
    cell = np.minimum(np.searchsorted(used, place), len(used) - 1)
    shares = [np.bincount(cell, counts, len(used)).astype(float) for counts in (before, after)]
    return drift_of([f"decile {number + 1}" for number in used.tolist()], *shares)


def _shares(counts: Mapping[str, float], cells: list[str]) -> F64:
    rows = [counts.get(cell, 0.0) for cell in cells]
    return np.array([*rows, max(sum(counts.values()) - sum(rows), 0.0)])


def _jensen_shannon(p: F64, q: F64) -> float:
    middle = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum() / 2.0 for x in (p, q)]
    return float(np.sqrt(max(sum(halves), 0.0)))
