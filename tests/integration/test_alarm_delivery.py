"""Which alarms the web hook gets: not the silenced, unless they outlast their silence."""

import msgspec
import pytest
from hook_server import hook_server
from stream_runs import stream_log

from monitoring.watch.alarm_actions import AlarmAction, append_action
from monitoring.watch.alarm_delivery import ALARMS, Outbox
from monitoring.watch.alarm_webhook import ROUTING_KEY, open_webhook
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.settings import MonitorSettings
from streaming.log import TopicPartition

KEY = "0123456789abcdef"
C1 = Alarm(id="a1", field="campaign", value="c1", since_ms=0, detected_ms=5, size=1.5)
C2 = msgspec.structs.replace(C1, id="a2", value="c2")


@pytest.fixture
def log():
    with stream_log(":memory:") as opened:
        yield opened


@pytest.fixture
def server():
    with hook_server() as running:
        yield running


@pytest.fixture
def open_box(log, server):
    """Opens an outbox, the former one being closed."""
    boxes = []

    def opened(lines=None, state=None):
        if boxes:
            boxes[-1].close()
        boxes.append(outbox(log, server.url, lines, state))
        return boxes[-1]

    yield opened
    boxes[-1].close()


def outbox(log, url, lines=None, state=None):
    settings = MonitorSettings(
        webhook=url, webhook_format="pagerduty", public_url="https://ads.example"
    )
    hook = open_webhook(settings, lambda s: None)
    made = Outbox(log, 100, [].append if lines is None else lines.append, hook, settings.public_url)
    if state is not None:
        made.restore(state)
    return made


def saved(box, *alarms, at_ms=0):
    """Alarms taken and sent as the monitor does it; the state that it saves between."""
    box.take(alarms)
    box.follow(at_ms)
    state = msgspec.json.decode(msgspec.json.encode(box.state()))
    assert box.send({0: 0}, {})
    return state


def ended(alarm):
    return msgspec.structs.replace(alarm, status="closed", closed_ms=9)


def silence(log, until_ms, **more):
    mute = {"by": "ann", "field": "campaign", "value": "c1", "until_ms": until_ms, **more}
    append_action(log, AlarmAction(what="silence", at_ms=0, **mute))


def acknowledge(log, alarm):
    append_action(log, AlarmAction(what="acknowledge", at_ms=0, by="bob", alarm=alarm.id))


def events(server):
    return [(body["event_action"], body["dedup_key"]) for body in server.bodies]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(ROUTING_KEY, KEY)


def test_a_silenced_alarm_is_in_topic_and_log_and_not_sent(log, server, open_box):
    lines = []
    silence(log, until_ms=1000)
    box = open_box(lines)
    saved(box, C1, C2)
    saved(box, ended(C1), ended(C2), at_ms=500)
    box.close()
    assert events(server) == [("trigger", "a2"), ("resolve", "a2")]
    kept = [
        msgspec.json.decode(r.value, type=Alarm) for r in log.read(TopicPartition(ALARMS, 0), 0)
    ]
    assert [(alarm.id, alarm.number, alarm.opening) for alarm in kept] == [
        ("a1", 0, 0), ("a2", 1, 1), ("a1", 2, 0), ("a2", 3, 1)
    ]  # fmt: skip
    assert [line.count("(silenced: not sent to the web hook)") for line in lines] == [1, 0, 1, 0]
    assert "https://ads.example/reports/latest#alarm-0 (silenced" in lines[2]
    assert KEY not in "".join(lines) and "secret" not in "".join(lines)


@pytest.mark.parametrize("restart", [False, True])
def test_what_still_goes_on_at_the_end_of_its_silence_is_sent_once(log, server, open_box, restart):
    silence(log, until_ms=1000)
    box = open_box()
    state = saved(box, C1)
    if restart:
        box = open_box(state=state)
    box.follow(999)
    for at_ms in (1000, 2000):
        saved(box, at_ms=at_ms)
    saved(box, ended(C1), at_ms=3000)
    box.close()
    assert events(server) == [("trigger", "a1"), ("resolve", "a1")]


def test_what_the_log_took_only_after_its_silence_is_sent_once(log, server, open_box):
    silence(log, until_ms=1000)
    box = open_box()
    box.take([C1])
    box.follow(500)  # and the log does not answer
    saved(box, at_ms=1000)
    saved(box, at_ms=2000)
    box.close()
    assert events(server) == [("trigger", "a1")]


def test_what_somebody_is_on_is_not_sent_at_the_end_of_its_silence(log, server, open_box):
    silence(log, until_ms=1000)
    box = open_box()
    saved(box, C1)
    acknowledge(log, C1)
    saved(box, at_ms=5000)
    box.close()
    assert ("trigger", "a1") not in events(server)


def test_the_end_of_an_alarm_that_was_sent_is_sent_in_a_silence_too(log, server, open_box):
    """Else its incident would stay open for ever."""
    box = open_box()
    saved(box, C1)
    silence(log, until_ms=1000)
    saved(box, ended(C1), at_ms=500)
    box.close()
    assert events(server) == [("trigger", "a1"), ("resolve", "a1")]


def test_an_acknowledgement_is_sent_once_also_over_a_restart(log, server, open_box):
    box = open_box()
    saved(box, C1)
    acknowledge(log, C1)
    acknowledge(log, C2)  # of another monitor's, or over
    box = open_box(state=saved(box))
    saved(box)
    box.close()
    assert events(server) == [("trigger", "a1"), ("acknowledge", "a1")]


def test_a_hook_that_is_down_stops_nothing_and_is_told_without_secrets(log):
    with hook_server() as server:
        pass
    lines = []
    box = outbox(log, server.url, lines)
    saved(box, C1)
    box.close()
    assert len(log.read(TopicPartition(ALARMS, 0), 0)) == 1
    [refused] = [line for line in lines if "webhook did not take" in line]
    assert "secret" not in refused and KEY not in refused
