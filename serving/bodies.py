"""What requests and replies look like; the OpenAPI description is made from these records."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from features.events import MAX_ID_LENGTH, MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS
from serving.problem import Problem

__all__ = [
    "EXAMPLE",
    "Contributions",
    "Features",
    "ImpressionBody",
    "Model",
    "PredictBody",
    "Prediction",
    "Predictions",
    "decode",
]

Scalar = str | int | float | bool | None
Value = str | int | float | bool | None | list[Scalar]
Features = dict[str, Value]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Timestamp = Annotated[int, Meta(ge=MIN_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)]
Count = Annotated[float, Meta(ge=0)]
EXAMPLE = {
    "user": "u00014822", "segment": "segment-03", "ad": "ad000000000001",
    "campaign": "campaign-000", "advertiser": "advertiser-07", "ad_category": "category-02",
    "site": "site-004", "placement": "top", "device": "phone", "interests": ["interest-02"],
}  # fmt: skip
"""Fields of an impression of the simulated market."""


class ImpressionBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An ad that is or may be shown.

    Parameters
    ----------
    fields
        Raw fields by name, as the impressions of the log have them.
    impression_id
        Given back with the prediction.
    timestamp
        When it is shown, ms since 1970 UTC; left out: now.
    counters
        Counter values to predict with, by name, instead of the feature store's; as a reply has
        them.
    """

    fields: Features
    impression_id: Id | None = None
    timestamp: Timestamp | None = None
    counters: dict[str, Count] | None = None


class PredictBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One impression, or many.

    Parameters
    ----------
    impressions
        Many; then nothing else is given.
    fields, impression_id, timestamp, counters
        One, as in ``impressions``.
    """

    impressions: list[ImpressionBody] | UnsetType = UNSET
    fields: Features | UnsetType = UNSET
    impression_id: Id | None = None
    timestamp: Timestamp | None = None
    counters: dict[str, Count] | None = None


class Prediction(msgspec.Struct, omit_defaults=True):
    """The prediction for one impression.

    Parameters
    ----------
    probability
        Of a click.
    logit
        Its log odds, the raw score.
    uncertainty
        Standard deviation of the logit, from how much was learned of these features.
    counters
        Counter values that it was made with, by name; those that are missing are left out.
    counters_age_s
        Seconds since the feature store was read; null: it was not.
    fallbacks
        What this impression lacked.
    impression_id
        As sent.
    """

    probability: float
    logit: float
    uncertainty: float | None
    counters: dict[str, float]
    counters_age_s: float | None
    fallbacks: tuple[str, ...]
    impression_id: str | UnsetType = UNSET


class Predictions(msgspec.Struct):
    """The reply to a request for predictions.

    Parameters
    ----------
    model_version
        Which weights answered.
    weights_age_s
        Seconds since an event was last learned into them; null: nothing was yet.
    fallbacks
        What the whole request lacked.
    ignored
        Fields that the spec does not know; they changed nothing.
    predictions
        In the order of the request.
    """

    model_version: str
    weights_age_s: float | None
    fallbacks: tuple[str, ...]
    ignored: tuple[str, ...]
    predictions: list[Prediction]


class Contributions(msgspec.Struct):
    """A prediction taken apart: ``logit = bias + sum of the contributions``.

    Parameters
    ----------
    ignored
        Fields that the spec does not know: first, for what follows was told without them.
    fallbacks
        What it lacked.
    model_version
        Which weights answered.
    probability, logit
        As predicted.
    bias
        What every event starts from.
    contributions
        The largest first, whatever their sign: names and values of a field or of a cross, what
        it adds to the logit, and whether anything like it was ever learned.
    """

    ignored: tuple[str, ...]
    fallbacks: tuple[str, ...]
    model_version: str
    probability: float
    logit: float
    bias: float
    contributions: tuple[dict[str, Any], ...]


class Model(msgspec.Struct, kw_only=True):
    """The model that answers.

    Parameters
    ----------
    model_version
        Names its weights.
    events
        Learned so far.
    weights_age_s
        Seconds since an event was last learned.
    problem
        Why there are no newer weights, if that is known.
    spec, spec_identity, description
        The feature spec; two specs of one identity give the same features.
    fields, crosses, counters
        Names of what it is learned from.
    experts
        Learners in the mixture, and the weight of each.
    calibration
        Scale and shift of the mixed logit.
    """

    model_version: str
    events: int
    weights_age_s: float | None
    problem: str | None
    spec: str
    spec_identity: str
    description: str
    fields: tuple[str, ...]
    crosses: tuple[tuple[str, ...], ...]
    counters: tuple[str, ...]
    experts: tuple[float, ...]
    calibration: tuple[float, ...]


T = TypeVar("T")
_any = msgspec.json.Decoder()
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]{1,100})`")
_VALUES: dict[str, Any] = {"fields": Value, "context": Value, "counters": Count}


def decode(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Read a body.

    Raises
    ------
    Problem
        It is not JSON, nests too deeply, or breaks the schema: with the place at fault.

    Examples
    --------
    >>> body = msgspec.json.Decoder(PredictBody)
    >>> decode(body, b'{"fields": 7}')
    Traceback (most recent call last):
    serving.problem.Problem: Expected `object`, got `int`
    """
    try:
        if not raw.isascii():
            raw.decode()  # what the decoder passes over must be UTF-8 too
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `")
        raise Problem(422, said, _named(raw, place.rstrip("`"), said)) from None
    except RecursionError:
        raise Problem(400, "JSON nested too deeply. Fix: fields are plain values") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is not JSON: {error}", _no_number(raw)) from None


def _named(raw: bytes, place: str, said: str) -> str | None:
    """The place at fault with the names of keys, which msgspec leaves out."""
    try:
        at: Any = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        at = None
    kind, out = "", ""
    for name, index in _STEP.findall(place):
        key = _key_at_fault(at, kind) if index == "..." else name or int(index)
        if key is None:
            break
        out += f"[{key}]" if isinstance(key, int) else f".{key}"
        at, kind = _inside(at, key), name
    unknown = _UNKNOWN.search(said)
    out += f".{unknown[1]}" if unknown else ""
    return out.lstrip(".") or None


def _no_number(raw: bytes) -> str | None:
    """Where NaN or Infinity stands, if that is what makes it no JSON."""
    try:
        return _first_odd(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def _first_odd(at: Any, place: str = "") -> str | None:
    """The first place with a number that is none."""
    if isinstance(at, float) and not math.isfinite(at):
        return place
    pairs: Any = ()
    if isinstance(at, dict):
        pairs = ((f"{place}.{key}".lstrip("."), value) for key, value in at.items())
    elif isinstance(at, list):
        pairs = ((f"{place}[{i}]", value) for i, value in enumerate(at))
    found = (_first_odd(value, where) for where, value in pairs)
    return next((where for where in found if where is not None), None)


def _inside(at: Any, key: str | int) -> Any:
    try:
        return at[key]
    except (KeyError, IndexError, TypeError):
        return None


def _key_at_fault(at: Any, kind: str) -> str | None:
    """The first key whose value is not of the type that is due there."""
    for key, value in at.items() if isinstance(at, dict) else ():
        try:
            msgspec.convert(value, _VALUES.get(kind, Any))
        except msgspec.ValidationError:
            return str(key)[:100]
    return None
