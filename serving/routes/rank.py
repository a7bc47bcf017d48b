"""``POST /v1/rank``: candidates in the order of their expected value, and what was shown logged."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from msgspec import Meta
from numpy.typing import NDArray

from features.events import MAX_ID_LENGTH, Impression
from features.values import as_text
from serving.bodies import EXAMPLE, Count, Features, Id, Timestamp, decode
from serving.event_writer import EventsRefusedError, EventWriter
from serving.problem import Problem
from serving.ranking import Explore, Ranking, rank
from serving.routes.predict import ignored_in
from serving.scorer import Event, Scored
from serving.state import ServingState

__all__ = ["routes"]

JSON = "application/json"
MOST_SLOTS = 20
_REPLIES = 2_000
_SHARE = 0.5  # of a request's time, for the log: a ranking comes even without it
_CONTEXT = {
    name: EXAMPLE[name] for name in ("user", "segment", "site", "placement", "device", "interests")
}
_ADS = [
    {
        "id": ad,
        "bid": bid,
        "fields": {"ad": ad, **{name: EXAMPLE[name] for name in ("campaign", "advertiser")}},
    }
    for ad, bid in (("ad000000000001", 1.2), ("ad000000000002", 0.9))
]
_EXAMPLES = {
    "the best of two": {"context": _CONTEXT, "candidates": _ADS},
    "explore, and log what is shown": {
        "context": _CONTEXT,
        "candidates": _ADS,
        "explore": "thompson",
        "log": True,
    },
}


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
        What the whole request lacked.
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


_body = msgspec.json.Decoder(RankBody)
_encode = msgspec.json.Encoder().encode


def routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["rank"])
    told = state.operations.describe(
        body=RankBody,
        reply=Rankings,
        examples=_EXAMPLES,
        refusals=(400, 408, 413, 422, 500, 503),
    )
    logged: OrderedDict[str, bytes] = OrderedDict()  # replies, by the impression id asked for

    @router.post("/v1/rank", summary="Candidates by expected value", openapi_extra=told)
    async def rank_candidates(request: Request) -> Response:
        """Candidates in the order of bid × click probability, each with its propensity.

        `explore` shows now and then what is not known well. With `log`, those shown are written
        to the event log with the very features they were predicted with, which are then the
        features that are learned. A request sent again with the same `log.impression_id` gets the
        same reply.
        """
        body = decode(_body, await request.body())
        asked = body.log.impression_id if isinstance(body.log, Logging) else None
        if asked is not None and asked in logged:
            return Response(logged[asked], media_type=JSON)
        reply = await _ranked(state, body)
        raw = _encode(reply)
        if asked is not None and reply.logged:
            logged[asked] = raw
            if len(logged) > _REPLIES:
                logged.popitem(last=False)
        return Response(raw, media_type=JSON)

    return router


async def _ranked(state: ServingState, body: RankBody) -> Rankings:
    count = len(body.candidates)
    _check(body, state.settings.max_candidates)
    now = state.now_ms() if body.timestamp is None else body.timestamp
    events = [
        Event({**body.context, **one.fields} if body.context else one.fields, now, one.counters)
        for one in body.candidates
    ]
    try:
        ignored = ignored_in(state, [event.fields for event in events])
        scored = state.scorer.score(events)
    except Problem as problem:
        raise _of_candidate(problem) from None
    state.metrics.scored(count, sum(map(bool, scored.fallbacks)))
    explore = _explore(state, body)
    ranked = rank(
        scored.probability,
        scored.logit,
        np.zeros(count) if scored.uncertainty is None else scored.uncertainty,
        np.array([one.bid for one in body.candidates]),
        explore,
        state.rng(body.seed),
        min(body.slots, count),
    )
    candidates = _candidates(state, body, scored, ranked)
    lacked, written = scored.lacked, False
    if body.log is not False:
        impressions = _impressions(body, events, scored, ranked, candidates)
        problem_of_log = await _log(state, impressions)
        written = problem_of_log is None
        lacked = lacked if problem_of_log is None else (*lacked, f"log: {problem_of_log}")
    return Rankings(
        scored.version, scored.weights_age_s, scored.counters_age_s, explore, written, lacked,
        ignored, candidates,
    )  # fmt: skip


def _check(body: RankBody, most: int) -> None:
    count = len(body.candidates)
    if not 1 <= count <= most:
        detail = f"{count} candidates. Fix: give 1 to {most}"
        raise Problem(422, detail, "candidates", title="Too many" if count else "")


def _of_candidate(problem: Problem) -> Problem:
    """The same problem, its place as this request has it."""
    field = problem.field
    if field is not None and field.startswith("fields"):
        field = f"impressions[0].{field}"
    if field is not None:
        field = field.replace("impressions[", "candidates[", 1)
    return Problem(
        problem.status, problem.detail, field, title=problem.title, headers=problem.headers
    )


def _explore(state: ServingState, body: RankBody) -> Explore:
    asked = body.explore
    if isinstance(asked, Explore):
        return asked
    return Explore(asked or state.settings.explore, epsilon=state.settings.epsilon)


def _candidates(
    state: ServingState, body: RankBody, scored: Scored, ranked: Ranking
) -> list[Ranked]:
    slots = len(ranked.propensity)
    first = ranked.propensity[0]
    unsure = scored.uncertainty
    out = []
    for place, i in enumerate(ranked.order.tolist()):
        shown = place < slots
        out.append(
            Ranked(
                index=i,
                slot=place + 1 if shown else None,
                expected_value=float(ranked.value[i]),
                probability=float(scored.probability[i]),
                logit=float(scored.logit[i]),
                uncertainty=None if unsure is None else float(unsure[i]),
                propensity=float(ranked.propensity[place, i] if shown else first[i]),
                fallbacks=scored.fallbacks[i],
                id=body.candidates[i].id,
                counters=_counters(state.scorer.value_names, scored.counters, i) if shown else None,
            )
        )
    return out


def _counters(
    names: Sequence[str], values: NDArray[np.float64] | None, row: int
) -> dict[str, float] | None:
    """Counter values of an event; what is missing is left out. None: the spec has no counters."""
    if not names:
        return None
    if values is None:
        return {}
    pairs = zip(names, values[row].tolist(), strict=True)
    return {name: value for name, value in pairs if value == value}


def _impressions(
    body: RankBody,
    events: Sequence[Event],
    scored: Scored,
    ranked: Ranking,
    candidates: Sequence[Ranked],
) -> list[Impression]:
    """What was shown, with all that it was served with; notes the ids in the reply."""
    asked = body.log.impression_id if isinstance(body.log, Logging) else None
    first, out = asked or uuid.uuid4().hex, []
    for slot, one in enumerate(candidates[: len(ranked.propensity)], start=1):
        one.impression_id = first if slot == 1 else f"{first}-{slot}"
        impression = Impression(
            v=1,
            impression_id=one.impression_id,
            timestamp=events[one.index].timestamp,
            fields={name: _logged(v) for name, v in events[one.index].fields.items()},
            probability=one.probability,
            model_version=scored.version,
            propensity=min(one.propensity, 1.0),
            counters=one.counters,
        )
        out.append(impression)
    return out


def _logged(value: Any) -> Any:
    """A field as the log has it: lists are of texts."""
    if isinstance(value, list):
        return [as_text(member) for member in value if member is not None]
    return value


async def _log(state: ServingState, impressions: list[Impression]) -> str | None:
    """Write what was shown; why it could not be, if so."""
    writer: EventWriter | None = state.writer
    if writer is None:
        return "this server has none"
    try:
        done = await writer.write(impressions, _SHARE * state.settings.request_timeout_s)
    except EventsRefusedError as error:
        return str(error)
    return "this impression_id was logged before" if done.duplicates else None
