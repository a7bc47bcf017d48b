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
from features.spec import Rates
from features.times import NO_TIME, time_ms
from features.token_kernels import AS_CATEGORY
from features.transforms import CATEGORY, LOG2, LOG_SQUARED, QUANTILE, number_code
from features.values import as_text, to_number
from features.vectoriser import Vectoriser
from learning.buckets import capacity, expand_event
from learning.click_learner import ClickLearner, probabilities
from learning.steps import weigh
from learning.weights import Weights, lane_rates

__all__ = ["Contribution", "Explanation", "explain"]

_COUNTED = "as counted"
"""Stands for the value of a counter: a click rate beside that of all events, not a text."""
F64 = NDArray[np.float64]
Buckets = NDArray[np.int64]

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
        Mixture weight times weight, summed over the experts, times the calibration's scale.
        The odds are multiplied by its exponential.
    seen
        Whether anything that falls into this bucket was ever learned; if not, it adds 0.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    logit: float
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
    if vectoriser is None:
        present = tuple(sorted(key for key, value in event.items() if as_text(value)))
        vectoriser = learner.open_fields.vectoriser(present)
    hashed = vectoriser.hash_event(event)
    weights = learner.weights_for(hashed)
    logit = weights.predict(hashed)
    (bias, _), *shares = _shares(weights, hashed)
    scale, shift = weights.calibration[:2].tolist()
    features = _features(vectoriser, weights, event)
    contributions = [
        Contribution(names, values, scale * share, seen)
        for (names, values), (share, seen) in zip(features, shares, strict=True)
    ]
    return Explanation(
        probability=float(probabilities(logit)[0]),
        logit=float(logit[0]),
        bias=scale * bias + shift,
        contributions=tuple(sorted(contributions, key=lambda c: -abs(c.logit))),
        unused=tuple(key for key in event if key not in vectoriser.columns),
    )


def _shares(weights: Weights, hashed: Hashed) -> list[tuple[float, bool]]:
    """Share of the mixed logit, and whether it was ever learned, of each bucket: bias first."""
    fields, crosses = _buckets(weights, hashed)
    shares = _table_shares(
        weights.fields, fields, [e.fields for e in weights.experts], weights.mixture
    )
    if weights.kc:
        rates = [e.crosses for e in weights.experts[: weights.kc] if e.crosses]
        mixture = weights.mixture[: weights.kc]
        shares += _table_shares(weights.crosses, crosses, rates, mixture)
    return shares


def _buckets(weights: Weights, hashed: Hashed) -> tuple[Buckets, Buckets]:
    """Buckets of one event in the two tables, as the kernel finds them."""
    most = capacity(hashed.starts, 1, hashed.fields, weights.index)
    fields, crosses = np.empty(most[0], np.int64), np.empty(most[1], np.int64)
    sizes = np.array([1, 1 if weights.kc else 0], np.int64)  # 1: count in buckets, not in floats
    written = expand_event(
        hashed.tokens, hashed.starts, 0, hashed.fields, weights.index, weights.shifts, sizes,
        fields, 0, crosses, 0,
    )  # fmt: skip
    return fields[: written[0]], crosses[: written[1]]


def _table_shares(
    table: F64, buckets: Buckets, rates: Sequence[Rates], mixture: F64
) -> list[tuple[float, bool]]:
    z, n = table[buckets, 0], table[buckets, 1]
    weight = np.empty(z.size)
    lanes = lane_rates(list(rates), len(buckets))
    weigh(z.reshape(-1), n.reshape(-1), lanes, z.size, np.empty(z.size), weight)
    shares = weight.reshape(z.shape) @ mixture
    return list(zip(shares.tolist(), (n > 0.0).any(axis=1).tolist(), strict=True))


def _features(
    vectoriser: Vectoriser, weights: Weights, event: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Names and values of every feature, in the kernel's order of their buckets."""
    names = [field.name for field in vectoriser.fields]
    values = [_value_texts(vectoriser, field, event) for field in vectoriser.fields]
    for name, texts in zip(names, values, strict=True):
        for text in texts:
            yield (name,), (text,)
    for name in vectoriser.counters.names if vectoriser.counters else ():
        yield (name,), (_COUNTED,)
    for cross in weights.index.tolist() if weights.kc else ():
        numbers = [number for number in cross if number >= 0]
        for members in product(*(values[number] for number in numbers)):
            yield tuple(names[number] for number in numbers), members


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
