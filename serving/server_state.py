"""What one serving process works with; the only thing that routes are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.spec import Spec
from serving.access import Access
from serving.metrics import Metrics
from serving.request_features import FeatureSource
from serving.schema import Operations
from serving.scorer import Scorer
from serving.settings import ServeSettings
from serving.weights import WeightsSource

__all__ = ["Handler", "ServingState"]

Handler = Callable[[bytes], Awaitable[bytes]]
"""Answers a request: its body in, the JSON of the reply out; or a Problem."""


@dataclass
class ServingState:
    """What one serving process works with.

    Parameters
    ----------
    settings, spec
        As declared.
    weights, features
        Where weights and counter values come from.
    scorer
        Scores with both.
    metrics
        What is counted.
    now_ms
        The wall clock.
    rng
        Makes a random generator from a seed, or an unpredictable one from ``None``.
    say
        Takes a line for the operator.
    writer
        Puts events into the log; ``None``: this process takes none.
    reports
        A :class:`serving.dashboard_feed.Watching`: what ``/dashboard`` and ``/reports/`` show.
    access
        Knows who may call; everybody, unless it has tokens.
    operations
        Describes what routes take and give.
    fast
        Handlers of the busiest routes, by path (:mod:`serving.middleware`).
    closing
        What to call at the end.
    """

    settings: ServeSettings
    spec: Spec
    weights: WeightsSource
    features: FeatureSource | None
    scorer: Scorer
    metrics: Metrics
    now_ms: Callable[[], int]
    say: Callable[[str], None]
    rng: Callable[[int | None], np.random.Generator] = np.random.default_rng
    writer: Any = None
    reports: Any = None
    access: Access = field(default_factory=Access)
    operations: Operations = field(default_factory=Operations)
    fast: dict[str, Handler] = field(default_factory=dict)
    closing: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Let go of everything, last opened first."""
        while self.closing:
            self.closing.pop()()
