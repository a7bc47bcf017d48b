"""The routes of ranking and of events: what they answer, write, and refuse."""

import asyncio
import json

import httpx
import numpy as np
import pytest
from served_app import HeldWeights, ask, serving_state
from small_spec import spec_of
from stream_runs import stream_log

from features.events import Click, Heartbeat, Impression, decode_event
from features.spec import CounterSpec, FieldSpec
from learning import ClickLearner
from serving.app import build_app
from serving.client import AsyncClient
from serving.dashboard_feed import Watching
from serving.event_writer import EventWriter
from serving.request_features import Fetched
from streaming.joiner.commit import TopicState
from streaming.log import LogUnavailableError, Position, TopicPartition, open_log
from streaming.log.records import dump_metadata
from streaming.settings import StreamSettings

NOW = 1_736_121_600_000
SPEC = spec_of(
    "ad",
    "site",
    FieldSpec(names=("price",), transform="log2"),
    name="shop",
    time="timestamp",
    bits=10,
    counters=(CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1),),
)


class Store:
    def fetch_all(self, requests):
        return [
            Fetched(np.array([[30.0, np.nan]] * len(e)), 4.0, [()] * len(e)) for e, _ in requests
        ]


def learned():
    learner = ClickLearner(SPEC)
    for i in range(400):
        learner.learn_one({"ad": f"a{i % 4}", "site": str(i % 3)}, i % 4 == 0)
    return learner


WEIGHTS = HeldWeights(learned(), "v7", 400, NOW - 2_500)
ADS = [{"fields": {"ad": f"a{i}"}, "id": f"ad-{i}"} for i in range(4)]


class Api:
    """An application with a log of its own in a file."""

    def __init__(self, folder, writer=True, **settings):
        self.url = f"sqlite:///{folder / 'log.db'}"
        self.away, self.said = False, []
        self.writer = EventWriter(self.open, StreamSettings(), "api", now_ms=lambda: NOW)
        self.state = serving_state(
            SPEC, WEIGHTS, Store(), lambda: NOW, settings, say=self.said.append,
            writer=self.writer if writer else None,
        )  # fmt: skip
        self.app = build_app(self.state)

    def open(self):
        if self.away:
            raise LogUnavailableError("no broker answers")
        return open_log(self.url)

    def post(self, path, body):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        [reply] = ask(self.app, "POST", path, content=raw)
        if reply.status_code != 200:
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.status_code != 500, self.said
        return reply

    def events(self, topic="impressions"):
        with open_log(self.url) as log:
            records = log.read(TopicPartition(topic, 0), 0, 1000)
        events = [decode_event(record.value) for record in records]
        return [event for event in events if not isinstance(event, Heartbeat)]


@pytest.fixture
def api(tmp_path):
    api = Api(tmp_path)
    yield api
    api.writer.close()


# --- events ---------------------------------------------------------------------------------


def test_one_impression_and_its_click_are_in_the_log_when_answered(api):
    body = {"impression_id": "i1", "fields": {"ad": "a", "tags": ["x"]}, "page": 7}
    reply = api.post("/v1/impressions", body).json()
    assert reply == {"written": 1, "duplicates": 0, "impression_ids": ["i1"]}
    [event] = api.events()
    assert event.timestamp == NOW and event.fields == {"ad": "a", "tags": ["x"]}
    assert event.unknown() == {"page": 7}  # what the schema does not know is kept
    click = {"clicks": [{"impression_id": "i1"}, {"impression_id": "i1", "kind": "dismiss"}]}
    assert api.post("/v1/clicks", click).json()["written"] == 2
    assert api.post("/v1/clicks", click).json()["duplicates"] == 2
    assert [event.kind for event in api.events("clicks")] == ["click", "dismiss"]


@pytest.mark.parametrize(
    ("path", "body_of", "field"),
    [
        ("impressions", lambda time: {"impression_id": "i", **time}, "timestamp"),
        ("clicks", lambda time: {"impression_id": "i", **time}, "timestamp"),
        ("impressions", lambda time: {"impressions": [time]}, "impressions[0].timestamp"),
        ("rank", lambda time: {"candidates": ADS, "log": True, **time}, "timestamp"),
    ],
)
@pytest.mark.parametrize("ahead_ms", [60_001, 7_200_000, 315_360_000_000])
def test_an_event_far_ahead_of_our_clock_is_refused_with_its_field(
    api, path, body_of, field, ahead_ms
):
    reply = api.post(f"/v1/{path}", body_of({"timestamp": NOW + ahead_ms}))
    assert (reply.status_code, reply.json()["field"]) == (422, field)
    assert api.post("/v1/impressions", {"timestamp": NOW + 60_000}).status_code == 200


@pytest.mark.parametrize(
    ("ahead_ms", "said"),
    [(2_461_000, "too_late"), (-7_200_000, "far_future"), (0, None), (-1_800_000, None)],
)
def test_a_reply_says_what_the_streams_clock_will_do_to_the_event(tmp_path, ahead_ms, said):
    windows = (600_000, 1_800_000, 30_000, 60_000, 3_600_000)
    state = TopicState(
        windows=windows, offset=0, time=NOW, read_to=0, done_to=0,
        impressions_watermark=NOW + ahead_ms - 30_000, emitted_to=NOW,
    )  # fmt: skip
    log = stream_log(f"sqlite:///{tmp_path / 'log.db'}")
    with log, log.producer("join-0").transaction() as tx:
        tx.commit("join", {TopicPartition("impressions", 0): Position(0, dump_metadata(state))})
    api = Api(tmp_path)
    reply = api.post("/v1/impressions", {"impression_id": "i"}).json()
    assert reply.get("warning", "").partition(":")[0] == (said or "")
    ranked = api.post("/v1/rank", {"candidates": ADS, "log": True}).json()
    reasons = [lacked.split(":")[1].strip() for lacked in ranked["fallbacks"]]
    assert ranked["logged"] and reasons == [said] * bool(said)
    api.writer.close()


@pytest.mark.parametrize("watched", [True, False])
def test_the_start_links_dashboard_and_reports_where_there_are_any(api, tmp_path, watched):
    folders = tmp_path / "monitor", tmp_path / "reports"
    api.state.reports = Watching(None, *folders) if watched else None
    [start] = ask(build_app(api.state), "GET", "/")
    assert ('href="/dashboard"' in start.text) == watched
    assert ('href="/reports/"' in start.text) == watched


def test_an_impression_without_id_is_given_one(api):
    reply = api.post("/v1/impressions", {"impressions": [{"fields": {}}, {"fields": {}}]}).json()
    assert len(set(reply["impression_ids"])) == 2
    assert [event.impression_id for event in api.events()] == reply["impression_ids"]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/clicks", {}, 422, "impression_id"),
        ("/v1/clicks", {"clicks": []}, 422, "clicks"),
        ("/v1/clicks", {"clicks": [{"impression_id": "a"}, {}]}, 422, "clicks[1].impression_id"),
        ("/v1/clicks", {"clicks": [{"impression_id": "a", "kind": "x"}]}, 422, "clicks[0].kind"),
        ("/v1/clicks", {"impression_id": "a" * 129}, 422, "impression_id"),
        ("/v1/clicks", {"impression_id": "a", "clicks": []}, 422, "clicks"),
        ("/v1/clicks", {"impression_id": "a", "timestamp": 7}, 422, "timestamp"),
        ("/v1/clicks", {"impression_id": "a", "type": "impression"}, 422, "type"),
        ("/v1/clicks", {"impression_id": "a", "v": 2}, 422, "v"),
        ("/v1/clicks", b"[]", 422, None),
        ("/v1/clicks", b"{", 400, None),
        ("/v1/clicks", b"\xff", 400, None),
        ("/v1/clicks", b'{"x":' + b"[" * 5000, 400, None),
        ("/v1/clicks", b'{"impression_id":"a","x":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, None),
        ("/v1/clicks", b'{"clicks":[{"impression_id":"\\ud800"}]}', 400, None),
        ("/v1/impressions", {"impressions": [{"fields": {"ad": {}}}]}, 422,
         "impressions[0].fields.ad"),
        ("/v1/impressions", {"fields": {"ad": [1]}}, 422, "fields"),
        ("/v1/impressions", {"fields": {"ad": "x" * 70_000}}, 422, None),
        ("/v1/impressions", {"probability": 1.5}, 422, "probability"),
        ("/v1/impressions", {"propensity": 0}, 422, "propensity"),
        ("/v1/impressions", b'{"fields":{"ad":NaN}}', 400, "fields.ad"),
        ("/v1/impressions", {"impressions": [{"fields": {}}] * 1001}, 422, "impressions"),
        ("/v1/rank", {"candidates": []}, 422, "candidates"),
        ("/v1/rank", {"candidates": ADS * 300}, 422, "candidates"),
        ("/v1/rank", {"candidates": [{"fields": {}, "bid": -1}]}, 422, "candidates[0].bid"),
        ("/v1/rank", {"candidates": ADS, "slots": 0}, 422, "slots"),
        ("/v1/rank", {"candidates": ADS, "explore": "x"}, 422, "explore"),
        ("/v1/rank", {"candidates": ADS, "explore": {"epsilon": 2}}, 422, "explore.epsilon"),
        ("/v1/rank", {"candidates": ADS, "log": {"impression_id": ""}}, 422, "log.impression_id"),
        ("/v1/rank", {"candidates": [{"fields": {"price": "x"}}]}, 422,
         "candidates[0].fields.price"),
        ("/v1/rank", {"candidates": [*ADS, {"fields": {"price": "x"}}]}, 422,
         "candidates[4].fields.price"),
        ("/v1/rank", {"context": {"site": {}}, "candidates": ADS}, 422, "context.site"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_and_named(api, path, body, status, field):
    reply = api.post(path, body)
    assert reply.status_code == status, reply.text
    assert reply.json().get("field") == field, reply.text
    api.writer.submit([]).result(10)
    assert not api.events() and not api.events("clicks")


def test_a_log_that_is_away_refuses_events_but_not_rankings(api):
    assert api.post("/v1/clicks", {"impression_id": "i0"}).status_code == 200
    api.away = True
    api.writer._fail([], LogUnavailableError("no broker answers"))
    reply = api.post("/v1/clicks", {"impression_id": "i1"})
    assert reply.status_code == 503 and int(reply.headers["retry-after"]) >= 1
    ranked = api.post("/v1/rank", {"candidates": ADS, "log": True})
    assert ranked.status_code == 200 and ranked.json()["logged"] is False
    assert any("unavailable" in said for said in ranked.json()["fallbacks"])


def test_a_server_without_log_says_so(tmp_path):
    api = Api(tmp_path, writer=False)
    assert api.post("/v1/clicks", {"impression_id": "i"}).status_code == 503
    assert api.post("/v1/rank", {"candidates": ADS, "log": True}).json()["fallbacks"]
    api.writer.close()


def test_too_much_at_once_is_429(api):
    api.writer._most_waiting = -1
    api.writer._size = 1
    reply = api.post("/v1/clicks", {"impression_id": "i"})
    assert reply.status_code == 429 and reply.headers["retry-after"] == "1"
    api.writer._size = 0


# --- rank -----------------------------------------------------------------------------------


def test_candidates_come_by_expected_value_with_what_they_were_served_with(api):
    bids = [1.0, 9.0, 1.0, 1.0]
    body = {
        "context": {"site": "1"}, "slots": 2, "log": {"impression_id": "r1"},
        "candidates": [{**ad, "bid": bid} for ad, bid in zip(ADS, bids, strict=True)],
    }  # fmt: skip
    reply = api.post("/v1/rank", body).json()
    values = [one["expected_value"] for one in reply["candidates"]]
    assert values == sorted(values, reverse=True) and reply["logged"]
    first, second = reply["candidates"][:2]
    assert first["probability"] * bids[first["index"]] == first["expected_value"]
    assert (first["slot"], second["slot"], reply["candidates"][2]["slot"]) == (1, 2, None)
    logged = {event.impression_id: event for event in api.events()}
    assert logged.keys() == {"r1", "r1-2"}
    event = logged["r1-2"]
    assert event.fields == {"site": "1", "ad": f"a{second['index']}"}
    assert event.probability == second["probability"] and event.propensity == 1.0
    assert event.model_version == "v7" and event.timestamp == NOW
    assert event.counters == second["counters"] == {"ad_views_24h": 30.0}


def test_a_ranking_sent_again_is_answered_as_before(api):
    body = {"candidates": ADS, "explore": "thompson", "log": {"impression_id": "r"}}
    replies = [api.post("/v1/rank", body).content for _ in range(5)]
    assert len(set(replies)) == 1 and len(api.events()) == 1


def test_a_seed_repeats_and_every_slot_sums_to_one(api):
    new = [{"fields": {"ad": f"new{i}"}} for i in range(4)]  # nobody knows which is best
    body = {"candidates": new, "explore": {"kind": "thompson", "width": 2}, "seed": 5}
    one, two = (api.post("/v1/rank", body).json() for _ in range(2))
    assert one == two
    chances = [candidate["propensity"] for candidate in one["candidates"]]
    assert sum(chances) == pytest.approx(1) and min(chances) > 0
    seeds = [
        api.post("/v1/rank", {**body, "seed": seed}).json()["candidates"][0]["index"]
        for seed in range(40)
    ]
    assert len(set(seeds)) > 1


def test_the_client_speaks_to_the_application(api):
    async def talk():
        transport = httpx.ASGITransport(api.app)
        async with AsyncClient("http://test", transport=transport) as client:
            shown = await client.impression({"ad": "a1"}, timestamp=NOW)
            clicked = await client.clicks([{"impression_id": shown, "timestamp": NOW}])
            ranked = await client.rank(ADS, explore="epsilon", log=True)
            predicted = await client.predict({"ad": "a1"})
            return clicked, ranked, predicted

    clicked, ranked, predicted = asyncio.run(talk())
    assert clicked.written == 1 and ranked.logged and 0 < predicted.probability < 1
    assert [type(event) for event in api.events("clicks")] == [Click]
    assert {type(event) for event in api.events()} == {Impression}
