"""A replay through the API: what is published is what was served."""

import itertools
import json

import httpx
import pytest

from clicktide.served_replay import Through
from features.errors import ClicktideError
from serving.client import Client
from streaming.publish import Lockstep, Patience, StandstillError
from streaming.status import Look


def impression(n):
    event = {"v": 1, "type": "impression", "impression_id": f"i{n}"}
    event |= {"timestamp": 1_736_121_600_000 + n, "fields": {"ad": f"a{n}"}, "mine": 1}
    return json.dumps(event).encode()


def answer(request):
    asked = json.loads(request.content)["impressions"]
    bare = {"logit": 0.0, "uncertainty": None, "counters_age_s": 0.0, "fallbacks": []}
    predictions = [
        bare
        | {"probability": int(one["fields"]["ad"][1:]) / 1000, "counters": {"ad_views_1h": 2.0}}
        for one in asked
    ]
    whole = {"weights_age_s": 0.0, "fallbacks": [], "ignored": []}
    return httpx.Response(200, json=whole | {"model_version": "v7", "predictions": predictions})


def through(handler, lockstep=None):
    said = []
    client = Client("http://test", retries=0, transport=httpx.MockTransport(handler))
    return Through(client, said.append, lockstep), said


def test_each_impression_bears_its_own_prediction_and_keeps_what_it_had():
    serve, said = through(answer)
    served = [json.loads(one) for one in serve([impression(n) for n in range(450)])]
    assert [one["probability"] for one in served] == [n / 1000 for n in range(450)]
    assert served[449] == json.loads(impression(449)) | {
        "probability": 0.449,
        "model_version": "v7",
        "counters": {"ad_views_1h": 2.0},
    }
    assert (serve.served, serve.unserved, said) == (450, 0, [])


@pytest.mark.parametrize("silence", [503, httpx.ConnectError("refused")])
def test_without_an_answer_impressions_are_published_as_they_are(silence):
    def handler(request):
        if up:
            return answer(request)
        if isinstance(silence, int):
            return httpx.Response(silence, json={"title": "No model yet"})
        raise silence

    up = False
    serve, said = through(handler)
    shown = [impression(n) for n in range(3)]
    assert serve(shown) == serve(shown) == shown
    assert (serve.served, serve.unserved, len(said)) == (0, 6, 1)
    up = True
    assert serve(shown) != shown
    assert (serve.served, serve.unserved, len(said)) == (3, 6, 2)


def without_store(request):
    reply = json.loads(answer(request).content)
    for one in reply["predictions"]:
        one["fallbacks"] = ["store:late", "ad>prior"]
    return httpx.Response(200, json=reply)


def test_in_lockstep_it_asks_until_the_answer_is_whole():
    """No impression is published as it would be on a quick machine only."""
    handlers = iter([lambda _: httpx.Response(503), without_store, without_store, answer])
    seconds = itertools.count()
    step = Lockstep(
        lambda: Look(0, {}, {}, None, None, None), 60, Patience(3, lambda: next(seconds)),
        sleep=lambda s: None,
    )  # fmt: skip
    serve, said = through(lambda request: next(handlers)(request), step)
    [event] = serve([impression(7)])
    assert json.loads(event)["probability"] == 0.007
    assert (serve.served, serve.unserved) == (1, 0)
    assert said[0].startswith("waiting until") and said[-1] == "predictions come again"
    serve, _ = through(without_store, step)
    with pytest.raises(StandstillError, match="serve has no counters from its feature store"):
        serve([impression(8)])


def test_an_api_of_another_spec_stops_the_replay():
    serve, _ = through(
        lambda request: httpx.Response(
            422,
            json={
                "title": "Unprocessable",
                "status": 422,
                "detail": "no number",
                "field": "fields.ad",
            },
        )
    )
    with pytest.raises(ClicktideError, match=r"refuses.*fields\.ad"):
        serve([impression(1)])
