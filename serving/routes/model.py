"""The model that answers, its explanations, and health: whether it can answer, and figures."""

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
from serving.bodies import EXAMPLE, Contributions, ImpressionBody, Model
from serving.metrics import CONTENT_TYPE_LATEST
from serving.problem import Problem, decode
from serving.routes.predict import JSON, events_of, ignored_in
from serving.server_state import ServingState

__all__ = ["Health", "explain_routes", "health_routes", "routes"]


def routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["model"], default_response_class=Response)
    description = state.operations.describe(reply=Model, refusals=(500, 503))
    identity = spec_identity(state.spec)

    @router.get("/v1/model", summary="The model that answers", openapi_extra=description)
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
        return Response(msgspec.json.encode(reply), media_type="application/json")

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


def explain_routes(state: ServingState) -> APIRouter:
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
            said = "missing. Fix: /v1/explain?impression={JSON as for POST}, URL-encoded"
            raise Problem(422, said, "impression")
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
        weights.version, found.probability, found.logit, found.bias, shares,
    )  # fmt: skip
    return Response(msgspec.json.encode(reply), media_type=JSON)


class Health(msgspec.Struct):
    """That it runs, and what it lacks.

    Parameters
    ----------
    status
        ``ok``.
    lacks
        What it would be better with.
    """

    status: str
    lacks: tuple[str, ...]


def health_routes(state: ServingState) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["health"], default_response_class=Response)
    alive = state.operations.describe(reply=Health, refusals=(500,))
    ready = state.operations.describe(reply=Health, refusals=(500, 503))
    text = {"200": {"description": "Prometheus text", "content": {"text/plain": {}}}}

    @router.get("/healthz", summary="Whether it runs", openapi_extra=alive)
    async def healthz() -> Response:
        """200 as long as the process answers at all."""
        return _health(())

    @router.get("/readyz", summary="Whether it can predict", openapi_extra=ready)
    async def readyz() -> Response:
        """200 once there are weights; 503 before."""
        problem = state.scorer.current_weights().problem
        return _health(() if problem is None else (f"weights: {problem}",))

    @router.get("/metrics", summary="Figures for Prometheus", openapi_extra={"responses": text})
    async def metrics() -> Response:
        """All workers together."""
        try:
            weights = state.scorer.current_weights()
        except Problem:
            return Response(state.metrics.text(), media_type=CONTENT_TYPE_LATEST)
        age = weights.age_ms(state.now_ms())
        state.metrics.weights(weights.events, None if age is None else age / 1000)
        return Response(state.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _health(lacks: tuple[str, ...]) -> Response:
    return Response(msgspec.json.encode(Health("ok", lacks)), media_type="application/json")
