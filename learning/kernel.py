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

import math

import numpy as np
from numpy.typing import NDArray

from features.hashing import cross_hash
from features.jit import inlined, jit, prefetch

__all__ = [
    "CALIBRATION_RIDGE",
    "capacity",
    "expand_event",
    "learn_events",
    "predict_events",
    "weigh",
]

I64 = NDArray[np.int64]
U64S = NDArray[np.uint64]
F64 = NDArray[np.float64]
CrossIndex = NDArray[np.int32]
Table = NDArray[np.float64]

CALIBRATION_RIDGE = 300.0
_MOST_STEP = 600.0  # exp of more overflows


@inlined
def _span(starts: I64, row: int, fields: int, field: int) -> tuple[int, int]:
    at = row * fields + field
    if len(starts) == 0:
        return at, at + 1
    return starts[at], starts[at + 1]


@jit
def capacity(starts: I64, rows: int, fields: int, crosses: CrossIndex) -> tuple[int, int]:
    """The most field tokens (bias included) and crosses that any of these events has."""
    if len(starts) == 0:
        return fields + 1, len(crosses)
    most_fields, most_crosses = 0, 0
    for row in range(rows):
        tokens = starts[(row + 1) * fields] - starts[row * fields]
        count = 0
        for c in range(len(crosses)):
            size = 1
            for m in range(3):
                if crosses[c, m] >= 0:
                    low, high = _span(starts, row, fields, crosses[c, m])
                    size *= high - low
            count += size
        most_fields, most_crosses = max(most_fields, tokens), max(most_crosses, count)
    return most_fields + 1, most_crosses


@inlined
def _expand_fields(
    tokens: U64S, first: int, last: int, shift: np.uint64, size: int, out: I64, base: int
) -> int:
    out[base] = (np.int64(1) << (np.int64(64) - np.int64(shift))) * size  # the bias: past the rest
    for t in range(last - first):
        out[base + 1 + t] = np.int64(tokens[first + t] >> shift) * size
    return last - first + 1


@inlined
def _expand_cross(
    tokens: U64S,
    starts: I64,
    row: int,
    fields: int,
    cross: NDArray[np.int32],
    shift: np.uint64,
    size: int,
    out: I64,
    count: int,
) -> int:
    """Buckets of one cross whose fields may be lists."""
    low_a, high_a = _span(starts, row, fields, cross[0])
    low_b, high_b = _span(starts, row, fields, cross[1])
    for a in range(low_a, high_a):
        for b in range(low_b, high_b):
            pair = cross_hash(tokens[a], tokens[b])
            if cross[2] < 0:
                out[count] = np.int64(pair >> shift) * size
                count += 1
                continue
            low_c, high_c = _span(starts, row, fields, cross[2])
            for c in range(low_c, high_c):
                out[count] = np.int64(cross_hash(pair, tokens[c]) >> shift) * size
                count += 1
    return count


@inlined
def _expand_dense(
    tokens: U64S, first: int, crosses: CrossIndex, shift: np.uint64, size: int, out: I64, base: int
) -> int:
    """Buckets of all crosses where each field has one token."""
    for c in range(len(crosses)):
        pair = cross_hash(tokens[first + crosses[c, 0]], tokens[first + crosses[c, 1]])
        if crosses[c, 2] >= 0:
            pair = cross_hash(pair, tokens[first + crosses[c, 2]])
        out[base + c] = np.int64(pair >> shift) * size
    return len(crosses)


@inlined
def expand_event(
    tokens: U64S,
    starts: I64,
    row: int,
    fields: int,
    crosses: CrossIndex,
    shifts: U64S,
    sizes: I64,
    field_slots: I64,
    field_base: int,
    cross_slots: I64,
    cross_base: int,
) -> tuple[int, int]:
    """Offsets into the two tables of one event's buckets.

    Parameters
    ----------
    tokens, starts, row, fields
        Token hashes, as in :class:`features.hashed.Hashed`, and which event.
    crosses
        int32 (crosses, 3), as in :attr:`features.vectoriser.Vectoriser.crosses`.
    shifts, sizes
        Of fields and of crosses: 64 - bits; float64 values a bucket. Size 0: no such table.
    field_slots, field_base, cross_slots, cross_base
        Written, each from its base on.

    Returns
    -------
    tuple of int
        How many field slots (bias first) and cross slots were written.
    """
    first, _ = _span(starts, row, fields, 0)
    _, last = _span(starts, row, fields, fields - 1)
    n_fields = _expand_fields(tokens, first, last, shifts[0], sizes[0], field_slots, field_base)
    if sizes[1] == 0:
        return n_fields, 0
    if len(starts) == 0:
        return n_fields, _expand_dense(
            tokens, first, crosses, shifts[1], sizes[1], cross_slots, cross_base
        )
    end = cross_base
    for c in range(len(crosses)):
        end = _expand_cross(
            tokens, starts, row, fields, crosses[c], shifts[1], sizes[1], cross_slots, end
        )
    return n_fields, end - cross_base


@inlined
def _prefetch(table: Table, slots: I64, base: int, count: int, size: int) -> None:
    for j in range(base, base + count):
        prefetch(table, slots[j])
    if size > 8:  # a bucket wider than one cache line
        for j in range(base, base + count):
            prefetch(table, slots[j] + (size - 1))


@inlined
def _gather(table: Table, slots: I64, base: int, count: int, k: int, z: F64, n: F64) -> None:
    if k == 1:
        for j in range(count):
            at = np.uint64(slots[base + j])
            z[j] = table[at]
            n[j] = table[at + np.uint64(1)]
        return
    for j in range(count):
        at = np.uint64(slots[base + j])
        for e in range(k):
            z[j * k + e] = table[at + np.uint64(e)]
            n[j * k + e] = table[at + np.uint64(k + e)]


@inlined
def weigh(z: F64, n: F64, rates: F64, lanes: int, root: F64, weight: F64) -> None:
    """Weights of some lanes, and the roots of their n.

    ``w = -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)`` where ``|z| > l1``, else exactly
    0. ``rates`` holds, per lane, 1/alpha, beta/alpha + l2, and l1.
    """
    inverse, stiffness, l1 = rates[0], rates[1], rates[2]
    for m in range(lanes):
        r = math.sqrt(n[m])
        root[m] = r
        excess = (abs(z[m]) - l1[m]) / (r * inverse[m] + stiffness[m])
        excess = excess if excess > 0.0 else 0.0
        weight[m] = -excess if z[m] > 0.0 else excess


@inlined
def _sum(values: F64, count: int) -> float:
    """Sum in a fixed order, by eight strands: one alone would wait for each addition."""
    a = b = c = d = e = f = g = h = 0.0
    whole = count & ~7
    for j in range(0, whole, 8):
        a += values[j]
        b += values[j + 1]
        c += values[j + 2]
        d += values[j + 3]
        e += values[j + 4]
        f += values[j + 5]
        g += values[j + 6]
        h += values[j + 7]
    for j in range(whole, count):
        a += values[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@inlined
def _add_logits(weight: F64, count: int, k: int, logits: F64) -> None:
    if k == 1:
        logits[0] += _sum(weight, count)
        return
    for j in range(count):
        for e in range(k):
            logits[e] += weight[j * k + e]


@inlined
def _spread(gradient: F64, count: int, k: int, out: F64) -> None:
    for j in range(count):
        for e in range(k):
            out[j * k + e] = gradient[e]


@inlined
def _step(
    z: F64, n: F64, root: F64, weight: F64, rates: F64, g: F64, lanes: int, new_z: F64, new_n: F64
) -> None:
    """Add the gradient: ``sigma = (sqrt(n + g**2) - sqrt(n)) / alpha; z += g - sigma w``."""
    inverse = rates[0]
    for m in range(lanes):
        grown = n[m] + g[m] * g[m]
        new_z[m] = z[m] + (g[m] - (math.sqrt(grown) - root[m]) * inverse[m] * weight[m])
        new_n[m] = grown


@inlined
def _scatter_one(
    table: Table, slots: I64, base: int, count: int,
    z: F64, n: F64, new_z: F64, new_n: F64, shared: I64,
) -> int:  # fmt: skip
    """:func:`_scatter` of a single expert; notes the slots whose bucket was written before."""
    one = np.uint64(1)
    found = 0
    for j in range(count):
        at = np.uint64(slots[base + j])
        shared[found] = j
        found += (table[at] != z[j]) | (table[at + one] != n[j])
        table[at] = new_z[j]
        table[at + one] = new_n[j]
    return found


@inlined
def _scatter_many(
    table: Table, slots: I64, base: int, count: int, k: int,
    z: F64, n: F64, new_z: F64, new_n: F64, shared: I64,
) -> int:  # fmt: skip
    """:func:`_scatter` of k experts; notes the slots whose bucket was written before."""
    found = 0
    for j in range(count):
        at = np.uint64(slots[base + j])
        changed = False
        for e in range(k):
            lane = j * k + e
            at_z, at_n = at + np.uint64(e), at + np.uint64(k + e)
            changed |= (table[at_z] != z[lane]) | (table[at_n] != n[lane])
            table[at_z] = new_z[lane]
            table[at_n] = new_n[lane]
        shared[found] = j
        found += changed
    return found


@jit
def _step_shared(
    table: Table, slots: I64, base: int, count: int, k: int, j: int,
    z: F64, n: F64, root: F64, weight: F64, rates: F64, g: F64,
) -> None:  # fmt: skip
    """Take the step of a bucket that several features of the event share: x is their number."""
    at = slots[base + j]
    x = 0.0
    for i in range(base, base + count):
        x += 1.0 if slots[i] == at else 0.0
    for e in range(k):
        m = j * k + e
        grad = g[m] * x
        grown = n[m] + grad * grad
        sigma = (math.sqrt(grown) - root[m]) * rates[0, m]
        table[at + e] = z[m] + (grad - sigma * weight[m])
        table[at + k + e] = grown


@inlined
def _scatter(
    table: Table, slots: I64, base: int, count: int, k: int, z: F64, n: F64, root: F64,
    weight: F64, rates: F64, g: F64, new_z: F64, new_n: F64, shared: I64,
) -> None:  # fmt: skip
    """Write the new z and n back.

    A bucket that no longer holds what was gathered was written for an earlier feature of this
    very event: features share it, and its step is taken once for all of them.
    """
    if k == 1:
        found = _scatter_one(table, slots, base, count, z, n, new_z, new_n, shared)
    else:
        found = _scatter_many(table, slots, base, count, k, z, n, new_z, new_n, shared)
    for i in range(found):
        _step_shared(table, slots, base, count, k, shared[i], z, n, root, weight, rates, g)


@inlined
def sigmoid(logit: float) -> float:
    """Probability of a logit."""
    return 1.0 / (1.0 + math.exp(-logit))


@inlined
def _mix(mixture: F64, logits: F64) -> float:
    total = 0.0
    for e in range(len(mixture)):
        total += mixture[e] * logits[e]
    return total


@inlined
def _learn_mixture(mixture: F64, logits: F64, gradient: float, rate: float, share: float) -> None:
    """Exponentiated gradient on the mixture weights (Kivinen and Warmuth 1997).

    A fixed share of weight goes round to all (Herbster and Warmuth 1998), so that an expert
    that has been bad for long can come back within some hundred events.
    """
    if len(mixture) == 1:
        return
    total = 0.0
    for e in range(len(mixture)):
        step = -rate * gradient * logits[e]
        mixture[e] *= math.exp(min(max(step, -_MOST_STEP), _MOST_STEP))
        total += mixture[e]
    for e in range(len(mixture)):
        mixture[e] = (1.0 - share) * (mixture[e] / total) + share / len(mixture)


@inlined
def calibrated(calibration: F64, logit: float) -> float:
    """Logit after the calibration: ``scale * logit + shift`` (Platt 1999, kept up online)."""
    out: float = calibration[0] * logit + calibration[1]
    return out


@inlined
def _learn_calibration(
    calibration: F64, logit: float, label: float, importance: float, keep: float
) -> None:
    """One Newton step of scale and shift on the log loss, from fading curvature sums.

    A ridge of :data:`CALIBRATION_RIDGE` keeps the step small until there is evidence for more.
    """
    if keep == 0.0:
        return
    p = sigmoid(calibrated(calibration, logit))
    g = importance * (p - label)
    v = importance * p * (1.0 - p)
    calibration[2] = calibration[2] * keep + v * logit * logit
    calibration[3] = calibration[3] * keep + v * logit
    calibration[4] = calibration[4] * keep + v
    a, b, c = calibration[2] + CALIBRATION_RIDGE, calibration[3], calibration[4] + CALIBRATION_RIDGE
    determinant = a * c - b * b
    calibration[0] -= (c * g * logit - b * g) / determinant
    calibration[1] -= (a * g - b * g * logit) / determinant


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
        As for :func:`expand_event`.
    most
        From :func:`capacity`.
    field_table, cross_table
        Flat float64: buckets of 2 K and 2 KC values; the last of the first is the bias.
    experts
        K experts, of which the first KC see the crosses.
    field_rates, cross_rates
        float64 (3, lanes), as for :func:`weigh`.
    mixture
        float64 (K,), the weights of the experts' logits; written.
    calibration
        float64 (5,): scale and shift of the mixed logit, and their curvature; written.
    mixing
        Rate and share, as for :func:`_learn_mixture`; what the calibration keeps an event
        (0: there is none).
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
            _prefetch(field_table, slots, after, next_f, sizes[0])
            _prefetch(cross_table, crossed, cafter, next_c, sizes[1])
        _gather(field_table, slots, at, f, k, z, n)
        _gather(cross_table, crossed, cat, c, kc, cz, cn)
        weigh(z, n, field_rates, f * k, root, weight)
        weigh(cz, cn, cross_rates, c * kc, croot, cweight)
        logits[:] = 0.0
        _add_logits(weight, f, k, logits)
        _add_logits(cweight, c, kc, logits)
        w = importance[row] if len(importance) > 0 else 1.0
        mixed = _mix(mixture, logits)
        out[row] = calibrated(calibration, mixed)
        _learn_mixture(mixture, logits, w * (sigmoid(mixed) - labels[row]), mixing[0], mixing[1])
        _learn_calibration(calibration, mixed, labels[row], w, mixing[2])
        for e in range(k):
            gradient[e] = w * (sigmoid(logits[e]) - labels[row])
        _spread(gradient, f, k, g)
        _spread(gradient, c, kc, cg)
        _step(z, n, root, weight, field_rates, g, f * k, new_z, new_n)
        _step(cz, cn, croot, cweight, cross_rates, cg, c * kc, cnew_z, cnew_n)
        _scatter(
            field_table, slots, at, f, k,
            z, n, root, weight, field_rates, g, new_z, new_n, shared,
        )  # fmt: skip
        _scatter(
            cross_table, crossed, cat, c, kc,
            cz, cn, croot, cweight, cross_rates, cg, cnew_z, cnew_n, shared,
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
    logits = np.empty(k)
    for row in range(rows):
        f, c = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes, slots, 0, crossed, 0
        )
        _prefetch(field_table, slots, 0, f, sizes[0])
        _prefetch(cross_table, crossed, 0, c, sizes[1])
        _gather(field_table, slots, 0, f, k, a[0], a[1])
        _gather(cross_table, crossed, 0, c, kc, b[0], b[1])
        weigh(a[0], a[1], field_rates, f * k, a[2], a[3])
        weigh(b[0], b[1], cross_rates, c * kc, b[2], b[3])
        logits[:] = 0.0
        _add_logits(a[3], f, k, logits)
        _add_logits(b[3], c, kc, logits)
        out[row] = calibrated(calibration, _mix(mixture, logits))
