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

from features.jit import jit
from learning.buckets import Events, Slots, expand_event, fetch_event
from learning.calibration import calibrated
from learning.stack_prediction import forward
from learning.stack_rates import deviation, learn_bias
from learning.stack_state import F64, LATE, ZERO, State, Work, f32
from learning.stack_steps import evidence, learn_crosses, learn_fields, learn_top, leave_out_rare

__all__ = ["LATE", "learn_events", "predict_events"]


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
        mixed, _ = forward(
            field_table, cross_table, bias, mixture, totals, field_means, cross_means, linear,
            factors, top, crosses, field, cross, field_of, cross_of, members, 0, f, c, dense,
            state.admission, of_fields, of_crosses, unseen, rare, inputs, inner, logits,
        )  # fmt: skip
        out[row] = calibrated(calibration, mixed)
        if len(deviations) > 0:
            deviations[row] = deviation(mixture, calibration, f, c, of_fields, of_crosses)


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
        mixed, rare_fields = forward(
            field_table, cross_table, bias, mixture, totals, field_means, cross_means, linear,
            factors, top, crosses, field, cross, field_of, cross_of, members, half, f, c,
            len(starts) == 0, admission, of_fields, of_crosses, unseen, rare, inputs, inner, logits,
        )  # fmt: skip
        out[row] = calibrated(calibration, mixed)
        w = importance[row] if len(importance) > 0 else 1.0
        if w > 0.0:
            g1, g2, g3, click, views, residual, variance = evidence(logits, labels[row], w)
            learn_top(
                mixture, calibration, totals, field_means, cross_means, linear, factors, top,
                linear_squares, factors_squares, top_squares, field_of, cross_of, half, f, c,
                of_fields, of_crosses, unseen, inputs, inner, logits, mixed, out[row],
                labels[row], w,
            )  # fmt: skip
            learn_bias(bias, g1, g2, g3)
            learn_fields(
                field_table, field, half, f, f32(g1), f32(g2), f32(g3), f32(views), f32(click),
                of_fields, shared,
            )  # fmt: skip
            if rare_fields > 0 and admission > ZERO:
                leave_out_rare(cross, members, half, c, rare)
            learn_crosses(
                cross_table, cross, half, c, f32(g3), f32(residual), f32(variance), of_crosses,
                shared,
            )  # fmt: skip
        f, c = next_f, next_c
