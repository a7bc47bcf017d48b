"""The dashboard as a user opens it: live, over streams that end and begin again."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI
from waiting import until

from serving.dashboard_feed import Watching
from serving.routes import dashboard, page
from serving.settings import ServeSettings
from serving.stream_snapshot import AlarmView, StreamSnapshot, WindowView

pytestmark = pytest.mark.timeout(120)
T0 = 1_767_600_000_000


class Looker:
    """A stream with an alarm whose ad is called like a script; its log goes away at times."""

    away = False
    looks = 0

    def look(self):
        if self.away:
            raise OSError("the log is away")
        type(self).looks += 1
        windows = tuple(
            WindowView(
                T0 + i * 60_000, 500, 20.0, 1.0 + i / 20, 0.8 + i / 20, 1.3 + i / 20, 0.1, 0.9
            )
            for i in range(12)
        )
        ad = "<img src=x onerror=alert(1)>"
        said = f"it over-predicts by 50 % in ad {ad}"
        return StreamSnapshot(
            at_ms=T0, rates={"impressions": 100.0 + self.looks, "learned": 90.0},
            records={"impressions": 1}, lags={"train": 12}, pending=34, stalled=False,
            freshness={"trainer behind the newest example": 61.0}, trainer={"learned": 1_234_567.0},
            recent=WindowView(T0, 6000, 240.0, 1.5, 1.3, 1.8, 0.1, 0.9), windows=windows,
            alarms=(
                AlarmView(said, "calibration", "ad", ad, "over", T0, None, "", "", 17, "critical"),
            ),
            labels={"clicks joined": 0.97}, served_version="live-1-2",
        )  # fmt: skip

    def close(self):
        pass


@pytest.fixture
def server(tmp_path):
    """Its URL; streams of events end after 1.4 s."""
    Looker.away, Looker.looks = False, 0
    state = SimpleNamespace(
        reports=Watching(Looker, tmp_path / "monitor", tmp_path / "reports"),
        settings=ServeSettings(request_timeout_s=2.0, docs=False),
        now_ms=lambda: T0,
    )
    app = FastAPI()
    app.include_router(dashboard.routes(state))
    icon = page.static_file("icon.svg", "image/svg+xml")
    app.add_api_route("/icon.svg", icon)
    config = uvicorn.Config(app, port=0, log_level="error", ws="none", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve()))
    thread.start()
    until(lambda: running.started)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = running.force_exit = True
    thread.join(20)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_shows_the_stream_and_goes_on_when_a_stream_of_events_ends(
    browser, server, width, scheme
):
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(f"{server}/dashboard")
    shown.locator("#ratio", has_text="▲ 1.50").wait_for(timeout=20_000)
    assert shown.locator("#learned").inner_text() == "1,234,567"
    assert shown.locator("#behind").inner_text() == "61 s"
    assert "<img src=x" in shown.locator("#alarms").inner_text()
    link = shown.locator("#alarms a", has_text="#17")
    assert link.get_attribute("href") == "/reports/latest#alarm-17"
    assert shown.locator("#alarms .critical").inner_text() == "critical, new"
    assert shown.locator("#chart .band").count() == 1
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    before = Looker.looks
    while asked.count(f"{server}/dashboard/events") < 3 or Looker.looks < before + 2:
        shown.wait_for_timeout(200)
    assert shown.locator("#state.live").count() == 1
    assert said == [] and all(url.startswith(server) for url in asked)
    shown.close()


def test_it_says_when_the_log_is_away(browser, server):
    shown = browser.new_page()
    shown.goto(f"{server}/dashboard")
    shown.locator("#ratio", has_text="1.50").wait_for(timeout=20_000)
    Looker.away = True
    shown.locator("#problem", has_text="the log is away").wait_for(timeout=20_000)
    Looker.away = False
    shown.locator("#problem").wait_for(state="hidden", timeout=20_000)
    shown.close()
