"""The application with weights and counters of its own: what it answers, and what it refuses."""

import asyncio
import gzip
import json

import pytest
from shop_server import LEARNER, NAMES, NOW, VALUES, Client, Store

from clicktide.serving_worker import warm_up
from features.spec_file import load_spec


def river(fields, counters=VALUES):
    served = {f"counter:{n}": v for n, v in zip(NAMES, counters, strict=True)}
    return LEARNER.predict_proba_one({"timestamp": NOW} | fields | served)[True]


def test_one_impression():
    answer = Client().predict({"fields": {"ad": "a", "site": "1"}, "impression_id": "i1"})
    assert answer.status_code == 200
    said = answer.json()
    [one] = said.pop("predictions")
    assert said == {"model_version": "v7", "weights_age_s": 2.5, "fallbacks": [], "ignored": []}
    assert one.pop("probability") == river({"ad": "a", "site": "1"})
    assert one.pop("uncertainty") > 0
    assert one.pop("logit") > 0
    assert one == {
        "impression_id": "i1",
        "counters": dict(zip(NAMES, VALUES, strict=True)),
        "counters_age_s": 0.004,
        "fallbacks": [],
    }


def test_many_impressions_in_order_with_what_each_lacked():
    ads = ["a", "b", "new", "a"]
    client = Client(store=Store(("ad>prior",)))
    answer = client.predict({"impressions": [{"fields": {"ad": ad}} for ad in ads]}).json()
    assert [p["probability"] for p in answer["predictions"]] == [river({"ad": ad}) for ad in ads]
    assert answer["predictions"][2]["fallbacks"] == ["ad>prior"]
    known, new = (answer["predictions"][i]["uncertainty"] for i in (0, 2))
    assert new > known


def test_an_impression_has_its_own_time_and_may_bring_its_counters():
    later = NOW + 5 * 3_600_000
    client = Client()
    body = {"fields": {"ad": "a"}, "timestamp": later}
    [timed] = client.predict(body).json()["predictions"]
    assert timed["probability"] == river({"ad": "a", "timestamp": later}) != river({"ad": "a"})
    brought = dict(zip(NAMES, [9.0, 8.0, 7.0, 6.0], strict=True))
    [own] = client.predict({"fields": {"ad": "a"}, "counters": brought}).json()["predictions"]
    assert own["probability"] == river({"ad": "a"}, [9.0, 8.0, 7.0, 6.0])
    assert own["counters"] == brought
    assert own["counters_age_s"] is None


def test_unknown_fields_are_named_or_refused():
    body = {"impressions": [{"fields": {"ad": "a"}}, {"fields": {"add": "a", "click": 1}}]}
    assert Client().predict(body).json()["ignored"] == ["add"]
    answer = Client(unknown_fields="refuse").predict(body)
    assert answer.status_code == 422
    assert answer.json()["field"] == "impressions[1].fields.add"


def test_weights_that_have_a_problem_still_answer_and_say_it():
    answer = Client(problem="the file was deleted").predict({"fields": {}})
    assert answer.json()["fallbacks"] == ["weights: the file was deleted"]


ROWS = [{"fields": {"price": i}} for i in range(50)]
ROWS[37] = {"fields": {"price": "dear"}}
WRONG = [
    (json.dumps({"impressions": ROWS}).encode(), 422, "impressions[37].fields.price"),
    (b"{", 400, None),
    (b"\xff", 400, None),
    (b'{"fields": {"ad": {}, "\xde": 1}}', 400, None),
    (b"[" * 100_000, 422, None),
    (b'{"fields": {"ad": ' + b"[" * 100_000, 422, "fields"),
    (b'{"fields": {"ad": ' + b"[" * 9_999 + b"]" * 9_999 + b"}}", 422, "fields"),
    (b'{"extra": ' + b"[" * 9_999 + b"]" * 9_999 + b"}", 422, "extra"),
    (b'{"fields": {"ad": NaN}}', 400, "fields.ad"),
    (b'{"impressions": [{"fields": {"price": -Infinity}}]}', 400, "impressions[0].fields.price"),
    (b'"text"', 422, None),
    (b"{}", 422, "fields"),
    (b'{"impressions": []}', 422, "impressions"),
    (b'{"impressions": [{"fields": {}}], "fields": {}}', 422, "impressions"),
    (b'{"impressions": [{"fields": {}}, {}]}', 422, "impressions[1]"),
    (b'{"fields": {"site": "1", "ad": {"x": 1}}}', 422, "fields.ad"),
    (b'{"fields": {"ad": ["x", ["y"]]}}', 422, "fields.ad[1]"),
    (b'{"fields": {"ad": ["x"]}}', 422, "fields.ad"),
    (b'{"fields": {"price": "dear"}}', 422, "fields.price"),
    (b'{"fields": {"timestamp": "soon"}}', 422, "fields.timestamp"),
    (b'{"fields": {}, "timestamp": 5}', 422, "timestamp"),
    (b'{"fields": {}, "impression_id": ""}', 422, "impression_id"),
    (b'{"fields": {}, "counters": {"ad_views_24h": -1}}', 422, "counters.ad_views_24h"),
    (b'{"fields": {}, "countrs": {}}', 422, "countrs"),
]


@pytest.mark.parametrize(("body", "status", "field"), WRONG, ids=range(len(WRONG)))
def test_bad_input_is_a_problem_that_names_the_field(body, status, field):
    client = Client()
    answer = client("POST", "/v1/predict", content=body)
    said = answer.json()
    assert (answer.status_code, said.get("field")) == (status, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert said["request_id"] == answer.headers["x-request-id"]
    assert said["title"] and said["detail"]


def test_too_many_and_too_large_are_refused():
    client = Client(max_candidates=2, max_body_bytes=200)
    three = client.predict({"impressions": [{"fields": {}}] * 3})
    assert (three.status_code, three.json()["title"]) == (422, "Too many")
    assert client.predict({"fields": {"ad": "x" * 300}}).status_code == 413

    async def drip():
        for _ in range(10):
            yield b" " * 50

    dripped = client("POST", "/v1/predict", content=drip())
    assert dripped.status_code == 413
    assert dripped.headers["connection"] == "close"


def test_a_compressed_body_is_refused_unread():
    bomb = gzip.compress(bytes(10_000_000))
    answer = Client()("POST", "/v1/predict", content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert "as it is" in answer.json()["detail"]


def test_wrong_paths_and_methods():
    client = Client()
    assert client("GET", "/nothing").status_code == 404
    answer = client("PUT", "/v1/predict")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.headers["content-type"] == "application/problem+json"


def test_before_the_first_weights_it_lives_and_is_not_ready():
    client = Client(learner=None)
    assert client("GET", "/healthz").status_code == 200
    for method, path in (("GET", "/readyz"), ("GET", "/v1/model"), ("POST", "/v1/predict")):
        answer = client(method, path, content=b'{"fields": {}}' if method == "POST" else None)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    assert client("GET", "/metrics").status_code == 200


def test_more_at_once_than_allowed_are_refused_but_those_who_watch_are_not():
    client = Client(max_concurrent=2)

    async def shared_fields():
        over, begun = asyncio.Event(), asyncio.Queue()

        async def slow_body():
            begun.put_nowait(None)
            await over.wait()
            yield b'{"fields": {}}'

        slow = [
            asyncio.create_task(client.asked("POST", "/v1/predict", content=slow_body()))
            for _ in range(2)
        ]
        for _ in slow:
            await begun.get()
        busy = await client.asked("POST", "/v1/predict", json={"fields": {}})
        watched = await client.asked("GET", "/healthz")
        over.set()
        done = await asyncio.gather(*slow)
        after = await client.asked("POST", "/v1/predict", json={"fields": {}})
        return busy, watched, done, after

    busy, watched, done, after = asyncio.run(shared_fields())
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert watched.status_code == 200
    assert [answer.status_code for answer in (*done, after)] == [200, 200, 200]


def test_a_body_that_does_not_come_is_given_up():
    async def never():
        await asyncio.Event().wait()
        yield b""

    client = Client(request_timeout_s=0.05)
    assert client("POST", "/v1/predict", content=never()).status_code == 408


def test_a_bug_is_told_with_its_request_id_and_no_traceback():
    client = Client()
    client.state.scorer.score_soon = None
    answer = client.predict({"fields": {}}, headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert "Traceback" not in answer.text
    assert client.said[0].startswith("mine-1: BUG in /v1/predict")


def test_the_log_has_request_ids_and_no_values():
    client = Client(access_log="all")
    client.predict({"fields": {"ad": "secret-ad"}}, headers={"X-Request-ID": "r1"})
    client("GET", "/v1/explain?impression=secret-query")
    client("GET", "/secret-path")
    client("GET", "/healthz", headers={"X-Request-ID": "not an id\n"})
    assert client.said[0].startswith("r1: POST /v1/predict 200")
    assert len(client.said) == 4
    assert not any("secret" in line or "not an id" in line for line in client.said)
    quiet = Client()
    quiet.predict({"fields": {}})
    assert quiet.said == []


def test_explain_adds_up_to_the_prediction():
    client = Client()
    impression = {"fields": {"ad": "a", "site": "1", "zz": 1}}
    got = client("GET", "/v1/explain", params={"impression": json.dumps(impression)})
    assert got.status_code == 200
    said = got.json()
    assert said == client("POST", "/v1/explain", json=impression).json()
    assert said["probability"] == river({"ad": "a", "site": "1"})
    total = said["bias"] + sum(share["logit"] for share in said["contributions"])
    assert total == pytest.approx(said["logit"])
    assert said["ignored"] == ["zz"]
    assert client("GET", "/v1/explain").json()["field"] == "impression"


def test_model_tells_what_answers():
    said = Client()("GET", "/v1/model").json()
    assert (said["model_version"], said["events"], said["counters"]) == ("v7", 300, NAMES)
    assert said["fields"] == ["ad", "site", "price", "hour"]
    assert ["ad", "site"] in said["crosses"]
    assert sum(said["mixture"].values()) == pytest.approx(1.0)


def test_metrics_count_by_route():
    client = Client(store=Store(("ad>prior",)))
    client.predict({"fields": {}})
    client.predict({"fields": {"ad": []}})
    client("GET", "/anything")
    text, count = client("GET", "/metrics").text, "clicktide_request_seconds_count"
    for line in (
        f'{count}{{route="/v1/predict",status="200"}} 1.0',
        f'{count}{{route="/v1/predict",status="422"}} 1.0',
        'route="other",status="404"',
        'clicktide_fallbacks_total{kind="counters"} 1.0',
        "clicktide_weights_age_seconds 2.5",
    ):
        assert line in text


def test_the_page_and_the_docs_need_nothing_from_elsewhere():
    client = Client()
    for path in ("/", "/docs", "/style.css", "/page.js", "/icon.svg"):
        answer = client("GET", path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "https://" not in answer.text
    docs = client("GET", "/docs").text
    assert "/v1/predict" in docs and "<code>fields</code>" in docs and "&lt;code" not in docs
    assert "shop" in client("GET", "/").text
    assert Client(docs=False)("GET", "/docs").status_code == 404


def test_examples_of_the_description_work_when_pasted():
    client = Client()
    described = client("GET", "/openapi.json").json()
    tried = 0
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            for example in content.get("application/json", {}).get("examples", {}).values():
                if path in ("/v1/predict", "/v1/explain"):
                    answer = client(method.upper(), path, json=example["value"])
                    assert answer.status_code == 200, (path, answer.text)
                    tried += 1
    assert tried >= 3


def test_pages_of_other_origins_may_call_only_where_set():
    origin = {"Origin": "https://ads.example"}
    body = {"fields": {"ad": "a"}}
    assert "access-control-allow-origin" not in Client().predict(body, headers=origin).headers
    client = Client(cors_origins=("https://ads.example",))
    answer = client.predict(body, headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://ads.example"
    assert client.predict(body, headers={"Origin": "https://x"}).status_code == 200


@pytest.mark.parametrize("name", ["avazu20k", "criteo_dac80k", "open_bandit40k", "market"])
def test_kernels_are_warmed_up_by_any_spec(name):
    warm_up(load_spec(name))
