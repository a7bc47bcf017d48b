"""Why a probability is what it is: each field's and cross's share of the logit, by its value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.field_plan import FieldPlan
from features.hashed import Hashed
from features.times import NO_TIME, time_ms
from features.token_kernels import AS_CATEGORY
from features.transforms import CATEGORY, LOG2, LOG_SQUARED, QUANTILE, number_code
from features.values import as_text, to_number
from features.vectoriser import Vectoriser
from learning import single, stack, stack_state
from learning.click_learner import ClickLearner, probabilities
from learning.weights import SingleWeights, StackWeights, Weights

__all__ = ["Contribution", "Explanation", "explain"]

_COUNTED = "as counted"
"""Stands for the value of a counter: a click rate beside that of all events, not a text."""
F64 = NDArray[np.float64]

_MISSING = "(missing)"
_LEAST_CODE = -(2**53)  # of a count: all values below share its bucket
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Contribution(msgspec.Struct, frozen=True):
    """What one value, or one cross of values, adds to the logit.

    Parameters
    ----------
    names
        The field, or the two or three fields of a cross.
    values
        One a field, as people read them; a number with the bucket it fell into.
    logit
        What it adds; the odds are multiplied by its exponential. The sum of the three below.
    regressions
        By the weights of the logistic regressions.
    statistics
        Through the net, by the click rate and views of the value, or of the pair beyond its fields.
    net
        Through the net, by the weights that it reads.
    seen
        Whether anything that falls into this bucket was ever learned; if not, it stands for the
        average of the traffic.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    logit: float
    regressions: float
    statistics: float
    net: float
    seen: bool


class Explanation(msgspec.Struct, frozen=True):
    """A prediction taken apart: ``logit = bias + sum of the contributions``.

    Parameters
    ----------
    unused
        Keys of the event that no field reads: first, for what follows was told without them.
    probability, logit
        As predicted.
    bias
        What every event starts from, the calibration's shift included.
    contributions
        The largest first, whatever their sign.
    """

    unused: tuple[str, ...]
    probability: float
    logit: float
    bias: float
    contributions: tuple[Contribution, ...]


def explain(learner: ClickLearner, event: Mapping[Any, Any]) -> Explanation:
    """Take the prediction for one event apart; nothing is learned.

    Parameters
    ----------
    learner
        Whose prediction it is.
    event
        Column name to value, as for :meth:`learning.ClickLearner.predict_proba_one`.

    Raises
    ------
    RowError
        If a value is not what the spec declares.

    Examples
    --------
    >>> from learning import ClickLearner
    >>> model = ClickLearner()
    >>> for _ in range(50):
    ...     model.learn_one({"ad": "shoes"}, True)
    ...     model.learn_one({"ad": "boats"}, False)
    >>> [ad] = explain(model, {"ad": "shoes"}).contributions
    >>> ad.names, ad.values, ad.logit > 0.4
    (('ad',), ('shoes',), True)
    """
    event = {str(key): value for key, value in event.items()}
    if learner.weights is None:
        return Explanation(tuple(event), 0.5, 0.0, 0.0, ())
    vectoriser = learner.vectoriser
    hashed = learner.hash_event(event)
    if vectoriser is None:
        known = learner.open_fields.known(event)
        vectoriser = learner.open_fields.vectoriser(tuple(sorted(known)))
        fields = [(name, _texts_of(vectoriser, event)[name]) for name in known]
    else:
        fields = [*_texts_of(vectoriser, event).items()]
        counters = vectoriser.counters.names if vectoriser.counters else ()
        fields += [(name, (_COUNTED,)) for name in counters]
    weights = learner.weights_for(hashed)
    logit = weights.predict(hashed)
    parts = _parts(weights, hashed)
    scale, shift = parts.calibration
    shares = (scale * parts.shares).tolist()
    contributions = [
        Contribution(names, values, sum(share), share[0], share[1], share[2], seen)
        for (names, values), share, seen in zip(
            _features(fields, weights), shares, parts.seen.tolist(), strict=True
        )
    ]
    return Explanation(
        probability=float(probabilities(logit)[0]),
        logit=float(logit[0]),
        bias=scale * parts.bias + shift,
        contributions=tuple(sorted(contributions, key=lambda c: -abs(c.logit))),
        unused=tuple(key for key in event if key not in vectoriser.columns),
    )


class _Parts(msgspec.Struct, frozen=True):
    """The mixed logit taken apart: ``bias + shares.sum()``.

    Parameters
    ----------
    bias
        What every event starts from.
    shares
        float64 (features, 3): fields, then crosses; by regressions, statistics and net.
    seen
        bool (features,).
    calibration
        Scale and shift of the mixed logit.
    """

    bias: float
    shares: F64
    seen: NDArray[np.bool_]
    calibration: tuple[float, float]


def _parts(weights: Weights, hashed: Hashed) -> _Parts:
    if isinstance(weights, StackWeights):
        return _parts_of_stack(weights, hashed)
    assert isinstance(weights, SingleWeights)
    bias, *found = single.examine_event(*weights.arguments(hashed))
    both = np.concatenate(found, axis=1)
    weight, n = both[single.WEIGHT], both[single.N]
    shares = np.stack([weight, np.zeros_like(weight), np.zeros_like(weight)], axis=1)
    return _Parts(bias, shares, n > 0.0, (1.0, 0.0))


def _parts_of_stack(weights: StackWeights, hashed: Hashed) -> _Parts:
    """Each input of the net gets its share of the linear and of the quadratic form.

    ``(u . x) (v . x)`` is given to the inputs half by u and half by v, so the shares add up.
    """
    state, events, slots, work = weights.arguments(hashed)
    stack.predict_events(state, events, slots, work, np.empty(1), np.empty(0))
    of_fields, of_crosses = work.of_fields, work.of_crosses
    mix, half = state.mixture, stack_state.RANK
    linear, factors = weights.arrays["linear"], weights.arrays["factors"]
    u, v = factors[:, :, :half], factors[:, :, half:]
    inner_u, inner_v = work.inner[0, :half], work.inner[0, half:]
    slope = linear + (u * inner_v + v * inner_u) @ state.top[1:].astype(np.float64) / 2
    f, c = of_fields.shape[1], of_crosses.shape[1]
    of = slots.field_of[0, :f]
    te, cnt, w2 = of_fields[stack_state.TE], of_fields[stack_state.CNT], of_fields[stack_state.W2]
    shares = np.zeros((f + c, 3))
    shares[:f, 0] = mix[:3] @ of_fields[[stack_state.W1, stack_state.W2, stack_state.W3]]
    shares[:f, 1] = mix[3] * (slope[0, of] * te + slope[1, of] * cnt) / np.bincount(of)[of]
    shares[:f, 2] = mix[3] * slope[2, of] * w2
    members = weights.index[slots.cross_of[0, :c]]
    inside = members >= 0
    weight, share = of_crosses[stack_state.WEIGHT], of_crosses[stack_state.SHARE]
    shares[f:, 0] = mix[2] * weight
    shares[f:, 1] = mix[3] * (slope[3, members] * inside).sum(axis=1) * share
    shares[f:, 2] = mix[3] * (slope[4, members] * inside).sum(axis=1) * weight
    events_so_far, clicks = state.totals[:2]
    base = np.log(clicks / (events_so_far - clicks))
    bias = mix[:3] @ state.bias[:, 0] + mix[3] * (base + state.top[0])
    rare = (work.rare[slots.members[0, :c]] & (slots.members[0, :c] >= 0)).any(axis=1)
    seen = np.concatenate([~work.unseen, (of_crosses[stack_state.VARIANCE] > 0.0) & ~rare])
    scale, shift = state.calibration[:2].tolist()
    return _Parts(float(bias), shares, seen, (scale, shift))


def _texts_of(vectoriser: Vectoriser, event: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {field.name: _value_texts(vectoriser, field, event) for field in vectoriser.fields}


def _features(
    fields: Sequence[tuple[str, tuple[str, ...]]], weights: Weights
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Names and values of every feature, in the kernel's order of their buckets."""
    for name, texts in fields:
        for text in texts:
            yield (name,), (text,)
    for cross in weights.index.tolist():
        numbers = [number for number in cross if number >= 0]
        if any(number >= len(fields) for number in numbers):
            continue
        for members in product(*(fields[number][1] for number in numbers)):
            yield tuple(fields[number][0] for number in numbers), members


# What a value is called


def _value_texts(
    vectoriser: Vectoriser, field: FieldPlan, event: Mapping[str, Any]
) -> tuple[str, ...]:
    """What a field's value is called, one text a token: a list has several."""
    value = event.get(field.column)
    if field.transform == "categories":
        return tuple(field.members(value)) or (_MISSING,)
    if field.is_time:
        return (_time_text(field, value),)
    low, high = vectoriser.quantiles.spans[field.number : field.number + 2]
    return (_scalar_text(field, as_text(value), vectoriser.quantiles.edges[low:high]),)


def _time_text(field: FieldPlan, value: Any) -> str:
    ms = time_ms(value, field.time_format)
    if ms == NO_TIME:
        return _MISSING
    code = int(field.time_code(ms))
    return _DAYS[code] if field.transform == "day_of_week" else f"{code:02}:00-{code:02}:59 UTC"


def _scalar_text(field: FieldPlan, text: str, edges: F64) -> str:
    if not text or field.kind == CATEGORY:
        return text or _MISSING
    value = to_number(text)
    if value is None:
        return text if field.on_text == AS_CATEGORY else f"{text} (no number: as missing)"
    if math.isnan(value):
        return f"{text} (as missing)"
    bucket = _bucket_text(field.kind, value, edges)
    return f"{text} ({bucket})" if bucket else text


def _bucket_text(kind: int, value: float, edges: F64) -> str:
    """Which values share the bucket of this one; empty: no other whole number does."""
    if kind == QUANTILE and not len(edges):
        return "buckets not learned yet"
    low, high = _bounds(kind, number_code(kind, value, edges, 0, len(edges)), edges)
    if math.isinf(high):
        return f"{low:.4g} or more"
    if math.isinf(low):
        return f"below {high:.4g}"
    if kind == QUANTILE or value != int(value):
        return f"{low:.4g} to below {high:.4g}"
    first, last = math.ceil(low), math.ceil(high) - 1
    return f"{first} to {last}" if first < last else ""


def _bounds(kind: int, code: int, edges: F64) -> tuple[float, float]:
    """Least value of a bucket, and of the next one: the inverse of ``number_code``."""
    if kind == LOG2 and code >= 2:
        return 2.0 ** (code - 1), 2.0**code if code < 54 else math.inf
    if kind == LOG2 or (kind == LOG_SQUARED and code < 3):
        return float(code) if code > _LEAST_CODE else -math.inf, code + 1.0
    at = code - 3 if kind == LOG_SQUARED else code  # edges up to the value
    low = float(edges[at - 1]) if at else -math.inf
    high = float(edges[at]) if at < len(edges) else math.inf
    return (max(low, 3.0) if kind == LOG_SQUARED else low), high
