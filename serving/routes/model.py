"""``/v1/model`` and ``/v1/explain``: the model that answers, and a prediction of it taken apart."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from features.counters.names import COLUMN_PREFIX
from features.errors import RowError
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.explain import explain
from serving.bodies import EXAMPLE, CalibratedBy, Contributions, ImpressionBody, Model
from serving.problem import Problem, decode
from serving.routes.predict import JSON, events_of, ignored_in
from serving.server_state import ServingState

__all__ = ["routes"]

_REFUSALS = (400, 408, 413, 415, 422, 500, 503)
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
    """Give the routes."""
    router = APIRouter(default_response_class=Response)
    about_model = state.operations.describe(reply=Model, refusals=(500, 503))
    identity = spec_identity(state.spec)

    @router.get(
        "/v1/model", tags=["model"], summary="The model that answers", openapi_extra=about_model
    )
    async def model() -> Response:
        """Version and age of the weights, events learned, fields, crosses and counters."""
        weights = state.scorer.current_weights()
        age = weights.age_ms(state.now_ms())
        reply = Model(
            model_version=weights.version,
            events=weights.events,
            weights_age_s=None if age is None else age / 1000,
            problem=weights.problem,
            spec=state.spec.name,
            spec_identity=identity,
            description=state.spec.description,
            counters=state.scorer.value_names,
            **_learned(weights.learner),
        )
        return Response(msgspec.json.encode(reply), media_type=JSON)

    describe = partial(state.operations.describe, reply=Contributions, refusals=_REFUSALS)
    about_get = describe(parameters=[_PARAMETER])
    about_post = describe(body=ImpressionBody, examples={"one impression": {"fields": EXAMPLE}})

    summary = "A prediction taken apart"

    @router.get("/v1/explain", tags=["explain"], summary=summary, openapi_extra=about_get)
    async def explain_get(request: Request) -> Response:
        """What each field, counter and cross adds to the logit of one impression."""
        given = request.query_params.get("impression")
        if given is None:
            message = "missing. Fix: /v1/explain?impression={JSON as for POST}, URL-encoded"
            raise Problem(422, message, "impression")
        return _answer(state, given.encode("utf-8", "replace"))

    @router.post("/v1/explain", tags=["explain"], summary=summary, openapi_extra=about_post)
    async def explain_post(request: Request) -> Response:
        """What each field, counter and cross adds to the logit of one impression."""
        return _answer(state, await request.body())

    return router


def _learned(learner: ClickLearner) -> dict[str, Any]:
    vectoriser, weights = learner.vectoriser, learner.weights
    assert vectoriser is not None and weights is not None
    names = [field.name for field in vectoriser.fields]
    return {
        "fields": tuple(names),
        "crosses": tuple(
            tuple(names[i] for i in cross if i >= 0) for cross in vectoriser.crosses.tolist()
        ),
        "mixture": weights.mixture,
        "calibration": weights.calibration,
    }


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
