"""``/healthz``, ``/readyz`` and ``/metrics``: whether it can answer, and figures."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response

from serving.metrics import CONTENT_TYPE_LATEST
from serving.problem import Problem
from serving.server_state import ServingState

__all__ = ["Health", "routes"]


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


def routes(state: ServingState) -> APIRouter:
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
