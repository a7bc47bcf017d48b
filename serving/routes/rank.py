"""``POST /v1/rank``: candidates in the order of their expected value, and what was shown logged."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray

from features.events import Impression
from features.values import as_text
from serving.access import CALLER
from serving.bodies import EXAMPLE, CalibratedBy
from serving.event_batch import EventBatch, ScoredEvents, shared_fields
from serving.event_writer import EventsRefusedError, EventWriter
from serving.middleware import endpoint
from serving.problem import Problem, check_count, decode
from serving.rank_bodies import Explore, Logging, RankBody, Ranked, Rankings
from serving.ranking import Ranking, first_chances, rank
from serving.routes.events import check_time
from serving.routes.predict import ignored_in
from serving.server_state import ServingState

__all__ = ["routes"]

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


_body = msgspec.json.Decoder(RankBody)
_encode = msgspec.json.Encoder().encode


def routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    first_chances(np.zeros(2), np.zeros(2), np.ones(2))  # compiled now, not at the first request
    router = APIRouter(tags=["rank"])
    description = state.operations.describe(
        body=RankBody,
        reply=Rankings,
        examples=_EXAMPLES,
        refusals=(400, 408, 413, 415, 422, 500, 503),
    )
    logged: OrderedDict[str, bytes] = OrderedDict()  # replies, by the impression id asked for

    async def rank_candidates(asked_for: bytes) -> bytes:
        """Candidates in the order of bid × click probability, each with its propensity.

        `explore` shows now and then what is not known well. With `log`, those shown are written
        to the event log with the very features they were predicted with, which are then the
        features that are learned. A request sent again with the same `log.impression_id` gets the
        same reply.
        """
        body = decode(_body, asked_for)
        if body.log is not False:
            CALLER.get().must_have("events", "log")
        asked = body.log.impression_id if isinstance(body.log, Logging) else None
        if asked is not None and asked in logged:
            return logged[asked]
        reply = await _ranked(state, body)
        raw = _encode(reply)
        if asked is not None and reply.logged:
            logged[asked] = raw
            if len(logged) > _REPLIES:
                logged.popitem(last=False)
        return raw

    state.fast["/v1/rank"] = rank_candidates
    add = router.post("/v1/rank", summary="Candidates by expected value", openapi_extra=description)
    add(endpoint(rank_candidates))
    return router


async def _ranked(state: ServingState, body: RankBody) -> Rankings:
    count = len(body.candidates)
    check_count(count, state.settings.max_candidates, "candidates")
    now = state.now_ms() if body.timestamp is None else body.timestamp
    if body.log is not False:
        check_time(state, now, "timestamp")
    counters = [one.counters for one in body.candidates]
    events = EventBatch(
        shared_fields(body.context, [one.fields for one in body.candidates]),
        [now] * count,
        None if counters.count(None) == count else counters,
    )
    try:
        ignored = ignored_in(state, events.fields)
        scored = await state.scorer.score_soon(events)
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
        written, message = await _log(state, impressions)
        lacked = (*lacked, f"log: {message}") if message else lacked
    return Rankings(
        scored.version, scored.weights_age_s, scored.counters_age_s, explore, written, lacked,
        ignored, candidates,
    )  # fmt: skip


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
    state: ServingState, body: RankBody, scored: ScoredEvents, ranked: Ranking
) -> list[Ranked]:
    order, unsure = ranked.order, scored.uncertainty
    indices = order.tolist()
    columns = zip(
        indices, ranked.value[order].tolist(), scored.probability[order].tolist(),
        scored.logit[order].tolist(),
        [None] * len(order) if unsure is None else unsure[order].tolist(),
        ranked.propensity[0, order].tolist(), strict=True,
    )  # fmt: skip
    lacked, asked = scored.fallbacks, body.candidates
    out = [
        Ranked(i, None, value, p, logit, sd, chance, lacked[i], asked[i].id)
        for i, value, p, logit, sd, chance in columns
    ]
    if scored.repairs is not None:
        for ranking in out:
            ranking.calibrated_by = CalibratedBy.of(scored.repairs[ranking.index])
    for place, i in enumerate(indices[: len(ranked.propensity)]):
        out[place].slot = place + 1
        out[place].propensity = float(ranked.propensity[place, i])
        out[place].counters = _counters(state.scorer.value_names, scored.counters, i)
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
    events: EventBatch,
    scored: ScoredEvents,
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
            timestamp=events.times[one.index],
            fields={name: _logged(v) for name, v in events.fields[one.index].items()},
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


async def _log(state: ServingState, impressions: list[Impression]) -> tuple[bool, str | None]:
    """Write what was shown; whether it was, and why not, or why the stream will reject it."""
    writer: EventWriter | None = state.writer
    if writer is None:
        return False, "this server has none"
    try:
        done = await writer.write(impressions, _SHARE * state.settings.request_timeout_s)
    except EventsRefusedError as error:
        return False, str(error)
    if done.duplicates:
        return False, "this impression_id was logged before"
    return True, writer.note(impressions)
