"""``clicktide alarms``: listed, acknowledged and silenced, as a person on call does it."""

import json

import msgspec
import pytest
from stream_runs import stream_log
from typer.testing import CliRunner

from clicktide.alarms import app
from features.errors import ClicktideError
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.figures import SliceFigures
from monitoring.watch.monitor_files import Now
from monitoring.watch.monitor_folder import MonitorFolder

C7 = Alarm(
    id="a7", number=4, opening=4, field="campaign", value="c7", size=1.5, severity="critical",
    share=0.12, clicks_over_promised=1240.0, since_ms=1_767_600_000_000, detected_ms=5,
)  # fmt: skip
OVER = Alarm(
    id="a2", number=3, opening=2, status="closed", closed_ms=9, field="site", value="s2",
    since_ms=5, detected_ms=6,
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    stream_log(tmp_path / "log.db").close()
    (tmp_path / "clicktide.toml").write_text('[monitor]\npublic_url = "https://ads.example"\n')
    keeper = MonitorFolder(tmp_path / "monitor", 9)
    now = Now(
        at_ms=0, event_time_ms=0, seen=1, corrections=0, unscored=0, rejected=0, after_close=0,
        lost=0, overall=SliceFigures(1, 0), fields=[], window_s=60.0, alarms_open=[C7],
    )  # fmt: skip
    keeper.save({}, now, [OVER, C7])
    keeper.close()

    def command(*given):
        result = CliRunner().invoke(app, [*given, "--dir", str(tmp_path)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


def listed(run):
    return json.loads(run("--json"))


def test_what_goes_on_is_listed_first_with_its_link(run):
    new, ended = listed(run)["alarms"]
    assert (new["status"], ended["status"]) == ("new", "ended")
    assert new["link"] == "https://ads.example/reports/latest#alarm-4"
    assert msgspec.convert(new["alarm"], Alarm) == C7
    text = " ".join(run().split())
    assert "critical" in text and "over-predicts" in text and "1,240" in text


def test_an_acknowledgement_is_kept_with_who_when_and_why(run):
    said = run("ack", "4", "--by", "ann", "--note", "asked the sender")
    assert said == "ann: acknowledge alarm 4\n"
    new, ended = listed(run)["alarms"]
    assert (new["status"], ended["status"]) == ("acknowledged by ann", "ended")
    [action] = json.loads(run("--history", "--json"))["actions"]
    assert (action["by"], action["why"], action["alarm"]) == ("ann", "asked the sender", "a7")
    assert action["at_ms"] > C7.since_ms
    assert "asked the sender" in run("--history")


def test_a_slice_is_silenced_for_its_time_and_until_it_is_not(run):
    run("silence", "--where", "campaign=c7", "--for", "2h", "--by", "bob", "--why", "prices")
    told = listed(run)
    [silence] = told["silences"]
    assert silence["until_ms"] - silence["at_ms"] == 7_200_000
    assert told["alarms"][0]["status"].startswith("silenced by bob until ")
    assert "Silenced: campaign c7 until" in run()
    run("unsilence", "--where", "campaign=c7", "--by", "ann")
    assert listed(run)["silences"] == [] and listed(run)["alarms"][0]["status"] == "new"
    actions = json.loads(run("--history", "--json"))["actions"]
    assert [(one["what"], one["by"]) for one in actions] == [
        ("silence", "bob"), ("unsilence", "ann")
    ]  # fmt: skip


def test_an_option_before_the_command_is_refused_and_not_passed_over(run, tmp_path):
    given = ["--dir", str(tmp_path), "ack", "4", "--by", "ann"]
    with pytest.raises(ClicktideError, match="after ack"):
        CliRunner().invoke(app, given, catch_exceptions=False)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (["ack", "5", "--by", "ann"], "no alarm 5"),
        (["ack", "4", "--by", " "], "who you are"),
        (["silence", "--where", "=c", "--for", "2h", "--by", "a", "--why", "b"], "FIELD=VALUE"),
        (["silence", "--where", "c", "--for", "2 years", "--by", "a", "--why", "b"], "30min"),
        (["silence", "--where", "c", "--for", "31d", "--by", "a", "--why", "b"], "up to 30d"),
        (["unsilence", "--where", "campaign=c7", "--by", "ann"], "not silenced"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(run, given, wrong):
    with pytest.raises(ClicktideError, match=wrong):
        run(*given)
    assert json.loads(run("--history", "--json")) == {"actions": []}
