"""``clicktide events``: topics listed, and printed as JSON Lines."""

import json

import pytest
import typer
from typer.testing import CliRunner

from clicktide.events import events
from features.errors import ClicktideError
from features.events import DeadLetter, encode_event
from streaming.log import NewRecord, TopicSettings, open_log

app = typer.Typer()
app.command()(events)


@pytest.fixture
def url(tmp_path):
    path = str(tmp_path / "log.db")
    dead = DeadLetter(
        v=1, reason="broken_json", detail="x", topic="clicks", partition=0, offset=1, raw=b"oops"
    )
    with open_log(path) as log:
        log.create_topics([TopicSettings("examples", 2), TopicSettings("dead_letters")])
        with log.producer("p").transaction() as tx:
            tx.append("examples", [NewRecord(b"a", b'{"n":1}\n{"n":2}', 0)])
            tx.append("examples", [NewRecord(b"b", b'{"n":3}', 1), NewRecord(b"c", b"\xff", 1)])
            tx.append("dead_letters", [NewRecord(b"d", encode_event(dead))])
    return path


def shown(*args):
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_a_record_of_many_events_prints_as_many_lines(url):
    lines = [json.loads(line) for line in shown("examples", "--log", url)]
    assert lines[:3] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert list(lines[3]) == ["not_json"]


def test_from_and_max_bound_what_is_printed(url):
    assert shown("examples", "--log", url, "--max", "1") == ['{"n":1}']
    assert shown("examples", "--log", url, "--from", "end") == []
    assert shown("dead_letters", "--log", url, "--from", "1") == []


def test_a_dead_letter_shows_its_bytes_as_text_or_exactly_as_stored(url):
    [readable] = shown("dead_letters", "--log", url)
    assert json.loads(readable)["raw"] == "oops"
    [exact] = shown("dead_letters", "--log", url, "--json-lines")
    assert json.loads(exact)["raw"] == "b29wcw=="


def test_without_a_topic_all_are_listed_with_their_counts(url):
    rows = [json.loads(line) for line in shown("--log", url, "--json-lines")]
    assert [(r["topic"], r["partitions"], r["records"]) for r in rows] == [
        ("dead_letters", 1, 1),
        ("examples", 2, 3),
    ]


@pytest.mark.parametrize("args", [["--log", "nowhere.db"], ["--log", "nowhere.db", "clicks"]])
def test_a_log_that_is_not_there_is_told_and_not_made(args, tmp_path):
    args[1] = str(tmp_path / args[1])
    with pytest.raises(ClicktideError, match="no event log"):
        CliRunner().invoke(app, args, catch_exceptions=False)
    assert not (tmp_path / "nowhere.db").exists()


def test_a_wrong_offset_is_told(url):
    with pytest.raises(ClicktideError, match="start, end, or an offset"):
        CliRunner().invoke(app, ["examples", "--log", url, "--from", "x"], catch_exceptions=False)
