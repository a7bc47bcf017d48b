"""A process that serves: the real adapters wired together."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec
from fastapi import FastAPI

from clicktide.serving_wiring import WIRING, Wiring
from features.errors import ClicktideError
from features.spec_file import load_spec
from serving.app import build_app
from serving.metrics import Metrics
from serving.plain_weights import PlainWeights
from serving.scorer import Scorer
from serving.settings import ADMIN_TOKEN
from serving.state import ServingState

__all__ = ["make_app", "state_of"]


def make_app() -> FastAPI:
    """Make the application of one worker, by what the command left in the environment."""
    told = os.environ.get(WIRING)
    if told is None:
        raise ClicktideError("clicktide.serve: no settings. Fix: start it with `clicktide serve`")
    return build_app(state_of(msgspec.json.decode(told, type=Wiring)))


def state_of(wiring: Wiring) -> ServingState:
    """Wire the real adapters together."""
    spec = load_spec(wiring.spec)
    weights = PlainWeights(Path(wiring.live or ""), spec)
    scorer = Scorer(weights, None, spec, _now_ms)
    return ServingState(
        settings=wiring.settings,
        spec=spec,
        weights=weights,
        features=None,
        scorer=scorer,
        metrics=Metrics(),
        now_ms=_now_ms,
        say=_say,
        admin_token=os.environ.get(ADMIN_TOKEN) or None,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _say(line: str) -> None:
    print(f"serve: {line}", file=sys.stderr, flush=True)
