"""``/v1/model``: the model that answers."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Response

from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from serving.bodies import Model
from serving.server_state import ServingState

__all__ = ["routes"]


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
