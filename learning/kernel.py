"""FTRL-Proximal on hashed crosses: the kernel.

Algorithm 1 of McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, for
K experts at once. A bucket holds the experts' z side by side, then their n, so that an update
touches one stretch of memory. An event is learned in stages, each a loop that vectorises:

1. *expand*: the buckets of the event's fields and crosses (done an event ahead, so that their
   cache lines are on the way while the event before is learned);
2. *gather* z and n; 3. *weigh*: the weights they mean; 4. predict and mix;
5. *step*: the new z and n; 6. *scatter* them back.

A *lane* is one (bucket, expert) pair of the event: lane ``j * K + k``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from learning.buckets import expand_event
from learning.mixing import calibrated, learn_calibration, learn_mixture, mix, sigmoid
from learning.steps import ask_for, read_logits, update

__all__ = ["learn_events", "predict_events"]

I64 = NDArray[np.int64]
U64S = NDArray[np.uint64]
F64 = NDArray[np.float64]
CrossIndex = NDArray[np.int32]
Table = NDArray[np.float64]


@inlined
def _lanes(slots: int, k: int) -> F64:
    """Room for z, n, root, weight, gradient, new z and new n of every lane."""
    return np.empty((7, slots * k))


@jit
def learn_events(
    tokens: U64S,
    starts: I64,
    rows: int,
    fields: int,
    crosses: CrossIndex,
    shifts: U64S,
    most: tuple[int, int],
    field_table: Table,
    cross_table: Table,
    experts: tuple[int, int],
    field_rates: F64,
    cross_rates: F64,
    mixture: F64,
    calibration: F64,
    mixing: tuple[float, float, float],
    labels: F64,
    importance: F64,
    out: F64,
) -> None:
    """Predict, then learn, each event in turn.

    Parameters
    ----------
    tokens, starts, rows, fields, crosses, shifts
        As for :func:`learning.buckets.expand_event`.
    most
        From :func:`learning.buckets.capacity`.
    field_table, cross_table
        Flat float64: buckets of 2 K and 2 KC values; the last of the first is the bias.
    experts
        K experts, of which the first KC see the crosses.
    field_rates, cross_rates
        float64 (3, lanes), as for :func:`learning.steps.weigh`.
    mixture
        float64 (K,), the weights of the experts' logits; written.
    calibration
        float64 (5,): scale and shift of the mixed logit, and their curvature; written.
    mixing
        Rate and share, as for :func:`learning.mixing.learn_mixture`; what the calibration
        keeps an event (0: there is none).
    labels, importance
        float64 per event; an empty importance means 1 for all.
    out
        float64 per event: the logit predicted before it was learned; written.
    """
    k, kc = experts
    sizes = np.array([2 * k, 2 * kc], np.int64)
    # two events' slots: one being learned, one ahead
    slots, crossed = np.empty(2 * most[0], np.int64), np.empty(2 * most[1], np.int64)
    a, b = _lanes(most[0], k), _lanes(most[1], kc)
    z, n, root, weight, g, new_z, new_n = a[0], a[1], a[2], a[3], a[4], a[5], a[6]
    cz, cn, croot, cweight, cg, cnew_z, cnew_n = b[0], b[1], b[2], b[3], b[4], b[5], b[6]
    logits, gradient = np.empty(k), np.empty(k)
    shared = np.empty(max(most[0], most[1]), np.int64)
    f, c = expand_event(tokens, starts, 0, fields, crosses, shifts, sizes, slots, 0, crossed, 0)
    for row in range(rows):
        at, cat = (row & 1) * most[0], (row & 1) * most[1]
        next_f, next_c = 0, 0
        if row + 1 < rows:
            after, cafter = most[0] - at, most[1] - cat
            next_f, next_c = expand_event(
                tokens, starts, row + 1, fields, crosses, shifts, sizes,
                slots, after, crossed, cafter,
            )  # fmt: skip
            ask_for(field_table, slots, after, next_f, sizes[0])
            ask_for(cross_table, crossed, cafter, next_c, sizes[1])
        logits[:] = 0.0
        read_logits(field_table, slots, at, f, k, field_rates, z, n, root, weight, logits)
        read_logits(
            cross_table, crossed, cat, c, kc, cross_rates, cz, cn, croot, cweight, logits
        )  # fmt: skip
        w, y = importance[row] if len(importance) > 0 else 1.0, labels[row]
        mixed = mix(mixture, logits)
        out[row] = calibrated(calibration, mixed)
        learn_mixture(mixture, logits, w * (sigmoid(mixed) - y), mixing[0], mixing[1])
        learn_calibration(calibration, mixed, y, w, mixing[2])
        for e in range(k):
            gradient[e] = w * (sigmoid(logits[e]) - y)
        update(
            field_table, slots, at, f, k, field_rates, gradient,
            z, n, root, weight, g, new_z, new_n, shared,
        )  # fmt: skip
        update(
            cross_table, crossed, cat, c, kc, cross_rates, gradient,
            cz, cn, croot, cweight, cg, cnew_z, cnew_n, shared,
        )  # fmt: skip
        f, c = next_f, next_c


@jit
def predict_events(
    tokens: U64S,
    starts: I64,
    rows: int,
    fields: int,
    crosses: CrossIndex,
    shifts: U64S,
    most: tuple[int, int],
    field_table: Table,
    cross_table: Table,
    experts: tuple[int, int],
    field_rates: F64,
    cross_rates: F64,
    mixture: F64,
    calibration: F64,
    out: F64,
) -> None:
    """Logit of each event, nothing learned; parameters as for :func:`learn_events`."""
    k, kc = experts
    sizes = np.array([2 * k, 2 * kc], np.int64)
    slots, crossed = np.empty(most[0], np.int64), np.empty(most[1], np.int64)
    a, b = _lanes(most[0], k), _lanes(most[1], kc)
    z, n, root, weight = a[0], a[1], a[2], a[3]
    cz, cn, croot, cweight = b[0], b[1], b[2], b[3]
    logits = np.empty(k)
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
