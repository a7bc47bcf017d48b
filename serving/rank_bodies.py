"""What a request for a ranking and its reply look like."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from features.events import MAX_ID_LENGTH
from serving.bodies import CalibratedBy, Features, Id, Timestamp
from serving.problem import Count

__all__ = ["Candidate", "Explore", "Logging", "RankBody", "Ranked", "Rankings"]

MOST_SLOTS = 20


class Explore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to choose what is shown.

    Parameters
    ----------
    kind
        ``none``, ``epsilon`` or ``thompson``.
    epsilon
        Of ``epsilon``: how often any candidate is shown, 0..1. Higher: more is learned of the
        rarely shown, and more is lost.
    width
        Of ``thompson``: multiplies the standard deviations, 0..10. Lower: less is explored
        (Chapelle and Li 2011 found 0.25 to 0.5 better than 1 where clicks are rare).
    """

    kind: Literal["none", "epsilon", "thompson"] = "none"
    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.05
    width: Annotated[float, Meta(ge=0, le=10)] = 1.0


class Candidate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An ad that may be shown.

    Parameters
    ----------
    fields
        Its fields by name; they go before those of the context.
    bid
        What a click is worth.
    id
        Given back.
    counters
        Counter values to predict with, by name, instead of the feature store's.
    """

    fields: Features
    bid: Annotated[float, Meta(ge=0, le=1e12)] = 1.0
    id: Id | None = None
    counters: dict[str, Count] | None = None


class Logging(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to log what is shown.

    Parameters
    ----------
    impression_id
        Of the first slot; of the others, with ``-2``, ``-3``... behind it.
    """

    impression_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH - 3)] | None = None


class RankBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Candidates for one or several slots.

    Parameters
    ----------
    candidates
        What may be shown.
    context
        Fields that all of them share: user, site, device.
    explore
        ``none``, ``epsilon``, ``thompson``, or one of them with its settings; left out: as the
        server is set.
    seed
        The same seed, request and model give the same order.
    slots
        How many are shown.
    log
        Whether to log those shown as impressions, with all that they were served with.
    timestamp
        When it is shown, ms since 1970 UTC; left out: now.
    """

    candidates: list[Candidate]
    context: Features = {}
    explore: Literal["none", "epsilon", "thompson"] | Explore | None = None
    seed: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    slots: Annotated[int, Meta(ge=1, le=MOST_SLOTS)] = 1
    log: bool | Logging = False
    timestamp: Timestamp | None = None


class Ranked(msgspec.Struct, omit_defaults=True):
    """A candidate in its place.

    Parameters
    ----------
    index, id
        Which of the request.
    slot
        Where it is shown, from 1; null: it is not.
    expected_value
        Bid times probability.
    probability, logit, uncertainty
        Of a click; its log odds, and their standard deviation.
    propensity
        Chance that it got this slot, given the slots before; if not shown, of the first slot.
    fallbacks
        What it lacked.
    impression_id
        If it was shown and logging was asked for.
    counters
        Of those shown: the counter values it was predicted with.
    calibrated_by
        Repairs that its probability went through.
    """

    index: int
    slot: int | None
    expected_value: float
    probability: float
    logit: float
    uncertainty: float | None
    propensity: float
    fallbacks: tuple[str, ...]
    id: str | None = None
    impression_id: str | None = None
    counters: dict[str, float] | None = None
    calibrated_by: tuple[CalibratedBy, ...] = ()


class Rankings(msgspec.Struct):
    """The reply to a request for a ranking.

    Parameters
    ----------
    model_version
        Which weights answered.
    weights_age_s
        Seconds since an event was last learned into them.
    counters_age_s
        Seconds since the feature store was read.
    explore
        How it was chosen.
    logged
        Whether those shown are durable in the event log; if not, though asked for, ``fallbacks``
        says why, and they can be sent to ``/v1/impressions``.
    fallbacks
        What the whole request lacked; after ``log:`` also why the stream will reject what was
        logged.
    ignored
        Fields that the spec does not know.
    candidates
        Those shown, slot by slot, then the others by expected value.
    """

    model_version: str
    weights_age_s: float | None
    counters_age_s: float | None
    explore: Explore
    logged: bool
    fallbacks: tuple[str, ...]
    ignored: tuple[str, ...]
    candidates: list[Ranked]
