"""Web hooks: the fields and limits of each format, retries, and no secret in any message."""

from __future__ import annotations

import json

import msgspec
import pytest
from hook_server import hook_server

from features.errors import ClicktideError
from monitoring.watch.alarm_webhook import ROUTING_KEY, open_webhook
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.settings import MonitorSettings

KEY = "0123456789abcdef0123456789abcdef"
PAGE = "https://ads.example/reports/latest#alarm-7"
ALARM = Alarm(
    id="0003-calibration-campaign-20260105T000000Z", number=9, opening=7, severity="critical",
    share=0.12, field="campaign", value="c1 <!channel> & co", since_ms=1_767_600_000_000,
    detected_ms=1_767_603_600_000, size=1.52, size_low=1.38, size_high=1.67,
    clicks_over_promised=1240.0, money_over_promised=812.4, cause="site s12 from 4 % to 31 %",
    action="hold bids on c1",
)  # fmt: skip
LONG = msgspec.structs.replace(
    ALARM, id="x" * 400, value="v" * 5000, cause="c" * 5000, action="a" * 5000
)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(ROUTING_KEY, KEY)


def hook(form, url="http://127.0.0.1:9/T0/secret", pauses=None, **more):
    settings = MonitorSettings(webhook=url, webhook_format=form, **more)
    return open_webhook(settings, [].append if pauses is None else pauses.append)


def body(form, alarm=ALARM, public_url="https://ads.example"):
    return json.loads(hook(form, public_url=public_url).alarm(alarm))


def test_json_is_the_record_with_its_link():
    told = body("json")
    assert told.pop("link") == PAGE
    assert msgspec.convert(told, Alarm) == ALARM
    assert told["type"] == "alarm" and told["severity"] == "critical"
    assert body("json", public_url="")["link"] == "#alarm-7"


def test_slack_gets_blocks_whose_values_are_no_markup():
    told = body("slack")
    header, facts, context = told["blocks"]
    assert header["type"] == "header" and header["text"]["type"] == "plain_text"
    assert header["text"]["text"].startswith("🔴 critical: it over-predicts by 52 % in campaign c1")
    fields = [field["text"] for field in facts["fields"]]
    assert {field["type"] for field in facts["fields"]} == {"mrkdwn"}
    assert fields[0] == "*Where*\ncampaign c1 &lt;!channel&gt; &amp; co"
    assert fields[1] == "*Since*\n2026-01-05 08:00 UTC"
    assert fields[-1] == "*What to do*\nhold bids on c1"
    assert "1,240 clicks promised" in fields[3] and "12 % of the stream" in fields[3]
    assert context["elements"] == [{"type": "mrkdwn", "text": f"<{PAGE}|alarm 7 in the report>"}]
    assert "<!channel>" not in told["text"]
    assert len(body("slack", public_url="")["blocks"]) == 2


def test_slack_takes_no_more_than_so_many_characters():
    told = body("slack", LONG)
    header, facts, _ = told["blocks"]
    assert len(header["text"]["text"]) == 150 and len(told["text"]) <= 3000
    assert len(facts["fields"]) <= 10
    assert max(len(field["text"]) for field in facts["fields"]) == 2000


def test_pagerduty_gets_an_event_of_its_api():
    told = body("pagerduty")
    assert (told["routing_key"], told["event_action"]) == (KEY, "trigger")
    assert told["dedup_key"] == ALARM.id
    assert told["links"] == [{"href": PAGE, "text": "The alarm's report"}]
    payload = told["payload"]
    assert payload["summary"].startswith("It over-predicts by 52 % in campaign c1")
    assert (payload["severity"], payload["class"]) == ("critical", "calibration")
    assert payload["timestamp"] == "2026-01-05T09:00:00Z" and payload["source"]
    assert payload["custom_details"]["What to do"] == "hold bids on c1"
    assert "links" not in body("pagerduty", public_url="")
    over = msgspec.structs.replace(ALARM, status="closed", closed_ms=1_767_607_200_000)
    told = body("pagerduty", over)
    assert (told["event_action"], told["dedup_key"]) == ("resolve", ALARM.id)
    seen = json.loads(hook("pagerduty").acknowledgement(ALARM))
    assert seen == {"event_action": "acknowledge", "dedup_key": ALARM.id, "routing_key": KEY}
    assert hook("slack").acknowledgement(ALARM) is hook("json").acknowledgement(ALARM) is None


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_every_severity_is_one_that_pagerduty_has(severity):
    told = body("pagerduty", msgspec.structs.replace(ALARM, severity=severity))
    assert told["payload"]["severity"] == severity


def test_pagerduty_takes_no_more_than_so_many_characters():
    told = body("pagerduty", LONG)
    assert len(told["payload"]["summary"]) == 1024 and len(told["dedup_key"]) == 255


def test_pagerduty_needs_its_key_and_no_url(monkeypatch):
    assert open_webhook(MonitorSettings(webhook_format="pagerduty"), print) is not None
    monkeypatch.delenv(ROUTING_KEY)
    with pytest.raises(ClicktideError, match=f"{ROUTING_KEY} in the environment"):
        hook("pagerduty")


def test_slack_needs_a_url_and_without_one_json_goes_nowhere():
    with pytest.raises(ClicktideError, match="incoming web hook"):
        hook("slack", url="")
    assert hook("json", url="") is None


@pytest.mark.parametrize("form", ["json", "slack", "pagerduty"])
def test_what_may_pass_is_sent_again(form):
    pauses = []
    with hook_server(500, 429) as server:
        sender = hook(form, server.url, pauses)
        sender.post(sender.alarm(ALARM))
    assert len(server.bodies) == 3 and server.bodies[0] == server.bodies[2]
    assert server.types == {"application/json"} and pauses == [1.0, 2.0]


@pytest.mark.parametrize(("answers", "sent"), [((400, 202), 1), ((503, 503, 503, 202), 3)])
def test_what_is_refused_is_told_without_the_url_or_the_key(answers, sent):
    with hook_server(*answers) as server:
        sender = hook("pagerduty", server.url)
        with pytest.raises(ClicktideError, match=f"it answered {answers[0]}") as error:
            sender.post(sender.alarm(ALARM))
    assert len(server.bodies) == sent
    assert "secret" not in str(error.value) and KEY not in str(error.value)


def test_a_server_that_is_down_is_tried_three_times_and_told_without_its_url():
    with hook_server() as server:
        pass
    pauses = []
    with pytest.raises(ClicktideError, match="ConnectError") as error:
        hook("pagerduty", server.url, pauses).post(b"{}")
    assert pauses == [1.0, 2.0]
    assert "secret" not in str(error.value) and KEY not in str(error.value)
