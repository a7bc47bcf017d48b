"""``/v1/explain``: a prediction taken apart."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from features.counters.names import COLUMN_PREFIX
from features.errors import RowError
from learning.explain import explain
from serving.bodies import EXAMPLE, CalibratedBy, Contributions, ImpressionBody
from serving.problem import Problem, decode
from serving.routes.predict import JSON, events_of, ignored_in
from serving.server_state import ServingState

__all__ = ["routes"]

_REFUSALS = (400, 408, 413, 422, 500, 503)
_body = msgspec.json.Decoder(ImpressionBody)
_PARAMETER = {
    "name": "impression",
    "in": "query",
    "required": True,
    "description": "The impression, as the body of `POST /v1/explain`, in JSON",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/ImpressionBody"},
            "example": {"fields": EXAMPLE},
        }
    },
}


def routes(state: ServingState) -> APIRouter:
    """Give the routes of explanations."""
    router = APIRouter(tags=["explain"], default_response_class=Response)
    describe = partial(state.operations.describe, reply=Contributions, refusals=_REFUSALS)
    told_get = describe(parameters=[_PARAMETER])
    told_post = describe(body=ImpressionBody, examples={"one impression": {"fields": EXAMPLE}})

    @router.get("/v1/explain", summary="A prediction taken apart", openapi_extra=told_get)
    async def explain_get(request: Request) -> Response:
        """What each field, counter and cross adds to the logit of one impression."""
        given = request.query_params.get("impression")
        if given is None:
            message = "missing. Fix: /v1/explain?impression={JSON as for POST}, URL-encoded"
            raise Problem(422, message, "impression")
        return _answer(state, given.encode("utf-8", "replace"))

    @router.post("/v1/explain", summary="A prediction taken apart", openapi_extra=told_post)
    async def explain_post(request: Request) -> Response:
        """What each field, counter and cross adds to the logit of one impression."""
        return _answer(state, await request.body())

    return router


def _answer(state: ServingState, raw: bytes) -> Response:
    one = decode(_body, raw)
    events = events_of([one], state.now_ms())
    ignored = ignored_in(state, events.fields)
    scored = state.scorer.score(events)
    fields = dict(state.scorer.timed(one.fields, events.times[0]))
    if scored.counters is not None:
        names = (COLUMN_PREFIX + name for name in state.scorer.value_names)
        fields |= dict(zip(names, scored.counters[0].tolist(), strict=True))
    weights = state.scorer.current_weights()
    try:
        found = explain(weights.learner, fields)
    except RowError as error:
        raise Problem(422, str(error)) from None
    shares: tuple[dict[str, Any], ...] = msgspec.to_builtins(found.contributions)
    reply = Contributions(
        ignored, (*scored.lacked, *scored.fallbacks[0]),
        scored.version, found.probability, found.logit, found.bias, shares,
    )  # fmt: skip
    if scored.repairs is not None and scored.repairs[0]:
        reply.model_probability = reply.probability
        reply.probability = float(scored.probability[0])
        reply.calibrated_by = CalibratedBy.of(scored.repairs[0])
    return Response(msgspec.json.encode(reply), media_type=JSON)
