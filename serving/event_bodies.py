"""What impressions and clicks sent to the API look like, and the reply."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from features.events import Probability, Propensity
from serving.bodies import Id, Timestamp

__all__ = ["ClickEvent", "ClickEvents", "EventsAccepted", "ImpressionEvent", "ImpressionEvents"]

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
