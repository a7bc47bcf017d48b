"""An application of a small shop, with weights and counters of its own, asked without a network."""

import asyncio

import httpx
import numpy as np

from features.spec import CounterSpec, CrossSpec, FieldSpec, HashSpec, SourceSpec, Spec
from learning import ClickLearner
from serving.app import build_app
from serving.metrics import Metrics
from serving.request_features import Fetched
from serving.scorer import Scorer
from serving.server_state import ServingState
from serving.settings import ServeSettings
from serving.weights import FixedWeights

NOW = 1_736_121_600_000
SPEC = Spec(
    name="shop",
    source=SourceSpec(label="click", timestamp="timestamp", timestamp_format="ms"),
    fields=(
        FieldSpec(names=("ad", "site")),
        FieldSpec(names=("price",), transform="log2"),
        FieldSpec(names=("hour",), transform="hour_of_day", column="timestamp"),
    ),
    counters=(CounterSpec(keys=("ad",), half_lives_h=(24,)),),
    crosses=CrossSpec(all_pairs=True),
    hash=HashSpec(bits=10, cross_bits=10),
)
NAMES = ["ad_views_24h", "ad_clicks_24h", "overall_views_24h", "overall_clicks_24h"]
VALUES = [30.0, 3.0, 500.0, 20.0]


class Weights:
    problem = None

    def __init__(self, learner, problem=None):
        self.weighing = learner and FixedWeights(learner, "v7", 300, NOW - 2_500, problem)

    def current(self):
        return self.weighing


class Store:
    def __init__(self, fallbacks=()):
        self.fallbacks = fallbacks

    def fetch_all(self, requests):
        return [self.fetch(*one) for one in requests]

    def fetch(self, events, at_ms):
        return Fetched(np.array([VALUES] * len(events)), 4.0, [self.fallbacks] * len(events))


def learned():
    learner = ClickLearner(SPEC)
    for i in range(300):
        learner.learn_one({"ad": "ab"[i % 2], "site": str(i % 3), "timestamp": NOW}, i % 2 == 0)
    return learner


LEARNER = learned()


class Client:
    """Asks an application; keeps what it said to its operator."""

    def __init__(self, learner=LEARNER, store=None, problem=None, **settings):
        weights, store, self.said = Weights(learner, problem), store or Store(), []
        self.state = ServingState(
            settings=ServeSettings(**settings),
            spec=SPEC,
            weights=weights,
            features=store,
            scorer=Scorer(weights, store, SPEC, lambda: NOW),
            metrics=Metrics(),
            now_ms=lambda: NOW,
            say=self.said.append,
        )
        self.app = build_app(self.state)

    async def asked(self, method, url, **more):
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, url, **more)

    def __call__(self, method, url, **more):
        return asyncio.run(self.asked(method, url, **more))

    def predict(self, body, **more):
        return self("POST", "/v1/predict", json=body, **more)
