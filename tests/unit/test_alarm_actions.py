"""Acknowledging and silencing alarms: what holds when, and what a reader of the topic sees."""

import msgspec
import pytest

from monitoring.watch.alarm_actions import (
    ALARM_ACTIONS,
    ActionReader,
    AlarmAction,
    active_silences,
    append_action,
    handled,
    silence_of,
    status_of,
)
from monitoring.watch.detect.alarm import Alarm, current_first, severity_of
from streaming.log import NewRecord, open_log

C1 = Alarm(id="a", opening=3, since_ms=0, detected_ms=0, field="campaign", value="c1")
ELSEWHERE = [
    msgspec.structs.replace(C1, id="b", value="c2"),
    msgspec.structs.replace(C1, id="c", field="site"),
    msgspec.structs.replace(C1, id="d", field="", value=""),
]


def silence(at_ms=0, until_ms=1000, **where):
    return AlarmAction(what="silence", at_ms=at_ms, by="ann", until_ms=until_ms, **where)


def acknowledge(alarm):
    return AlarmAction(what="acknowledge", at_ms=0, by="bob", alarm=alarm.id, number=alarm.opening)


def test_a_silence_is_of_its_slice_and_of_its_time_alone():
    done = [silence(field="campaign", value="c1")]
    assert silence_of(C1, done, 999) is done[0]
    assert silence_of(C1, done, 1000) is None
    assert not any(silence_of(alarm, done, 999) for alarm in ELSEWHERE)


@pytest.mark.parametrize(
    ("where", "silenced"),
    [({"field": "campaign"}, ["a", "b"]), ({}, ["d"]), ({"field": "campaign", "value": ""}, [])],
)
def test_a_field_alone_is_all_its_values_and_no_field_is_everywhere(where, silenced):
    done = [silence(**where)]
    assert [alarm.id for alarm in (C1, *ELSEWHERE) if silence_of(alarm, done, 0)] == silenced


def test_the_last_word_on_a_slice_holds():
    first, longer = silence(field="site"), silence(at_ms=5, until_ms=9000, field="site")
    assert active_silences([first, longer], 5000) == [longer]
    shorter = silence(at_ms=6, until_ms=100, field="site")
    assert active_silences([longer, shorter], 5000) == []
    end = AlarmAction(what="unsilence", at_ms=7, by="bob", field="site")
    assert active_silences([longer, silence(field="ad"), end], 50) == [silence(field="ad")]


def test_the_status_names_who_and_until_when():
    done = [acknowledge(C1), silence(field="campaign", value="c1", until_ms=7_200_000)]
    assert status_of(C1, [], 0) == "new"
    assert status_of(C1, done, 0) == "acknowledged by bob, silenced by ann until 1 Jan, 02:00 UTC"
    assert status_of(ELSEWHERE[0], done, 0) == "new"
    over = msgspec.structs.replace(C1, status="closed", closed_ms=5)
    assert (status_of(over, done, 0), handled(over, done, 0)) == ("ended", "")


def test_a_reader_sees_each_action_once_and_passes_over_what_is_none():
    with open_log(":memory:") as log:
        reader = ActionReader(log)
        assert reader.read() == []  # the topic was never made
        append_action(log, acknowledge(C1))
        assert reader.read() == [(0, acknowledge(C1))]
        with log.producer("other").transaction() as tx:
            tx.append(ALARM_ACTIONS, [NewRecord(None, b"{}", 0)])
        append_action(log, silence(field="site"))
        assert [action for _, action in reader.read()] == [silence(field="site")]
        assert reader.read() == []
        assert reader.actions == [acknowledge(C1), silence(field="site")]


@pytest.mark.parametrize(
    ("what", "share", "severity"),
    [
        ("calibration", 0.1, "critical"),
        ("click_rate", 0.099, "warning"),
        ("calibration", 0.0099, "info"),
        ("missing", 0.5, "critical"),
        ("missing", 0.049, "info"),
        ("click_delay", None, "warning"),
    ],
)
def test_the_severity_is_by_the_share_of_the_stream(what, share, severity):
    assert severity_of(what, share) == severity


def test_the_most_severe_that_goes_on_comes_first():
    def one(name, **more):
        return msgspec.structs.replace(C1, id=name, **more)

    given = [
        one("over", severity="critical", closed_ms=9, since_ms=8),
        one("small", severity="info", since_ms=7),
        one("old", severity="critical", since_ms=1),
        one("new", severity="critical", since_ms=2),
    ]
    assert [alarm.id for alarm in current_first(given)] == ["new", "old", "small", "over"]
