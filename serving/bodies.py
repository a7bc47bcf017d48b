"""What requests and replies look like; the OpenAPI description is made from these records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from features.events import (
    MAX_ID_LENGTH,
    MAX_TIMESTAMP_MS,
    MIN_TIMESTAMP_MS,
    Probability,
    Propensity,
)
from serving.problem import Count, Value

if TYPE_CHECKING:
    from monitoring.watch.repair.table import Repair

__all__ = [
    "EXAMPLE",
    "CalibratedBy",
    "ClickEvent",
    "ClickEvents",
    "Contributions",
    "EventsAccepted",
    "Features",
    "ImpressionBody",
    "ImpressionEvent",
    "ImpressionEvents",
    "Model",
    "PredictBody",
    "Prediction",
    "Predictions",
]

Features = dict[str, Value]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Timestamp = Annotated[int, Meta(ge=MIN_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)]
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


class PredictBody(ImpressionBody, kw_only=True):
    """One impression, or many.

    Parameters
    ----------
    impressions
        Many; then nothing else is given.
    fields, impression_id, timestamp, counters
        One, as in ``impressions``.
    """

    impressions: list[ImpressionBody] | UnsetType = UNSET
    fields: Features | UnsetType = UNSET  # type: ignore[assignment]  # many bring their own


class CalibratedBy(msgspec.Struct):
    """A repair that a prediction went through (docs/monitor.md).

    Parameters
    ----------
    slice
        Of which it is.
    factor
        By which the hazard of a click was multiplied: of a small probability, the probability.
    since
        Event time from which on, ms since 1970 UTC.
    """

    slice: str
    factor: float
    since: int

    @classmethod
    def of(cls, repairs: Sequence[Repair]) -> tuple[CalibratedBy, ...]:
        """Those of one event."""
        return tuple(cls(repair.name, repair.factor, repair.since_ms) for repair in repairs)


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
    model_probability, calibrated_by
        Where the prediction is of a slice that is being repaired: what the model said, and the
        repairs. Otherwise left out.
    """

    probability: float
    logit: float
    uncertainty: float | None
    counters: dict[str, float]
    counters_age_s: float | None
    fallbacks: tuple[str, ...]
    impression_id: str | UnsetType = UNSET
    model_probability: float | UnsetType = UNSET
    calibrated_by: tuple[CalibratedBy, ...] = ()


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


class Contributions(msgspec.Struct, omit_defaults=True):
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
    model_probability, calibrated_by
        As :class:`Prediction` has them: ``logit`` is the model's own then, and ``probability``
        what is served.
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
    model_probability: float | UnsetType = UNSET
    calibrated_by: tuple[CalibratedBy, ...] = ()


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
    mixture
        Whose logits are mixed, and the weight of each.
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
    mixture: dict[str, float]
    calibration: tuple[float, ...]


Plain = str | int | float | bool | list[str] | None


class ImpressionEvent(msgspec.Struct, kw_only=True):
    """An ad was shown.

    Parameters
    ----------
    impression_id
        Names it; a click has the same. Sent again, it counts once. Left out: one is made up.
    timestamp
        When, ms since 1970 UTC; left out: now.
    fields
        Raw fields by name.
    probability, model_version, propensity, counters
        What it was served with, as a reply of this API has them.
    v, type
        As in the log; may be left out.
    """

    impression_id: Id | None = None
    timestamp: Timestamp | None = None
    fields: dict[str, Plain] = {}
    probability: Probability | None = None
    model_version: str | None = None
    propensity: Propensity | None = None
    counters: dict[str, float] | None = None
    v: Literal[1] = 1
    type: Literal["impression"] = "impression"


class ImpressionEvents(ImpressionEvent, kw_only=True):
    """One impression, or many.

    Parameters
    ----------
    impressions
        Many; then nothing else is given.
    """

    impressions: list[ImpressionEvent] | UnsetType = UNSET


class ClickEvent(msgspec.Struct, kw_only=True):
    """What a user did with an impression.

    Parameters
    ----------
    impression_id
        The impression's.
    timestamp
        When, ms since 1970 UTC; left out: now.
    kind
        ``click``, or ``dismiss``: the ad was hidden.
    v, type
        As in the log; may be left out.
    """

    impression_id: Id | UnsetType = UNSET
    timestamp: Timestamp | None = None
    kind: Literal["click", "dismiss"] = "click"
    v: Literal[1] = 1
    type: Literal["click"] = "click"


class ClickEvents(ClickEvent, kw_only=True):
    """One click, or many.

    Parameters
    ----------
    clicks
        Many; then nothing else is given.
    """

    clicks: list[ClickEvent] | UnsetType = UNSET


class EventsAccepted(msgspec.Struct, omit_defaults=True):
    """All of it is durable.

    Parameters
    ----------
    written
        Events that are new in the log.
    duplicates
        Events that were there.
    impression_ids
        In the order of the request.
    warning
        Only where the stream will reject some of them for their times: the reason, and why.
    """

    written: int
    duplicates: int
    impression_ids: list[str]
    warning: str | None = None
