"""The order of candidates by expected value, exploration, and the propensity of what is shown.

The expected value of a candidate is its bid times its click probability. Slots are filled one
after the other, each by a fresh decision among the candidates not yet shown; so a propensity is
the chance of a candidate to get that slot *given the slots before it*, and those of a slot sum
to 1.

- ``none``: the candidate of the highest expected value; its propensity is 1.
- ``epsilon``: that one, or, with probability epsilon, any one, all alike.
- ``thompson``: every logit is drawn from a normal distribution around the predicted one, with its
  standard deviation, and the highest drawn value is shown (Thompson 1933; Chapelle and Li 2011).

The propensity under Thompson sampling is an integral over the highest value, computed by
quadrature (:func:`first_chances`), not estimated by more draws: it is the same for every seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from serving.rank_bodies import Explore

__all__ = ["Ranking", "first_chances", "rank"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_NO_BID = -1e4
"""Logarithm that stands for that of a bid of 0: below every other, and still ordered."""
_LEAST_SD = 1e-6
_LOWEST, _HIGHEST = -6.5, 7.0  # standard deviations beyond which a winner is not looked for
_TOLERANCE = 2e-7  # of a cell; larger: small chances are less exact; smaller: slower
_NARROW = 1e-9
_DEEPEST, _MOST_LOOKS = 60, 4000


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is shown, and in which order the rest follows.

    Parameters
    ----------
    order
        int64 (n,): the shown candidates slot by slot, then the others by expected value.
    value
        float64 (n,), by candidate: bid times probability.
    propensity
        float64 (slots, n), by slot and candidate; each row sums to 1.
    """

    order: I64
    value: F64
    propensity: F64


def rank(
    probability: F64,
    logit: F64,
    sd: F64,
    bids: F64,
    explore: Explore,
    rng: np.random.Generator,
    slots: int = 1,
) -> Ranking:
    """Order candidates.

    Parameters
    ----------
    probability, logit, sd
        float64 (n,): as predicted, and the logit's standard deviation.
    bids
        float64 (n,), 0 or more: what a click is worth. Candidates without bid come last, by
        probability.
    explore
        How to choose.
    rng
        The only randomness; not asked under ``none``.
    slots
        How many are shown, 1 to n.

    Examples
    --------
    >>> p = np.array([0.02, 0.05, 0.04])
    >>> ranked = rank(p, np.log(p / (1 - p)), np.ones(3), np.array([9.0, 1.0, 2.0]),
    ...               Explore("none"), np.random.default_rng(7))
    >>> ranked.order.tolist(), ranked.propensity.tolist()
    ([0, 2, 1], [[1.0, 0.0, 0.0]])
    """
    with np.errstate(divide="ignore"):
        log_bid = np.where(bids > 0.0, np.log(bids), _NO_BID)
    best = np.argsort(-(log_bid + _log_sigmoid(logit)), kind="stable")
    deviation = np.maximum(explore.width * sd, _LEAST_SD)
    propensity = np.zeros((slots, len(bids)))
    shown: list[int] = []
    left = best  # not yet shown, by expected value
    for slot in range(slots):
        if explore.kind == "thompson":
            chance, at = _thompson(log_bid[left], logit[left], deviation[left], rng)
        else:
            epsilon = explore.epsilon if explore.kind == "epsilon" else 0.0
            chance, at = _greedy(len(left), epsilon, rng)
        propensity[slot, left] = chance
        shown.append(int(left[at]))
        left = np.delete(left, at)
    order = np.concatenate([np.array(shown, np.int64), left])
    return Ranking(order, bids * probability, propensity)


def _greedy(count: int, epsilon: float, rng: np.random.Generator) -> tuple[F64, int]:
    """Chances of candidates sorted by value, and which one is taken."""
    chance = np.full(count, epsilon / count)
    chance[0] += 1.0 - epsilon
    if epsilon == 0.0 or rng.random() >= epsilon:
        return chance, 0
    return chance, int(rng.integers(count))


def _thompson(log_bid: F64, logit: F64, sd: F64, rng: np.random.Generator) -> tuple[F64, int]:
    """Chances of some candidates, and which one is taken."""
    drawn = logit + sd * rng.standard_normal(len(logit))
    at = int(np.argmax(log_bid + _log_sigmoid(drawn)))
    chance = first_chances(log_bid, logit, sd)
    if chance[at] <= 0.0:  # beyond what the quadrature looks at: under 1e-9
        at = int(rng.choice(len(chance), p=chance))
    return chance, at


def _log_sigmoid(logit: F64) -> F64:
    return -np.logaddexp(0.0, -logit)


def first_chances(log_bid: F64, logit: F64, sd: F64) -> F64:
    """Chance of each candidate to have the highest value, each logit drawn from a normal.

    With F_i the distribution function of candidate i's log value and G the product of all, the
    chance of i is the integral of G with respect to log F_i. The axis is cut into cells; in a cell,
    the growth of G is shared out in proportion to each one's growth of log F_i, so the chances sum
    to 1 whatever the cells are. A cell is halved until that changes no share by more than 2e-7; the
    chances are within 1e-5.

    Parameters
    ----------
    log_bid
        float64 (n,): logarithms of the bids.
    logit, sd
        float64 (n,): means and standard deviations.

    Returns
    -------
    ndarray of float64, shape (n,)
        They sum to 1; one that is under 1e-9 may be given as 0.

    Examples
    --------
    >>> same = np.zeros(4)
    >>> first_chances(same, same, np.ones(4)).round(6).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    sd = np.maximum(sd, _LEAST_SD)
    log_bid = log_bid - log_bid.max()
    low = (log_bid + _log_sigmoid(logit + _LOWEST * sd)).max()
    low -= _apart(low)  # one whose click is sure has its whole rise at the value of its bid,
    reach = log_bid + _log_sigmoid(logit + _HIGHEST * sd)
    able = np.flatnonzero(reach >= low)
    chance = np.zeros(len(logit))
    if len(able) == 1:
        chance[able] = 1.0
        return chance
    high = reach.max() + _apart(reach.max())  # which may be either end
    out = _integrate(low, high, log_bid[able], logit[able], sd[able], _TABLE)
    if not out.sum() > 0.0:  # clicks are so certain that no value differs from its bid
        out = np.ones(len(able))
    chance[able] = out / out.sum()
    return chance


def _apart(log_value: float) -> float:
    """How far beyond a log value rounding cannot bring it back."""
    return 2 * _NARROW * max(1.0, abs(log_value))


@jit
def _log_normal_cdf(x: float) -> float:
    """Logarithm of the standard normal distribution function, also far out."""
    if x > 5.0:
        return math.log1p(-0.5 * math.erfc(x * 0.7071067811865476))
    if x > -6.0:
        return math.log(0.5 * math.erfc(-x * 0.7071067811865476))
    square = 1.0 / (x * x)
    tail = 1.0 - square * (1.0 - square * (3.0 - 15.0 * square))
    return -0.5 * x * x - math.log(-x * 2.5066282746310002) + math.log(tail)


_SPAN, _STEPS = 9, 1024
_TABLE = np.array([_log_normal_cdf(i / _STEPS - _SPAN) for i in range(2 * _SPAN * _STEPS + 1)])
"""Of :func:`_log_normal_cdf`, whose logarithms are dear; straight lines between are 2e-7 off."""


@inlined
def _looked_up(x: float, table: F64) -> float:
    at = (x + _SPAN) * _STEPS
    if at >= len(table) - 1:
        return 0.0
    if at < 0.0:
        return _log_normal_cdf(x)
    i = int(at)
    value: float = table[i] + (at - i) * (table[i + 1] - table[i])
    return value


@jit
def _log_cdfs(at: float, per_bid: F64, logit: F64, stiff: F64, table: F64, out: F64) -> float:
    """Write log F of every candidate at a log value; their sum."""
    total, value = 0.0, math.exp(at)
    for i in range(len(logit)):
        needed = value * per_bid[i]  # the probability that gives this value
        if needed >= 1.0:
            out[i] = 0.0
            continue
        out[i] = _looked_up((math.log(needed / (1.0 - needed)) - logit[i]) * stiff[i], table)
        total += out[i]
    return total


@jit
def _integrate(low: float, high: float, log_bid: F64, logit: F64, sd: F64, table: F64) -> F64:
    """Chances of the candidates, up to a common factor near 1; the highest log bid is 0.

    From left to right; a cell is halved until its halves say nearly the same as it does.
    """
    n = len(logit)
    per_bid, stiff = np.exp(-log_bid), 1.0 / sd
    left, middle, out = np.empty(n), np.empty(n), np.zeros(n)  # log F of all candidates
    ends = np.empty((_DEEPEST + 2, n))  # right ends of the cells that wait, the nearest last
    at, total = np.empty(_DEEPEST + 2), np.empty(_DEEPEST + 2)  # where, and log G
    here, total_here = low, _log_cdfs(low, per_bid, logit, stiff, table, left)
    at[0], total[0] = high, _log_cdfs(high, per_bid, logit, stiff, table, ends[0])
    deep, looks = 0, 0
    while deep >= 0:
        half = 0.5 * (here + at[deep])
        total_half = _log_cdfs(half, per_bid, logit, stiff, table, middle)
        whole = _mean(total_here, total[deep])
        first, second = _mean(total_here, total_half), _mean(total_half, total[deep])
        looks += 1
        wrong = _unseen(total_here, total_half, total[deep])
        for i in range(n):
            finer = first * (middle[i] - left[i]) + second * (ends[deep, i] - middle[i])
            wrong = max(wrong, abs(finer - whole * (ends[deep, i] - left[i])))
        narrow = at[deep] - here < _NARROW * max(1.0, abs(here))
        if wrong >= _TOLERANCE and not narrow and deep < _DEEPEST and looks < _MOST_LOOKS:
            deep += 1
            ends[deep], at[deep], total[deep] = middle, half, total_half
            continue
        for i in range(n):
            out[i] += first * (middle[i] - left[i]) + second * (ends[deep, i] - middle[i])
            left[i] = ends[deep, i]
        here, total_here = at[deep], total[deep]
        deep -= 1
    return out


@inlined
def _unseen(low: float, half: float, high: float) -> float:
    """How wrong a cell may be where halving shows little: a steep one, or one grown in a half."""
    grown = high - low
    shown = grown < 3.0 and min(half - low, high - half) > 0.2 * grown
    bound: float = 0.0 if shown else (math.exp(high) - math.exp(low)) * min(grown, 8.0)
    return bound


@inlined
def _mean(low: float, high: float) -> float:
    """Mean of G over a cell in which log G rises evenly from one value to another."""
    mean = math.exp(low)
    if high - low > 1e-12:
        mean = (math.exp(high) - math.exp(low)) / (high - low)
    return mean
