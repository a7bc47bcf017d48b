"""Predictions and how sure they are, in one walk through the weights.

Half of what a prediction costs is fetching buckets from memory, and the uncertainty is made of the
very buckets that the logit is made of (:mod:`learning.uncertainty`). The bits are those of the two
computed one after the other: ``tests/laws/test_serving_bits.py``.
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
from learning.mixing import calibrated, mix
from learning.steps import ask_for, read_logits

__all__ = ["logits_and_deviations"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64S = NDArray[np.uint64]


def logits_and_deviations(learner: ClickLearner, hashed: Hashed) -> tuple[F64, F64]:
    """Logits of some events and the standard deviations of these logits.

    Parameters
    ----------
    learner
        With weights.
    hashed
        Token hashes of n events.

    Returns
    -------
    tuple of ndarray of float64, shape (n,)
        As ``learner.predict_hashed`` and ``learning.uncertainty.uncertainty`` give them.

    Examples
    --------
    >>> model = ClickLearner()
    >>> model.learn_one({"ad": "a"}, True)
    >>> hashed = model.hash_event({"ad": "a"})
    >>> bool(logits_and_deviations(model, hashed)[0] == model.predict_hashed(hashed))
    True
    """
    weights = learner.weights
    assert weights is not None  # a learner that serves was made by a spec
    logits, deviations = np.empty(hashed.rows), np.empty(hashed.rows)
    if hashed.rows:
        _predict_of(*weights.arguments(hashed), logits, deviations)
    return logits, deviations


@jit
def _predict(
    tokens: U64S, starts: I64, rows: int, fields: int, crosses: NDArray[np.int32], shifts: U64S,
    most: tuple[int, int], field_table: F64, cross_table: F64, experts: tuple[int, int],
    field_rates: F64, cross_rates: F64, mixture: F64, calibration: F64, out: F64, unsure: F64,
) -> None:  # fmt: skip
    """Logit and deviation of each event; arguments as for ``learning.kernel.predict_events``."""
    k, kc = experts
    sizes = np.array([2 * k, 2 * kc], np.int64)
    slots, crossed = np.empty(most[0], np.int64), np.empty(most[1], np.int64)
    a, b = np.empty((4, most[0] * k)), np.empty((4, most[1] * kc))
    z, n, root, weight = a[0], a[1], a[2], a[3]
    cz, cn, croot, cweight = b[0], b[1], b[2], b[3]
    logits, variance = np.empty(k), np.empty(k)
    for row in range(rows):
        f, c = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes, slots, 0, crossed, 0
        )
        ask_for(field_table, slots, 0, f, sizes[0])
        ask_for(cross_table, crossed, 0, c, sizes[1])
        logits[:] = 0.0
        read_logits(field_table, slots, 0, f, k, field_rates, z, n, root, weight, logits)
        read_logits(
            cross_table, crossed, 0, c, kc, cross_rates, cz, cn, croot, cweight, logits
        )  # fmt: skip
        out[row] = calibrated(calibration, mix(mixture, logits))
        variance[:] = 0.0
        _add_variances(root, weight, f, k, field_rates, variance)
        _add_variances(croot, cweight, c, kc, cross_rates, variance)
        total = 0.0
        for e in range(k):
            total += mixture[e] * math.sqrt(variance[e])
        unsure[row] = abs(calibration[0]) * total


_predict_of: Any = _predict  # mypy cannot count the arguments of a starred call


@inlined
def _add_variances(root: F64, room: F64, count: int, k: int, rates: F64, variance: F64) -> None:
    """Add the learning rates of the buckets whose roots were just read."""
    inverse, stiffness = rates[0], rates[1]
    for m in range(count * k):
        room[m] = 1.0 / (root[m] * inverse[m] + stiffness[m])
    for j in range(count):
        for e in range(k):
            variance[e] += room[j * k + e]
