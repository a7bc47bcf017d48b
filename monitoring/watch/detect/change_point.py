"""Since when, and by how much: the likelihood of every start; and what two samples differ by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChangePoint", "jump_at", "locate", "locate_rate", "rank_evidence"]

F64 = NDArray[np.float64]

_STEPS = (12.0, 7.0, 4.5, 3.0, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.22, 0.13, 0.07)
_ODDS = np.exp(np.array([sign * step for step in _STEPS for sign in (-1.0, 1.0)]))
_TAILS = (0.005, 0.995)
# A shift is looked at when its rows are at their most extreme, so they tell its start less sharply
# than rows that nobody chose: their likelihood counts for half in the interval of the start.
_LIKELIHOOD_SHARE = 0.5
_MOST = 40_000  # rows of the likelihood; more are put together


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a shift starts.

    Parameters
    ----------
    start, low, high
        Number of its first row: best estimate and 99 % credible interval.
    odds
        By which the odds are multiplied since.
    evidence
        Log likelihood ratio against no shift.
    """

    start: int
    low: int
    high: int
    odds: float
    evidence: float


def locate(y: F64, p: F64, band: float = 0.0, only_more: bool = False) -> ChangePoint:
    """Find the start of a shift that lasts to the end of some rows.

    Parameters
    ----------
    y, p
        Outcomes, 0 or 1, and the probabilities of 1 without a shift.
    band
        Half width, in log odds, of what counts as no shift.
    only_more
        Whether the outcomes can only have become more frequent.

    Examples
    --------
    >>> y = np.concatenate([np.zeros(50), np.ones(20)])
    >>> locate(y, np.full(70, 0.1)).start
    50
    """
    if not len(y):
        return ChangePoint(0, 0, 0, 1.0, 0.0)
    cuts = _cuts(len(y))
    grid = _ODDS[_ODDS > 1.0] if only_more else _ODDS
    after = np.empty((len(grid), len(cuts)))
    for k, odds in enumerate(grid):
        edge = np.exp(np.copysign(min(band, 0.5 * abs(np.log(odds))), np.log(odds)))
        gain = y * np.log(odds / edge) - np.log1p((odds - 1.0) * p) + np.log1p((edge - 1.0) * p)
        after[k] = np.cumsum(np.add.reduceat(gain, cuts)[::-1])[::-1]
    best = np.unravel_index(int(after.argmax()), after.shape)
    weight = np.exp(after - after.max()).sum(axis=0)
    low, high = _interval(np.exp(_LIKELIHOOD_SHARE * (after - after.max())).sum(axis=0))
    start = _middle_of_the_heaviest(weight, int(best[1]))
    return ChangePoint(
        int(cuts[start]),
        int(cuts[low]),
        int(cuts[high]),
        _odds_since(y[cuts[start] :], p[cuts[start] :]),
        float(after[best]),
    )


def locate_rate(
    y: F64, expected: F64, older: tuple[float, float] = (0.0, 0.0), band: float = 0.0
) -> ChangePoint:
    """Find since when outcomes come at another rate than before, whatever that was.

    The likelihood of a start is that at the best rates before it and after it.

    Parameters
    ----------
    y, expected
        Outcomes, and how many of them are expected at an equal rate.
    older
        The sums of both over rows before these.
    band
        Log ratio of the two rates from which on they differ.

    Examples
    --------
    >>> y = np.tile([1.0, 0.0], 500) * np.repeat([1.0, 0.0], [800, 200])
    >>> locate_rate(y, np.full(1000, 0.5), band=0.15).start
    800
    """
    cuts = _cuts(len(y))
    clicks, sizes = (np.add.reduceat(of, cuts)[::-1].cumsum()[::-1] for of in (y, expected))
    before = clicks[0] - clicks + older[0]
    earlier = np.maximum(sizes[0] - sizes + older[1], 1e-9)
    ratio = (clicks + 0.5) / sizes * earlier / (before + 0.5)
    gain = _gain(clicks, sizes) + _gain(before, earlier)
    gain -= _gain(clicks + before, sizes + earlier)
    gain[(np.abs(np.log(ratio)) < band) | (before < 5.0)] = -np.inf
    best = int(gain.argmax())
    if not np.isfinite(gain[best]):
        return ChangePoint(0, 0, 0, 1.0, 0.0)
    weight = np.exp(gain - gain[best])
    low, high = (int(cuts[i]) for i in _interval(np.exp(_LIKELIHOOD_SHARE * (gain - gain[best]))))
    start = int(cuts[_middle_of_the_heaviest(weight, best)])
    return ChangePoint(
        start, low, high, float(ratio[np.searchsorted(cuts, start)]), float(gain[best])
    )


def _gain(clicks: F64, expected: F64) -> F64:
    return np.asarray(np.where(clicks > 0, clicks * np.log(np.maximum(clicks, 1) / expected), 0.0))


def _cuts(rows: int) -> NDArray[np.int64]:
    """Where a shift may start: at any of the last rows, at every so many of older ones."""
    older = max(0, rows - _MOST // 2)
    width = -(-older // (_MOST // 2)) or 1
    return np.concatenate([np.arange(0, older, width), np.arange(older, rows)])


def _interval(weight: F64) -> tuple[int, int]:
    """Between which starts it lies, by 99 in 100; a start lies after the row before."""
    share = np.cumsum(weight) / weight.sum()
    low, high = (min(int(at), len(weight) - 1) for at in np.searchsorted(share, _TAILS))
    return max(low - 1, 0), high


def _middle_of_the_heaviest(weight: F64, fallback: int) -> int:
    """Median of the posterior."""
    share = np.cumsum(weight) / weight.sum()
    return int(np.searchsorted(share, 0.5)) if np.isfinite(share[-1]) else fallback


def _odds_since(y: F64, p: F64) -> float:
    """Odds ratio at which the expected outcomes are those that came, by bisection."""
    low, high, wanted = -14.0, 14.0, float(y.sum())
    for _ in range(50):
        middle = (low + high) / 2.0
        odds = np.exp(middle)
        if float((odds * p / (1.0 - p + odds * p)).sum()) < wanted:
            low = middle
        else:
            high = middle
    return float(np.clip(np.exp(low), 1e-4, 1e6))


def jump_at(values: F64, first: int, size: int) -> tuple[float, float]:
    """Difference of the means of so many values from one on and before it, and its evidence.

    Against the differences between stretches as long before (Student's likelihood).
    """
    means = values[first % size : first].reshape(-1, size).mean(axis=1)
    jump = float(values[first : first + size].mean() - means[-1])
    if len(means) < 5:
        return jump, 0.0
    usual = float((np.diff(means) ** 2).mean()) + 1e-12
    return jump, (len(means) - 1) / 2.0 * math.log1p(jump**2 / usual / (len(means) - 1))


def rank_evidence(a: F64, b: F64) -> float:
    """Half the square of the standardised rank sum of two samples (Mann and Whitney)."""
    n, m = len(a), len(b)
    ordered = np.sort(a)
    below, until = (np.searchsorted(ordered, b, side=side) for side in ("left", "right"))
    wins = float((below + until).sum()) / 2.0
    return (wins - n * m / 2.0) ** 2 / (2.0 * n * m * (n + m + 1) / 12.0)
