"""A replay through the API: what is published is what was served."""

import itertools
import json

import httpx
import pytest

from clicktide.served_replay import Through
from features.errors import ClicktideError
from serving.client import Client
from streaming.publish import Lockstep, Patience, StandstillError
from streaming.status import GroupPart, Look


def impression(n):
    event = {"v": 1, "type": "impression", "impression_id": f"i{n}"}
    event |= {"timestamp": 1_736_121_600_000 + n, "fields": {"ad": f"a{n}"}, "mine": 1}
    return json.dumps(event).encode()


def answer(request):
    bare = {"logit": 0.0, "uncertainty": None, "counters_age_s": 0.0, "fallbacks": []}
    bare["counters"] = {"ad_views_1h": 2.0}
    predictions = [
        bare | {"probability": int(one["fields"]["ad"][1:]) / 1000}
        for one in json.loads(request.content)["impressions"]
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
    said = {"title": "Unprocessable", "status": 422, "detail": "no number", "field": "fields.ad"}
    serve, _ = through(lambda request: httpx.Response(422, json=said))
    with pytest.raises(ClicktideError, match=r"refuses.*fields\.ad"):
        serve([impression(1)])


# --- Waiting for the stream's processes: by positions, and only as long as anything moves.

ENDS = {"join": "impressions", "count": "impressions", "train": "examples", "monitor": "examples"}


def look(**read):
    """One look: records read by group, of ten."""
    groups = {
        name: [GroupPart(ENDS[name], 0, 10, done, done, 10 - done)] for name, done in read.items()
    }
    return Look(0, {}, groups, None, None, None)


def lockstep(looks, *, groups=None, most_s=5, slice_s=60):
    looks, seconds = iter(looks), itertools.count()
    patience = Patience(most_s, lambda: next(seconds))
    return Lockstep(lambda: next(looks), slice_s, patience, sleep=lambda s: None, groups=groups)


def test_a_slice_begins_with_its_first_event_once():
    step = lockstep([])
    times = [60_000, 60_000, 119_999, 120_000, 119_000, 300_000, 310_000]
    assert [step.begins(time) for time in times] == [True, False, False, True, False, True, False]


def test_it_waits_for_those_that_run_until_all_is_read():
    looks = [look(join=3, train=10), look(join=10, train=4), look(join=10, train=10), look()]
    step = lockstep(looks)
    step.wait()
    assert step.seen == looks[2]
    step.wait()  # a stream of which nothing has ever run is not waited for
    assert step.seen == looks[3]


STANDING = [
    # what is read, by group; which are waited for; what is said
    (dict(join=10, count=10, train=7), None, "clicktide train has read examples-0: 7 of 10"),
    (dict(join=4, count=4, train=0), None, "clicktide join has read impressions-0: 4 of 10"),
    (dict(join=10, train=10), ("join", "count"), "clicktide count has read nothing"),
]


@pytest.mark.parametrize(("read", "groups", "said"), STANDING, ids=lambda it: str(it))
def test_the_first_of_the_flow_that_stands_still_is_named(read, groups, said):
    step = lockstep(itertools.repeat(look(**read)), groups=groups)
    with pytest.raises(StandstillError, match=rf"{said}; nothing has moved for 5 s\. Fix: .*logs/"):
        step.wait()


def test_the_slowest_progress_is_progress_whoever_makes_it():
    slow = [look(join=n // 3, train=0) for n in range(30)]
    slow += [look(join=10, train=0), look(join=10, train=10)]
    lockstep(slow).wait()
    moving = (look(join=10, train=2, monitor=n % 10) for n in itertools.count())
    step = lockstep(itertools.islice(moving, 50), groups=("join", "train"))
    with pytest.raises(StopIteration):  # out of looks: it never gave up
        step.wait()
