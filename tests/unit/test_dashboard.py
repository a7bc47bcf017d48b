"""Dashboard and reports over HTTP: one look for all who watch, reports made when they changed."""

import asyncio
import json
import threading
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fastapi import FastAPI
from served_app import ask
from stream_runs import stream_log

from features.events import Impression, encode_event
from monitoring.watch.alarm_actions import AlarmAction
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.monitor_files import Now
from monitoring.watch.monitor_folder import MonitorFolder
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import WindowSettings
from monitoring.watch.windows import Windows
from serving.dashboard_feed import StreamFeed, Watching
from serving.metrics import stream_metrics
from serving.problem import Problem
from serving.routes import dashboard
from serving.settings import ServeSettings
from serving.stream_snapshot import StreamLooker, StreamSnapshot
from streaming.log import NewRecord

NOW = 1_767_600_000_000


class Look(msgspec.Struct):
    n: int
    thread: int


class Looker:
    """Counts its looks; may fail at some."""

    made = 0

    def __init__(self, fail_at=()):
        type(self).made += 1
        self.looks, self.fail_at, self.closed = 0, fail_at, False

    def look(self):
        self.looks += 1
        if self.looks in self.fail_at:
            raise ValueError("the log is away")
        return Look(self.looks, threading.get_ident())

    def close(self):
        self.closed = True


def app_of(watching, **settings):
    state = SimpleNamespace(
        reports=watching, settings=ServeSettings(**settings), now_ms=lambda: NOW
    )
    app = FastAPI(exception_handlers={Problem: lambda request, error: error.response(None)})
    app.include_router(dashboard.routes(state))
    return app


def watching(tmp_path, looker=Looker):
    return Watching(looker, tmp_path / "monitor", tmp_path / "reports", "a stream")


def get(app, *urls):
    return ask(app, "GET", *urls)


async def seen(feed, seconds=0.4):
    return [json.loads(news) async for news in feed.watch(seconds) if news]


def test_all_who_watch_share_one_look():
    made = []

    def make():
        made.append(Looker())
        return made[-1]

    async def three():
        feed = StreamFeed(make, every_s=0.05, linger_s=0.05)
        news = await asyncio.gather(*(seen(feed) for _ in range(3)))
        while feed.looking:
            await asyncio.sleep(0.01)
        assert feed.watchers == 0
        return news

    first, *others = asyncio.run(three())
    assert len(made) == 1 and made[0].closed
    assert len(first) >= 2 and all(one[0] == first[0] for one in others)
    assert {look["thread"] for look in first}.isdisjoint({threading.get_ident()})


def test_a_look_that_fails_is_told_and_tried_again():
    async def some():
        feed = StreamFeed(lambda: Looker(fail_at=(2,)), every_s=0.02, linger_s=0.0)
        return await seen(feed)

    news = asyncio.run(some())
    assert {"problem": "the log is away"} in news
    assert news[-1] != {"problem": "the log is away"} or len(news) > 2


def test_server_sent_events_end_before_the_limit_of_a_request(tmp_path):
    app = app_of(watching(tmp_path), request_timeout_s=1.0)
    [answer] = get(app, "/dashboard/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    head, *events = answer.text.strip().split("\n\n")
    assert head == "retry: 300"
    assert json.loads(events[0].removeprefix("data: "))["n"] == 1


def test_pages_load_nothing_from_elsewhere(tmp_path):
    app = app_of(watching(tmp_path))
    for answer in get(app, "/dashboard", "/dashboard.js", "/dashboard.css", "/reports/"):
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        outside = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in outside and "https://" not in outside


def test_without_a_stream_there_is_neither(tmp_path):
    answers = get(app_of(None), "/dashboard", "/reports/")
    assert [answer.status_code for answer in answers] == [404, 404]


def monitored(folder, rows=3000, seed=1, actions=()):
    """A monitor's folder, as it leaves it."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.2, rows)
    clicked = (rng.random(rows) < p).astype(int)
    sites = [f"<b>{i % 4}" for i in range(rows)]
    times = NOW + np.arange(rows) * 1000
    scored = Scored.of(clicked, p, time_ms=times, slices={"site": sites})
    keeper = MonitorFolder(folder, 100)
    windows = Windows(["site"], WindowSettings(window_s=300, lateness_s=0), keeper.closed)
    windows.update(scored)
    alarm = Alarm(
        id="a", opening=17, severity="critical", field="site", value="<b>1", size=1.4,
        since_ms=NOW + 9000, detected_ms=NOW + 10_000, clicks_over_promised=12.0,
    )  # fmt: skip
    now = Now(
        at_ms=NOW, event_time_ms=windows.time_ms, seen=rows, corrections=0, unscored=0, rejected=0,
        after_close=0, lost=0, overall=windows.open_windows()[0].overall, fields=["site"],
        window_s=300.0, open=windows.open_windows(), alarm_actions=list(actions),
    )  # fmt: skip
    keeper.save({"windows": {"closed_to_ms": windows.closed_to_ms}}, now, [alarm])
    keeper.close()


def test_the_latest_report_is_made_anew_when_the_monitor_has_saved(tmp_path):
    app, data = app_of(watching(tmp_path)), "/reports/latest.json"
    [page, none] = get(app, "/reports/latest", data)
    assert page.status_code == 200 and "No report yet" in page.text
    assert none.status_code == 404 and "clicktide monitor" in none.json()["detail"]
    monitored(tmp_path / "monitor")
    page, first, again = get(app, "/reports/latest", data, data)
    monitored(tmp_path / "monitor", rows=4000)
    [later] = get(app, data)
    assert page.text.startswith("<!doctype html>") and "&lt;b&gt;1" in page.text
    assert first.json()["total"]["count"] == 3000 and first.content == again.content
    assert later.json()["total"]["count"] == 4000
    assert first.json()["verdict"]["state"] == "over"


def test_saved_reports_are_listed_and_names_cannot_leave_the_folder(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "monday.html").write_text("<p>monday")
    (tmp_path / "reports" / "<b>.html").write_text("odd")
    (tmp_path / "secret.html").write_text("secret")
    app = app_of(watching(tmp_path))
    listing, monday, *refused = get(
        app, "/reports/", "/reports/monday.html", "/reports/..%2Fsecret.html",
        "/reports/%2e%2e%2fsecret.html", "/reports/.hidden.html", "/reports/none.html",
    )  # fmt: skip
    assert "monday.html" in listing.text and "<b>.html" not in listing.text
    assert monday.text == "<p>monday"
    assert {answer.status_code for answer in refused} == {404}


@pytest.fixture
def log():
    with stream_log(":memory:", clock_ms=lambda: NOW) as log:
        yield log


def test_a_look_tells_rates_lags_windows_and_alarms(log, tmp_path):
    clock = iter(range(NOW, NOW + 100_000, 1000))
    looker = StreamLooker(log, tmp_path / "monitor", lambda: next(clock))
    before = looker.look()
    assert before.windows == () and "no monitor" in before.monitor_problem
    monitored(tmp_path / "monitor")
    event = encode_event(Impression(v=1, impression_id="i1", timestamp=NOW))
    with log.producer("test").transaction() as tx:
        tx.append("impressions", [NewRecord(b"i1", event)])
    now = looker.look()
    assert isinstance(now, StreamSnapshot)
    assert now.rates["impressions"] == 1.0
    assert len(now.windows) == 10 and sum(window.count for window in now.windows) == 3000
    assert now.recent is not None and 0.5 < now.recent.ratio < 2.0
    assert now.alarms[0].said == "it over-predicts by 40 % in site <b>1"
    assert (now.alarms[0].number, now.alarms[0].severity) == (17, "critical")
    assert (now.alarms[0].status, now.alarms[0].silenced) == ("new", False)


def test_a_silenced_alarm_says_so_and_pages_nobody(log, tmp_path):
    mute = AlarmAction(what="silence", at_ms=NOW, by="ann", field="site", until_ms=NOW + 1000)
    monitored(tmp_path / "monitor", actions=[mute])
    now = StreamLooker(log, tmp_path / "monitor", lambda: NOW).look()
    assert now.alarms[0].silenced and now.alarms[0].status.startswith("silenced by ann until")
    [metric] = [one for one in stream_metrics(now).decode().splitlines() if "alarm{" in one]
    assert 'severity="critical"' in metric and metric.endswith(" 0.0")
    later = StreamLooker(log, tmp_path / "monitor", lambda: NOW + 1000).look()
    assert not later.alarms[0].silenced and later.alarms[0].status == "new"


def test_the_latest_report_has_the_anchor_and_who_is_on_it(tmp_path):
    seen = AlarmAction(what="acknowledge", at_ms=NOW, by="ann", alarm="a", number=17)
    monitored(tmp_path / "monitor", actions=[seen])
    page, data = get(app_of(watching(tmp_path)), "/reports/latest", "/reports/latest.json")
    assert '<li id="alarm-17"' in page.text and "acknowledged by ann" in page.text
    assert data.json()["verdict"]["handled"] == "acknowledged by ann"
    assert [action["by"] for action in data.json()["alarm_actions"]] == ["ann"]
