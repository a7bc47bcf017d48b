"""The Python client: typed replies, and retries that cannot do anything twice."""

import asyncio
import inspect

import httpx
import msgspec
import pytest

from features.errors import ClicktideError
from serving import client as module
from serving.client import ApiError, AsyncClient, Client, NoAnswerError

ACCEPTED = {"written": 1, "duplicates": 0, "impression_ids": ["i"]}


class Server:
    """Answers as told, one answer a request, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def waits(monkeypatch):
    waited = []
    monkeypatch.setattr(module.time, "sleep", waited.append)

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return waited


@pytest.fixture(params=["waiting", "awaited"])
def ask(request):
    """Calls a method of either client."""

    def asked(server, name, *given, retries=3, **more):
        transport = httpx.MockTransport(server)
        if request.param == "waiting":
            with Client("http://x", retries=retries, transport=transport) as client:
                return getattr(client, name)(*given, **more)

        async def awaited():
            async with AsyncClient("http://x", retries=retries, transport=transport) as client:
                return await getattr(client, name)(*given, **more)

        return asyncio.run(awaited())

    return asked


def test_the_two_clients_have_the_same_methods():
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("__"):
            other = inspect.signature(getattr(AsyncClient, name))
            assert inspect.signature(method) == other, name


def test_it_waits_as_long_as_the_server_asks_and_sends_the_same_again(ask, waits):
    server = Server(
        httpx.Response(503, headers={"Retry-After": "2"}),
        httpx.Response(429, headers={"Retry-After": "1"}),
        httpx.ConnectError("refused"),
        httpx.Response(200, json=ACCEPTED),
    )
    assert ask(server, "impressions", [{"fields": {"ad": "a"}}]).written == 1
    assert len(waits) == 3 and waits[0] == 2 and waits[1] == 1 and waits[2] < 1
    bodies = {request.content for request in server.asked}
    assert len(bodies) == 1
    [event] = msgspec.json.decode(bodies.pop())["impressions"]
    assert len(event["impression_id"]) == 32 and event["timestamp"] > 1_700_000_000_000


def test_it_gives_up_and_says_what_the_server_said(ask, waits):
    said = {"title": "Event log unavailable", "status": 503, "detail": "later", "request_id": "r"}
    server = Server(httpx.Response(503, json=said))
    with pytest.raises(ApiError, match="503 Event log unavailable: later") as error:
        ask(server, "click", "i", retries=2)
    assert len(server.asked) == 3 and error.value.request_id == "r"
    assert isinstance(error.value, ClicktideError)


def test_what_is_wrong_is_not_sent_again(ask, waits):
    said = {"title": "Unprocessable", "status": 422, "detail": "no", "field": "fields.ad"}
    server = Server(httpx.Response(422, json=said))
    with pytest.raises(ApiError, match=r"422 Unprocessable at fields.ad: no"):
        ask(server, "predict", {"ad": {}})
    assert len(server.asked) == 1 and not waits


def test_no_answer_is_an_error_of_its_own(ask, waits):
    with pytest.raises(NoAnswerError, match="clicktide serve"):
        ask(Server(httpx.ReadTimeout("too slow")), "click", "i")
    assert len(waits) == 3


def test_a_proxy_that_speaks_html_is_told_by_its_status(ask, waits):
    with pytest.raises(ApiError, match="502 Bad Gateway"):
        ask(Server(httpx.Response(502, text="<html>")), "click", "i")


def test_predictions_and_rankings_are_typed(ask):
    prediction = {
        "probability": 0.1, "logit": -2.2, "uncertainty": None, "counters": {"ad_views_1h": 3},
        "counters_age_s": 0.1, "fallbacks": ["x"],
    }  # fmt: skip
    reply = {
        "model_version": "live-1", "weights_age_s": 0.5, "fallbacks": [], "ignored": ["y"],
        "predictions": [prediction],
    }  # fmt: skip
    got = ask(Server(httpx.Response(200, json=reply)), "predict", {"ad": "a"})
    assert got.probability == 0.1 and got.counters == {"ad_views_1h": 3.0}
    ranked = {
        "model_version": "live-1", "weights_age_s": 0.5, "counters_age_s": None, "fallbacks": [],
        "explore": {"kind": "thompson"}, "logged": True, "ignored": [],
        "candidates": [
            {"index": 0, "slot": 1, "expected_value": 0.1, "probability": 0.1, "logit": -2.2,
             "uncertainty": 0.3, "propensity": 1.0, "fallbacks": []},
        ],
    }  # fmt: skip
    server = Server(httpx.Response(200, json=ranked))
    got = ask(server, "rank", [{"fields": {"ad": "a"}}], context={"user": "u"}, log=True, slots=1)
    assert got.candidates[0].slot == 1 and got.explore.kind == "thompson"
    sent = msgspec.json.decode(server.asked[0].content)
    assert len(sent["log"]["impression_id"]) == 32 and "explore" not in sent


def test_a_prediction_taken_apart_and_the_model_are_typed(ask):
    share = {"names": ["ad"], "values": ["a"], "logit": 0.3, "seen": True}
    apart = {
        "ignored": ["adv"], "fallbacks": [], "model_version": "live-1", "probability": 0.1,
        "logit": -2.2, "bias": -2.5, "contributions": [share],
    }  # fmt: skip
    server = Server(httpx.Response(200, json=apart))
    got = ask(server, "explain", {"ad": "a", "adv": 1})
    assert got.ignored == ("adv",) and got.contributions[0]["logit"] == 0.3
    assert msgspec.json.decode(server.asked[0].content) == {"fields": {"ad": "a", "adv": 1}}
    model = {
        "model_version": "live-1", "events": 7, "weights_age_s": 0.5, "problem": None,
        "spec": "market", "spec_identity": "x", "description": "", "fields": ["ad"],
        "crosses": [["ad", "site"]], "counters": [],
        "mixture": {"net": 1.0}, "calibration": [1.0, 0.0],
    }  # fmt: skip
    server = Server(httpx.Response(200, json=model))
    assert ask(server, "model").events == 7
    assert (server.asked[0].method, server.asked[0].url.path) == ("GET", "/v1/model")


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (lambda: httpx.Response(200, json={"status": "ok", "lacks": []}), True),
        (lambda: httpx.Response(503, json={"title": "No weights", "status": 503}), False),
        (lambda: httpx.ConnectError("refused"), False),
    ],
)
def test_it_is_asked_once_whether_it_is_ready(ask, waits, answer, ready):
    server = Server(answer())
    assert ask(server, "ready") is ready
    assert len(server.asked) == 1 and not waits
