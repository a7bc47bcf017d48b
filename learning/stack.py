"""The learner ``stack``: logistic regressions, statistics of values and pairs, and a net over both.

An event has features: the tokens of its fields, and crosses of them (pairs, or triples). Each has
a bucket in one of two float32 tables::

    field  [w1 n1 w2 n2 w3 n3 N C]   weights of three logistic regressions (LR), their sums of g^2;
                                     views and clicks
    cross  [w n R V]                 weight of LR 3; R = sum(y - p2), V = sum(p2 (1 - p2))

With g_e = i (p_e - y), i the importance, y the label and p_e what e alone predicts, **LR e** is
FTRL-Proximal without l1, kept as its weight (McMahan et al., KDD 2013, Algorithm 1: z and w mean
the same where l1 = 0)::

    n += g_e^2;   w -= g_e / ((beta + sqrt(n)) / alpha + l2)

LR 1 and 2 see fields alone, LR 3 crosses too; its rate for them is alpha / sqrt(how many), for so
many move at once. A bucket that several features of an event share takes one step for all.

**The net** has five inputs a field j, all from before the event::

    te    2 (q - p0) / (q + p0 - 2 q p0),  q = (C + 3 p0) / (N + 3),  p0 = clicks / events so far
    cnt   N / (N + sqrt(events)) - 1/2
    w2    LR 2's weight
    pe    sum over j's crosses of R / (V + 3), / sqrt(F)
    per   sum over j's crosses of w
    logit = logit(p0) + b + sum_d w_d x_d + sum_r c_r (u_r . x) (v_r . x)

the last a quadratic form of rank 16; AdaGrad on its own log loss. te and cnt of a field with
several tokens are their means. **The prediction** is a * (mix of the four logits) + b: the mix by
exponentiated gradient, a and b (Platt 1999) by Newton steps with fading curvature.

**Never seen**: a field bucket with N = 0 and a cross bucket with V = 0, and any cross of such a
field, stand for the average of the traffic, weighted by sqrt(p (1 - p)), and not for 0: the base
rate's log-odds are spread over the weights, so a 0 would raise p. Let the logit be l ~ N(m, s^2)
over the traffic: E sigmoid(l) = sigmoid(u) asks for u = m + (1 - 2 p) s^2 / 2, and the mean of l
weighted by (p (1 - p))^e is m + e (1 - 2 p) s^2: so e = 1/2, whatever the base rate, for one field
or for all.

**Admission**: a cross is learned, and has a bucket, from when each of its values was seen
``admission`` times; until then it stands for the average, as one never seen.

**Late clicks** (label 2; delayed feedback: Ktena et al., RecSys 2019): an unclicked event is
learned by net and mix with the soft label p (1 - F) / (1 - p F), where F is the share of clicks
that come in time, and never corrected there: they have seen inputs that hold that event as a
negative. A late click is a gradient of -1 for the LRs and the calibration, and a click in R, C
and p0.

The sums use + - * / sqrt alone, in a fixed order: the same bits on every machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from learning.buckets import Events, Slots, expand_event, fetch_event
from learning.calibration import calibrated, learn_calibration, learn_late_click, sigmoid

__all__ = [
    "INPUTS",
    "LATE",
    "RANK",
    "State",
    "Work",
    "learn_events",
    "predict_events",
    "work_for",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

INPUTS, RANK, EXPERTS = 5, 16, 4
LATE = 2.0
"""The label of a click that comes after its event was learned as not clicked."""
f32 = np.float32
ZERO, HALF, ONE, TWO, THREE = f32(0), f32(0.5), f32(1), f32(2), f32(3)
BETA, L2 = 0.3, 1.0
ALPHA_CROSSES = 0.12
INVERSE_1, INVERSE_2, INVERSE_3 = f32(1 / 0.03), f32(1 / 0.1), f32(1 / 0.03)
STIFF_1, STIFF_2, STIFF_3 = f32(BETA / 0.03 + L2), f32(BETA / 0.1 + L2), f32(BETA / 0.03 + L2)
ETA = f32(0.02)
MIX_RATE, MIX_SHARE = 0.05, 1e-5
KEEP_MEANS = 1.0 - 1.0 / 5000.0
KEEP_DELAYS = 1.0 - 1.0 / 2000.0
DELAY_PRIOR = 10.0
TAUGHT_BY = f32(100)
MOST_VIEWS = f32(1 << 22)
MOST_SQUARES = f32(1 << 16)
MOST_VARIANCE = f32(4096)
LEAST_RATE = 2.0**-22
NOWHERE = -1
MOST_RESIDUAL = f32(8)
MOST_LOGIT = 100.0
"""Beyond these only weights of a million get; they keep every number finite."""
DEVIATION = 1.4
"""The error on the simulated market is 1.3 to 1.5 times what the rates say."""
_MOST_STEP = 600.0  # exp of more overflows


class State(NamedTuple):
    """Everything that is learned.

    Parameters
    ----------
    fields, crosses
        The tables, flat float32: 8 and 4 numbers a bucket.
    bias
        float64 (3, 2): w and n of the three LRs.
    mixture
        float64 (4,): weights of LR 1, 2, 3 and the net; their sum is 1.
    calibration
        float64 (5,): scale and shift of the mixed logit, then their curvature.
    totals
        float64 (5,): events, clicks; clicks in time, late clicks (fading); the fading sum of
        sqrt(p (1 - p)).
    field_means
        float32 (fields, 6): what a value never seen stands for: three weights, te, cnt; the fading
        number of first occurrences.
    cross_means
        float32 (2, crosses): what a cross never seen stands for: its weight, and its part of pe.
    linear, factors, top
        The net: float32 (5 fields,), (5 fields, 32) and (17,): w; u and v; b and c.
    linear_squares, factors_squares, top_squares
        AdaGrad's sums of squared gradients, alike.
    admission
        float32: views of each of its values that a cross needs for a bucket.
    """

    fields: F32
    crosses: F32
    bias: F64
    mixture: F64
    calibration: F64
    totals: F64
    field_means: F32
    cross_means: F32
    linear: F32
    factors: F32
    top: F32
    linear_squares: F32
    factors_squares: F32
    top_squares: F32
    admission: np.float32


class Work(NamedTuple):
    """What is known of one event.

    Parameters
    ----------
    of_fields
        float32 (10, field features), rows :data:`W1` to :data:`CNT`: w and n of the LRs, N, C,
        and what the net gets of those.
    of_crosses
        float32 (8, cross features), rows :data:`START` to :data:`NEW_N`: w, and what it is for this
        event (of a field never seen); n, R, V and R / (V + 3) / sqrt(F); w and n after the step.
    unseen
        bool (field features,): whether it was never learned.
    rare
        bool (field features,): whether it was never learned, or too seldom for its crosses.
    inputs
        float32 (5 fields,): the net's, kind by kind.
    inner
        float32 (2, 32): u . x and v . x; the gradient by them.
    logits
        float64 (4,): of the LRs and the net.
    shared
        int64: features whose bucket was written before.
    """

    of_fields: F32
    of_crosses: F32
    unseen: NDArray[np.bool_]
    rare: NDArray[np.bool_]
    inputs: F32
    inner: F32
    logits: F64
    shared: I64


W1, N1, W2, N2, W3, N3, VIEWS, CLICKS, TE, CNT = range(10)
START, WEIGHT, SQUARES, RESIDUAL, VARIANCE, SHARE, NEW_W, NEW_N = range(8)


def work_for(slots: Slots, fields: int) -> Work:
    """Room for any event of these slots, of a net of so many fields."""
    f, c = slots.field.shape[1], slots.cross.shape[1]
    return Work(
        np.empty((10, f), np.float32), np.empty((8, c), np.float32),
        np.empty(f, np.bool_), np.empty(f, np.bool_),
        np.empty(INPUTS * fields, np.float32), np.empty((2, 2 * RANK), np.float32),
        np.empty(EXPERTS), np.empty(max(f, c), np.int64),
    )  # fmt: skip


# --- prediction -------------------------------------------------------------------------------
# The stages take arrays and no tuples of them: numba would count references in each event.


@inlined
def _base_rate(totals: F64) -> float:
    rate: float = totals[1] / totals[0]
    return min(max(rate, LEAST_RATE), 1.0 - LEAST_RATE)


@inlined
def _read_fields(
    table: F32, means: F32, totals: F64, at: I64, field_of: I32, half: int, count: int,
    admission: np.float32, known: F32, unseen: NDArray[np.bool_], rare: NDArray[np.bool_],
) -> int:  # fmt: skip
    """Weights and statistics of the fields' tokens; gives how many of them are rare."""
    p0, root, found = f32(_base_rate(totals)), f32(math.sqrt(totals[0])), 0
    for j in range(count):
        k = at[half, j]
        for row in range(8):
            known[row, j] = table[k + row]
    for j in range(count):
        views = known[VIEWS, j]
        q = (known[CLICKS, j] + THREE * p0) / (views + THREE)
        known[TE, j] = TWO * (q - p0) / (q + p0 - TWO * q * p0)
        known[CNT, j] = views / (views + root) - HALF
    for j in range(count):
        unseen[j] = known[VIEWS, j] == ZERO
        rare[j] = unseen[j] or known[VIEWS, j] < admission
        found += rare[j]
        if unseen[j]:
            m = field_of[half, j]
            taught = means[m, 5] / (means[m, 5] + TAUGHT_BY)  # how far the net knows such
            known[W1, j], known[W2, j], known[W3, j] = means[m, 0], means[m, 1], means[m, 2]
            known[TE, j] = (ONE - taught) * means[m, 3]
            known[CNT, j] = (ONE - taught) * means[m, 4] - HALF * taught
    return found


@inlined
def _is_rare(members: I32, half: int, c: int, rare: NDArray[np.bool_]) -> bool:
    """Whether any of a cross's values is."""
    third = members[half, c, 2]
    return bool(
        rare[members[half, c, 0]] | rare[members[half, c, 1]] | (third >= 0 and rare[third])
    )


@inlined
def _read_crosses(
    table: F32, means: F32, at: I64, cross_of: I32, members: I32, half: int, count: int,
    fields: int, rare_fields: int, rare: NDArray[np.bool_], known: F32,
) -> None:  # fmt: skip
    """Weight and residual of each cross."""
    scale = f32(1.0 / math.sqrt(fields))
    for c in range(count):
        k = at[half, c]
        known[START, c], known[SQUARES, c] = table[k], table[k + 1]
        known[RESIDUAL, c], known[VARIANCE, c] = table[k + 2], table[k + 3]
    for c in range(count):
        residual = known[RESIDUAL, c] / (known[VARIANCE, c] + THREE)
        known[SHARE, c] = scale * min(max(residual, -MOST_RESIDUAL), MOST_RESIDUAL)
    for c in range(count):
        if known[VARIANCE, c] == ZERO:
            known[START, c] = means[0, cross_of[half, c]]
            known[SHARE, c] = means[1, cross_of[half, c]]
        known[WEIGHT, c] = known[START, c]
    if rare_fields == 0:
        return
    for c in range(count):  # whatever other cross is found in its bucket
        if _is_rare(members, half, c, rare):
            known[WEIGHT, c] = means[0, cross_of[half, c]]
            known[SHARE, c] = means[1, cross_of[half, c]]


@inlined
def _gather_fields(
    field_of: I32, half: int, count: int, dense: bool, known: F32, inputs: F32
) -> int:
    """te, cnt and w2 by field; gives how many fields there are."""
    fields = len(inputs) // INPUTS
    for d in range(len(inputs)):
        inputs[d] = ZERO
    if dense:
        for j in range(count):
            inputs[j] = known[TE, j]
            inputs[fields + j] = known[CNT, j]
            inputs[2 * fields + j] = known[W2, j]
        return count
    j, present = 0, 0
    while j < count:  # a field's tokens stand together
        field, first = field_of[half, j], j
        while j < count and field_of[half, j] == field:
            inputs[field] += known[TE, j]
            inputs[fields + field] += known[CNT, j]
            inputs[2 * fields + field] += known[W2, j]
            j += 1
        inputs[field] /= f32(j - first)
        inputs[fields + field] /= f32(j - first)
        present += 1
    return max(present, 1)


@inlined
def _gather_crosses(
    crosses: I32, cross_of: I32, half: int, count: int, known: F32, inputs: F32
) -> None:
    """Pe and per by field."""
    pe = 3 * (len(inputs) // INPUTS)
    per = pe + len(inputs) // INPUTS
    last, pe_last, per_last = -1, ZERO, ZERO
    for c in range(count):
        m = cross_of[half, c]
        a, b, third = crosses[m, 0], crosses[m, 1], crosses[m, 2]
        if a != last:  # crosses of one first field stand together: their sum waits in a register
            if last >= 0:
                inputs[pe + last] += pe_last
                inputs[per + last] += per_last
            last, pe_last, per_last = a, ZERO, ZERO
        share, weight = known[SHARE, c], known[WEIGHT, c]
        pe_last += share
        per_last += weight
        inputs[pe + b] += share
        inputs[per + b] += weight
        if third >= 0:
            inputs[pe + third] += share
            inputs[per + third] += weight
    if last >= 0:
        inputs[pe + last] += pe_last
        inputs[per + last] += per_last


@inlined
def _sum(known: F32, row: int, count: int) -> float:
    """Sum in a fixed order, by eight strands: one alone would wait for each addition."""
    a = b = c = d = e = f = g = h = ZERO
    whole = count & ~7
    for j in range(0, whole, 8):
        a += known[row, j]
        b += known[row, j + 1]
        c += known[row, j + 2]
        d += known[row, j + 3]
        e += known[row, j + 4]
        f += known[row, j + 5]
        g += known[row, j + 6]
        h += known[row, j + 7]
    for j in range(whole, count):
        a += known[row, j]
    return float(((a + b) + (c + d)) + ((e + f) + (g + h)))


@inlined
def _net(linear: F32, factors: F32, top: F32, inputs: F32, inner: F32) -> float:
    """The net's logit beyond that of the base rate."""
    width = factors.shape[1]  # from the array, or the loops do not vectorise
    out = top[0]
    for r in range(width):
        inner[0, r] = ZERO
    for d in range(len(inputs)):
        u = inputs[d]
        out += u * linear[d]
        for r in range(width):
            inner[0, r] += u * factors[d, r]
    for r in range(RANK):
        out += top[1 + r] * inner[0, r] * inner[0, RANK + r]
    return float(out)


@inlined
def _forward(
    field_table: F32, cross_table: F32, bias: F64, mixture: F64, totals: F64, field_means: F32,
    cross_means: F32, linear: F32, factors: F32, top: F32, crosses: I32, field: I64, cross: I64,
    field_of: I32, cross_of: I32, members: I32, half: int, n_fields: int, n_crosses: int,
    dense: bool, admission: np.float32, of_fields: F32, of_crosses: F32,
    unseen: NDArray[np.bool_], rare: NDArray[np.bool_], inputs: F32, inner: F32, logits: F64,
) -> tuple[float, int]:  # fmt: skip
    """The mixed logit of an event, and how many of its values are rare; its parts are in the work.

    Nothing is written to the state.
    """
    rare_fields = _read_fields(
        field_table, field_means, totals, field, field_of, half, n_fields, admission, of_fields,
        unseen, rare,
    )  # fmt: skip
    fields = _gather_fields(field_of, half, n_fields, dense, of_fields, inputs)
    _read_crosses(
        cross_table, cross_means, cross, cross_of, members, half, n_crosses, fields, rare_fields,
        rare, of_crosses,
    )  # fmt: skip
    _gather_crosses(crosses, cross_of, half, n_crosses, of_crosses, inputs)
    logits[0] = bias[0, 0] + _sum(of_fields, W1, n_fields)
    logits[1] = bias[1, 0] + _sum(of_fields, W2, n_fields)
    logits[2] = bias[2, 0] + _sum(of_fields, W3, n_fields) + _sum(of_crosses, WEIGHT, n_crosses)
    p0 = _base_rate(totals)
    logits[3] = math.log(p0 / (1.0 - p0)) + _net(linear, factors, top, inputs, inner)
    mixed = 0.0
    for e in range(EXPERTS):
        logits[e] = min(max(logits[e], -MOST_LOGIT), MOST_LOGIT)
        mixed += mixture[e] * logits[e]
    return mixed, rare_fields


@inlined
def _deviation(
    mixture: F64, calibration: F64, n_fields: int, n_crosses: int, of_fields: F32, of_crosses: F32
) -> float:
    """How far the logit may still move: see :mod:`learning.uncertainty`."""
    one = two = three = 0.0
    for j in range(n_fields):
        one += float(ONE / (math.sqrt(of_fields[N1, j]) * INVERSE_1 + STIFF_1))
        two += float(ONE / (math.sqrt(of_fields[N2, j]) * INVERSE_2 + STIFF_2))
        three += float(ONE / (math.sqrt(of_fields[N3, j]) * INVERSE_3 + STIFF_3))
    inverse, stiff = _cross_rates(n_crosses)
    for c in range(n_crosses):
        three += float(ONE / (math.sqrt(of_crosses[SQUARES, c]) * inverse + stiff))
    total: float = mixture[0] * math.sqrt(one) + (mixture[1] + mixture[3]) * math.sqrt(two)
    total += mixture[2] * math.sqrt(three)
    return DEVIATION * total * abs(float(calibration[0]))


@jit
def predict_events(
    state: State, events: Events, slots: Slots, work: Work, out: F64, deviations: F64
) -> None:
    """Logit of each event, and its standard deviation if there is room for it.

    Parameters
    ----------
    state, events
        What was learned, and the events.
    slots, work
        From :func:`learning.buckets.slots_for` and :func:`work_for`; written: of the last event.
    out
        float64 (rows,); written.
    deviations
        float64 (rows,), written; or empty.
    """
    field_table, cross_table, bias, mixture, calibration, totals = state[:6]
    field_means, cross_means, linear, factors, top = state[6:11]
    tokens, starts, rows, fields, crosses, shifts, sizes = events
    field, cross, field_of, cross_of, members = slots
    of_fields, of_crosses, unseen, rare, inputs, inner, logits, _ = work
    dense = len(starts) == 0
    for row in range(rows):
        f, c = expand_event(
            tokens, starts, row, fields, crosses, shifts, sizes,
            field, cross, field_of, cross_of, members, 0,
        )  # fmt: skip
        fetch_event(field_table, field, 0, f)
        fetch_event(cross_table, cross, 0, c)
        mixed, _ = _forward(
            field_table, cross_table, bias, mixture, totals, field_means, cross_means, linear,
            factors, top, crosses, field, cross, field_of, cross_of, members, 0, f, c, dense,
            state.admission, of_fields, of_crosses, unseen, rare, inputs, inner, logits,
        )  # fmt: skip
        out[row] = calibrated(calibration, mixed)
        if len(deviations) > 0:
            deviations[row] = _deviation(mixture, calibration, f, c, of_fields, of_crosses)


# --- learning ---------------------------------------------------------------------------------


@inlined
def _cross_rates(count: int) -> tuple[np.float32, np.float32]:
    """1 / alpha and beta / alpha + l2 of the crosses of an event that has so many."""
    inverse = math.sqrt(max(count, 1)) / ALPHA_CROSSES
    return f32(inverse), f32(BETA * inverse + L2)


@inlined
def _learn_mixture(mixture: F64, logits: F64, gradient: float) -> None:
    """Exponentiated gradient on the mixture weights (Kivinen and Warmuth 1997).

    A fixed share of weight goes round to all (Herbster and Warmuth 1998), so that one that has
    been bad for long can come back within some hundred events.
    """
    total = 0.0
    for e in range(EXPERTS):
        step = -MIX_RATE * gradient * logits[e]
        mixture[e] *= math.exp(min(max(step, -_MOST_STEP), _MOST_STEP))
        total += mixture[e]
    for e in range(EXPERTS):
        mixture[e] = (1.0 - MIX_SHARE) * (mixture[e] / total) + MIX_SHARE / EXPERTS


@inlined
def _learn_means(
    totals: F64, field_means: F32, cross_means: F32, field_of: I32, cross_of: I32, half: int,
    n_fields: int, n_crosses: int, mass: float, of_fields: F32, of_crosses: F32,
    unseen: NDArray[np.bool_],
) -> None:  # fmt: skip
    """What a value never seen stands for: the mean over the traffic, weighted by ``mass``.

    An unseen value is its mean, which so stays as it is: no case is needed.
    """
    totals[4] = totals[4] * KEEP_MEANS + mass
    if totals[4] == 0.0:
        return
    share, keep = f32(mass / totals[4]), f32(KEEP_MEANS)
    for j in range(n_fields):
        m = field_of[half, j]
        field_means[m, 5] *= keep
        if unseen[j]:
            field_means[m, 5] += ONE
            continue
        field_means[m, 0] += share * (of_fields[W1, j] - field_means[m, 0])
        field_means[m, 1] += share * (of_fields[W2, j] - field_means[m, 1])
        field_means[m, 2] += share * (of_fields[W3, j] - field_means[m, 2])
        field_means[m, 3] += share * (of_fields[TE, j] - field_means[m, 3])
        field_means[m, 4] += share * (of_fields[CNT, j] - field_means[m, 4])
    for c in range(n_crosses):
        m = cross_of[half, c]
        cross_means[0, m] += share * (of_crosses[WEIGHT, c] - cross_means[0, m])
        cross_means[1, m] += share * (of_crosses[SHARE, c] - cross_means[1, m])


@inlined
def _step(
    w: np.float32, n: np.float32, g: np.float32, inverse: np.float32, stiff: np.float32
) -> tuple[np.float32, np.float32]:
    """Weight and n after a step: n is halved when it is large, so that it never stops counting."""
    n = n + g * g
    w = w - g / (math.sqrt(n) * inverse + stiff)
    return w, (n * HALF if n > MOST_SQUARES else n)


@inlined
def _copies(at: I64, half: int, count: int, j: int) -> tuple[int, int]:
    """The first feature that has this one's bucket, and how many have."""
    first, copies = -1, 0
    for i in range(count):
        if at[half, i] == at[half, j]:
            first = i if first < 0 else first
            copies += 1
    return first, copies


@jit
def _step_shared_field(
    table: F32, at: I64, half: int, count: int, j: int, g1: np.float32, g2: np.float32,
    g3: np.float32, known: F32,
) -> None:  # fmt: skip
    """Take the step of a bucket that several features of the event share, for all in one."""
    i, copies = _copies(at, half, count, j)
    k, x = at[half, j], f32(copies)
    table[k], table[k + 1] = _step(known[W1, i], known[N1, i], x * g1, INVERSE_1, STIFF_1)
    table[k + 2], table[k + 3] = _step(known[W2, i], known[N2, i], x * g2, INVERSE_2, STIFF_2)
    table[k + 4], table[k + 5] = _step(known[W3, i], known[N3, i], x * g3, INVERSE_3, STIFF_3)


@inlined
def _learn_fields(
    table: F32, at: I64, half: int, count: int, g1: np.float32, g2: np.float32, g3: np.float32,
    views: np.float32, clicks: np.float32, known: F32, shared: I64,
) -> None:  # fmt: skip
    """Step the buckets of the fields' tokens."""
    found = 0
    for j in range(count):
        k = at[half, j]
        if table[k + 6] != known[VIEWS, j] or table[k + 7] != known[CLICKS, j]:
            shared[found] = j  # it was written for an earlier feature of this very event
            found += 1
            continue
        table[k], table[k + 1] = _step(known[W1, j], known[N1, j], g1, INVERSE_1, STIFF_1)
        table[k + 2], table[k + 3] = _step(known[W2, j], known[N2, j], g2, INVERSE_2, STIFF_2)
        table[k + 4], table[k + 5] = _step(known[W3, j], known[N3, j], g3, INVERSE_3, STIFF_3)
        fade = HALF if known[VIEWS, j] > MOST_VIEWS else ONE
        table[k + 6] = (known[VIEWS, j] + views) * fade
        table[k + 7] = (known[CLICKS, j] + clicks) * fade
    for i in range(found):
        _step_shared_field(table, at, half, count, shared[i], g1, g2, g3, known)


@jit
def _step_shared_cross(
    table: F32, at: I64, half: int, count: int, c: int, g: np.float32, inverse: np.float32,
    stiff: np.float32, known: F32,
) -> None:  # fmt: skip
    """As :func:`_step_shared_field`."""
    i, copies = _copies(at, half, count, c)
    k = at[half, c]
    table[k], table[k + 1] = _step(
        known[START, i], known[SQUARES, i], f32(copies) * g, inverse, stiff
    )


@jit
def _leave_out_rare(at: I64, members: I32, half: int, count: int, rare: NDArray[np.bool_]) -> None:
    """Take its bucket from each cross that is not admitted yet."""
    for c in range(count):
        if _is_rare(members, half, c, rare):
            at[half, c] = NOWHERE


@inlined
def _learn_crosses(
    table: F32, at: I64, half: int, count: int, g: np.float32, residual: np.float32,
    variance: np.float32, known: F32, shared: I64,
) -> None:  # fmt: skip
    """Step the buckets of the crosses; R and V are halved when V is large: old evidence fades."""
    inverse, stiff = _cross_rates(count)
    gg, found = g * g, 0
    for c in range(count):
        n = known[SQUARES, c] + gg
        known[NEW_W, c] = known[START, c] - g / (math.sqrt(n) * inverse + stiff)
        known[NEW_N, c] = n * HALF if n > MOST_SQUARES else n
    for c in range(count):
        k, was = at[half, c], known[VARIANCE, c]
        if k == NOWHERE:
            continue
        shared[found] = c
        if (
            (table[k + 1] != known[SQUARES, c])
            | (table[k + 2] != known[RESIDUAL, c])
            | (table[k + 3] != was)
        ):
            found += 1
            continue
        fade = HALF if was > MOST_VARIANCE else ONE
        table[k], table[k + 1] = known[NEW_W, c], known[NEW_N, c]
        table[k + 2] = (known[RESIDUAL, c] + residual) * fade
        table[k + 3] = (was + variance) * fade
    for i in range(found):
        _step_shared_cross(table, at, half, count, shared[i], g, inverse, stiff, known)


@inlined
def _learn_net(
    linear: F32, factors: F32, top: F32, linear_squares: F32, factors_squares: F32,
    top_squares: F32, inputs: F32, inner: F32, g: np.float32,
) -> None:  # fmt: skip
    """One AdaGrad step (Duchi et al. 2011) of everything in the net, by its logit's gradient."""
    width = factors.shape[1]
    for r in range(RANK):
        inner[1, r] = g * top[1 + r] * inner[0, RANK + r]
        inner[1, RANK + r] = g * top[1 + r] * inner[0, r]
    for d in range(len(inputs)):
        q = g * inputs[d]
        n = linear_squares[d] + q * q
        linear_squares[d] = n
        linear[d] -= ETA * q / math.sqrt(n)
    for d in range(len(inputs)):
        u = inputs[d]
        for r in range(width):
            q = inner[1, r] * u
            n = factors_squares[d, r] + q * q
            factors_squares[d, r] = n
            factors[d, r] -= ETA * q / math.sqrt(n)
    for r in range(RANK):
        q = g * inner[0, r] * inner[0, RANK + r]
        top_squares[1 + r] += q * q
        top[1 + r] -= ETA * q / math.sqrt(top_squares[1 + r])
    top_squares[0] += g * g
    top[0] -= ETA * g / math.sqrt(top_squares[0])


@inlined
def _learn_bias(bias: F64, g1: float, g2: float, g3: float) -> None:
    alphas, gradients = (0.03, 0.1, 0.03), (g1, g2, g3)
    for e in range(3):
        g = gradients[e]
        bias[e, 1] += g * g
        bias[e, 0] -= g / ((BETA + math.sqrt(bias[e, 1])) / alphas[e] + L2)


@inlined
def _soft_label(totals: F64, label: float, p: float) -> float:
    """The probability that an event is, or will be, clicked, given its label so far."""
    if label == 1.0:
        return 1.0
    in_time: float = (totals[2] + DELAY_PRIOR) / (totals[2] + totals[3] + DELAY_PRIOR)
    to_come = p * (1.0 - in_time)
    return to_come / (1.0 - p * in_time) if to_come > 0.0 else 0.0


@jit
def learn_events(
    state: State, events: Events, slots: Slots, work: Work, labels: F64, importance: F64, out: F64
) -> None:
    """Predict, then learn, each event in turn.

    Parameters
    ----------
    state
        Written.
    events
        What is learned.
    slots, work
        From :func:`learning.buckets.slots_for` and :func:`work_for`; written.
    labels
        float64 (rows,): 0, 1, or :data:`LATE`.
    importance
        float64 (rows,), 0 or above; empty: 1 for all.
    out
        float64 (rows,): the logit predicted before each was learned; written.
    """
    field_table, cross_table, bias, mixture, calibration, totals = state[:6]
    field_means, cross_means, linear, factors, top = state[6:11]
    linear_squares, factors_squares, top_squares, admission = state[11:]
    tokens, starts, rows, fields, crosses, shifts, sizes = events
    field, cross, field_of, cross_of, members = slots
    of_fields, of_crosses, unseen, rare, inputs, inner, logits, shared = work
    dense = len(starts) == 0
    f, c = expand_event(
        tokens, starts, 0, fields, crosses, shifts, sizes,
        field, cross, field_of, cross_of, members, 0,
    )  # fmt: skip
    for row in range(rows):
        half, next_f, next_c = row & 1, 0, 0
        if row + 1 < rows:  # its cache lines come while this event is learned
            next_f, next_c = expand_event(
                tokens, starts, row + 1, fields, crosses, shifts, sizes,
                field, cross, field_of, cross_of, members, 1 - half,
            )  # fmt: skip
            fetch_event(field_table, field, 1 - half, next_f)
            fetch_event(cross_table, cross, 1 - half, next_c)
        mixed, rare_fields = _forward(
            field_table, cross_table, bias, mixture, totals, field_means, cross_means, linear,
            factors, top, crosses, field, cross, field_of, cross_of, members, half, f, c, dense,
            admission, of_fields, of_crosses, unseen, rare, inputs, inner, logits,
        )  # fmt: skip
        out[row] = calibrated(calibration, mixed)
        w, y = importance[row] if len(importance) > 0 else 1.0, labels[row]
        if w > 0.0:
            p2 = sigmoid(logits[1])
            if y == LATE:
                g1 = g2 = g3 = -w
                click, views, residual, variance = w, 0.0, w, 0.0
                learn_late_click(calibration, mixed, w)
                totals[3] += w
            else:
                g1, g2, g3 = (
                    w * (sigmoid(logits[0]) - y), w * (p2 - y), w * (sigmoid(logits[2]) - y)
                )  # fmt: skip
                click, views, residual, variance = w * y, w, w * (y - p2), w * p2 * (1.0 - p2)
                p = sigmoid(out[row])
                soft = _soft_label(totals, y, p)
                _learn_mixture(mixture, logits, w * (sigmoid(mixed) - soft))
                learn_calibration(calibration, mixed, y, w)
                _learn_means(
                    totals, field_means, cross_means, field_of, cross_of, half, f, c,
                    w * math.sqrt(p * (1.0 - p)), of_fields, of_crosses, unseen,
                )  # fmt: skip
                _learn_net(
                    linear, factors, top, linear_squares, factors_squares, top_squares, inputs,
                    inner, f32(w * (sigmoid(logits[3]) - soft)),
                )  # fmt: skip
                totals[0] += w
                totals[2] = totals[2] * KEEP_DELAYS + click
                totals[3] *= KEEP_DELAYS
            totals[1] += click
            _learn_bias(bias, g1, g2, g3)
            _learn_fields(
                field_table, field, half, f, f32(g1), f32(g2), f32(g3), f32(views), f32(click),
                of_fields, shared,
            )  # fmt: skip
            if rare_fields > 0 and admission > ZERO:
                _leave_out_rare(cross, members, half, c, rare)
            _learn_crosses(
                cross_table, cross, half, c, f32(g3), f32(residual), f32(variance), of_crosses,
                shared,
            )  # fmt: skip
        f, c = next_f, next_c
