"""A process that serves: the real adapters wired together."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from fastapi import FastAPI

from clicktide.process_log import begin_log
from clicktide.serving_wiring import Wiring
from clicktide.watching_wiring import watching_of
from features.spec import Spec
from features.spec_file import load_spec
from monitoring.registry.follow import ChampionSource
from serving.app import build_app
from serving.features import FeatureSource
from serving.judging import judge
from serving.metrics import Metrics
from serving.open_writer import open_writer
from serving.policy import PolicyWeights
from serving.replica import ReplicaWeights
from serving.scorer import Scorer
from serving.settings import ADMIN_TOKEN
from serving.state import ServingState
from serving.warm import warm_up
from serving.weights import LiveWeights, PinnedWeights, WeightsSource
from streaming.log import open_log

_LOGGER = logging.getLogger("clicktide")

__all__ = ["make_app", "state_of"]


def make_app(wiring: bytes) -> FastAPI:
    """Make the application of one worker of the :class:`Wiring`, as JSON."""
    say = begin_log("serve")
    app = build_app(state_of(msgspec.json.decode(wiring, type=Wiring), say))
    _collect_less()
    return app


def _collect_less() -> None:
    """Let the garbage collector pass over all that is here for good, and come less often.

    Requests leave few cycles, but a large one makes thousands of objects, by which it counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def state_of(wiring: Wiring, say: Callable[[str], None] = _LOGGER.info) -> ServingState:
    """Wire the real adapters together."""
    spec = load_spec(wiring.spec)
    weights = _weights(wiring, spec)
    settings = wiring.settings
    features = FeatureSource(spec, wiring.redis, settings.store_budget_ms, parents=settings.parents)
    warm_up(spec, features, judge)
    writer = open_writer(wiring.log, wiring.stream)
    return ServingState(
        settings=settings,
        spec=spec,
        weights=weights,
        features=features,
        scorer=Scorer(weights, features, spec, _now_ms, judge),
        metrics=Metrics(),
        now_ms=_now_ms,
        say=say,
        reports=watching_of(wiring.log, None if wiring.run is None else Path(wiring.run)),
        writer=writer,
        admin_token=os.environ.get(ADMIN_TOKEN) or None,
        closing=[weights.close, features.close, writer.close],
    )


def _weights(wiring: Wiring, spec: Spec) -> WeightsSource:
    """Give the source asked for; where a registry is named, its word comes first."""
    if wiring.model is not None:
        return PinnedWeights(wiring.model, spec)
    live = _learning(wiring, spec)
    if wiring.served is None:
        return live
    champion = ChampionSource(Path(wiring.served), spec, wiring.policy)
    champion.start()
    return PolicyWeights(champion, live)


def _learning(wiring: Wiring, spec: Spec) -> LiveWeights | ReplicaWeights:
    """Weights that go on learning: of this machine, or by way of the log."""
    if wiring.follow:
        return ReplicaWeights(lambda: open_log(wiring.log), spec)
    return LiveWeights(wiring.live, spec, backup=wiring.backup)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
