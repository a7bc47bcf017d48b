"""How sure a prediction is: the standard deviation of its logit, from the per-coordinate counts.

McMahan et al. (KDD 2013, section 4.5) note that a coordinate's learning rate
``eta = alpha / (beta + sqrt(n))`` says how much is known of it, and that the sum of the rates of
an event's features tells how far its prediction can still move. We read the same rates as
variances: FTRL-Proximal's quadratic term (Algorithm 1) is ``1/2 w^2 / eta``, with
``1 / eta = (beta + sqrt(n)) / alpha + l2``, which is the log density of a normal distribution of
variance eta. So an expert's logit, a sum of weights, has variance ``sum(eta)``; the experts learn
from the same events, so their errors are taken as one: their standard deviations are mixed as
their logits are, and scaled by the calibration.

On the simulated market this is of the size of the error against the true logit (root mean square
1.0, predicted 1.2) and grows with it; ``1 / (1/eta + n)``, which takes n for Fisher information,
was farther off, and told rare from known less well: with many overlapping crosses the weights
are not independent, as it takes them to be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from features.jit import inlined, jit
from learning.buckets import expand_event
from learning.click_learner import ClickLearner
from learning.steps import ask_for

__all__ = ["uncertainty"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64S = NDArray[np.uint64]


def uncertainty(learner: ClickLearner, hashed: Hashed) -> F64:
    """Standard deviations of the logits of some events.

    Parameters
    ----------
    learner
        That has learned, or predicted, at least once.
    hashed
        Token hashes of n events.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> model = ClickLearner()
    >>> for _ in range(100):
    ...     model.learn_one({"ad": "known", "site": "news"}, False)
    >>> known, new = (
    ...     uncertainty(model, model.hash_event({"ad": ad, "site": "news"}))
    ...     for ad in ("known", "new")
    ... )
    >>> bool(known < new)
    True
    """
    out = np.empty(hashed.rows)
    if hashed.rows:
        _deviations_of(*learner.weights_for(hashed).arguments(hashed), out)
    return out


@jit
def _deviations(
    tokens: U64S, starts: I64, rows: int, fields: int, crosses: NDArray[np.int32], shifts: U64S,
    most: tuple[int, int], field_table: F64, cross_table: F64, experts: tuple[int, int],
    field_rates: F64, cross_rates: F64, mixture: F64, calibration: F64, out: F64,
) -> None:  # fmt: skip
    """Standard deviation of each event's logit; arguments as for ``predict_events``."""
    k, kc = experts
    sizes = np.array([2 * k, 2 * kc], np.int64)
    slots, crossed = np.empty(most[0], np.int64), np.empty(most[1], np.int64)
    lanes, crossed_lanes = np.empty(most[0] * k), np.empty(most[1] * kc)
    variance = np.empty(k)
    for row in range(rows):
        f, c = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes, slots, 0, crossed, 0
        )
        ask_for(field_table, slots, 0, f, sizes[0])
        ask_for(cross_table, crossed, 0, c, sizes[1])
        variance[:] = 0.0
        _add_variances(field_table, slots, f, k, field_rates, lanes, variance)
        _add_variances(cross_table, crossed, c, kc, cross_rates, crossed_lanes, variance)
        total = 0.0
        for e in range(k):
            total += mixture[e] * math.sqrt(variance[e])
        out[row] = abs(calibration[0]) * total


_deviations_of: Any = _deviations  # mypy cannot count the arguments of a starred call


@inlined
def _add_variances(
    table: F64, slots: I64, count: int, k: int, rates: F64, lanes: F64, variance: F64
) -> None:
    """Add the learning rates of some buckets to each expert's variance.

    In stages, as :mod:`learning.steps` does it: the second one vectorises.
    """
    for j in range(count):
        at = np.uint64(slots[j]) + np.uint64(k)
        for e in range(k):
            lanes[j * k + e] = table[at + np.uint64(e)]
    inverse, stiffness = rates[0], rates[1]
    for m in range(count * k):
        lanes[m] = 1.0 / (math.sqrt(lanes[m]) * inverse[m] + stiffness[m])
    for j in range(count):
        for e in range(k):
            variance[e] += lanes[j * k + e]
