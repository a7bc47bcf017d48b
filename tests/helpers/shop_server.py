"""An application of a small shop, with weights and counters of its own, asked without a network."""

import asyncio

import numpy as np
from served_app import HeldWeights, client_of, serving_state
from small_spec import spec_of

from features.spec import CounterSpec, FieldSpec
from learning import ClickLearner
from serving.app import build_app
from serving.request_features import Fetched

NOW = 1_736_121_600_000
SPEC = spec_of(
    "ad",
    "site",
    FieldSpec(names=("price",), transform="log2"),
    FieldSpec(names=("hour",), transform="hour_of_day", column="timestamp"),
    name="shop",
    time="timestamp",
    pairs=True,
    bits=10,
    counters=(CounterSpec(keys=("ad",), half_lives_h=(24,)),),
)
NAMES = ["ad_views_24h", "ad_clicks_24h", "overall_views_24h", "overall_clicks_24h"]
VALUES = [30.0, 3.0, 500.0, 20.0]


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
        weights, self.said = HeldWeights(learner, "v7", 300, NOW - 2_500, problem), []
        self.state = serving_state(
            SPEC, weights, store or Store(), lambda: NOW, settings, say=self.said.append
        )
        self.app = build_app(self.state)

    async def asked(self, method, url, **more):
        async with client_of(self.app) as client:
            return await client.request(method, url, **more)

    def __call__(self, method, url, **more):
        return asyncio.run(self.asked(method, url, **more))

    def predict(self, body, **more):
        return self("POST", "/v1/predict", json=body, **more)
