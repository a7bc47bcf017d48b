"""The serving application in this process, with weights, counters and clock of the test's own."""

import asyncio

import httpx

from serving.metrics import Metrics
from serving.scorer import Scorer
from serving.server_state import ServingState
from serving.settings import ServeSettings
from serving.weights import FixedWeights


def client_of(app):
    """A client that asks an application without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def ask(app, method, *urls, **more):
    """The answers to requests one after the other."""

    async def asked():
        async with client_of(app) as client:
            return [await client.request(method, url, **more) for url in urls]

    return asyncio.run(asked())


class HeldWeights:
    """Weights that stay as they are; none without a learner."""

    problem = None

    def __init__(self, learner, version="v7", *known):
        self.weighing = learner and FixedWeights(learner, version, *(known or (0,)))

    def current(self):
        return self.weighing


def serving_state(spec, weights, store, now_ms, settings=None, **more):
    """What an application is wired to."""
    return ServingState(
        settings=ServeSettings(**(settings or {})), spec=spec, weights=weights, features=store,
        scorer=Scorer(weights, store, spec, now_ms), metrics=Metrics(), now_ms=now_ms, **more,
    )  # fmt: skip
