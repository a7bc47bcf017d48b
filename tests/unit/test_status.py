"""What one look at the log tells, with commits written by hand."""

import io

import msgspec
import pytest
from command import invoke, printed
from rich.console import Console
from stream_runs import stream_log

from clicktide.cli import app
from clicktide.status import status_json, status_view
from features.events import Heartbeat, Impression, encode_event
from monitoring.watch.alarm_actions import AlarmAction, append_action
from streaming.freshness import Freshness, Reader, freshness
from streaming.joiner.commit import TopicState
from streaming.log import NewRecord, Position, TopicPartition, open_log
from streaming.log.records import dump_metadata
from streaming.status import look_at

T0 = 1_736_121_600_000
NOW = T0 + 50_000


@pytest.fixture
def log():
    with stream_log(":memory:", clock_ms=lambda: T0 + 40_000) as log:
        yield log


def append(log, topic, *values):
    with log.producer("test").transaction() as tx:
        tx.append(topic, [NewRecord(b"k", value) for value in values])


def impression(number):
    event = Impression(v=1, impression_id=f"i{number}", timestamp=T0 + number * 1000)
    return encode_event(event)


def commit(log, group, topic, offset, metadata=""):
    with log.producer("test").transaction() as tx:
        tx.commit(group, {TopicPartition(topic, 0): Position(offset, metadata)})


def joined(offset, read_to, counts, emitted_to=T0, watermark=T0):
    state = TopicState(
        windows=(600_000, 1_800_000, 30_000, 60_000, 3_600_000, 30_000, 2_000),
        offset=offset,
        time=T0,
        read_to=read_to,
        done_to=read_to,
        impressions_watermark=watermark,
        emitted_to=emitted_to,
        counts=counts,
    )
    return dump_metadata(state)


def test_an_empty_log_has_topics_and_nothing_else(log):
    look = look_at(log, NOW)
    assert set(look.topics) == {
        "impressions", "clicks", "examples", "early_examples", "dead_letters"
    }  # fmt: skip
    assert look.groups == {}
    assert look.joiner is look.trainer is look.newest_impression_ms is None
    assert freshness(look) == Freshness(NOW)


def test_a_log_without_our_topics_is_no_error():
    with open_log(":memory:") as log:
        assert look_at(log, NOW).topics == {}


def test_the_newest_impression_is_found_behind_heartbeats_and_broken_records(log):
    beat = encode_event(Heartbeat(v=1, timestamp=T0 + 9_999_000))
    append(log, "impressions", impression(1), impression(7), b"{broken", beat, beat)
    look = look_at(log, NOW)
    assert look.newest_impression_ms == T0 + 7000
    assert look.topics["impressions"].newest_ms == T0 + 40_000
    assert look.topics["impressions"].records == 5


def test_the_joiners_lag_is_what_it_has_not_read_rather_than_what_it_holds(log):
    append(log, "impressions", *map(impression, range(10)))
    commit(log, "join", "impressions", 2, joined(2, 8, {"impressions": 8}))
    (part,) = look_at(log, NOW).groups["join"]
    assert (part.committed, part.read_to, part.end, part.lag) == (2, 8, 10, 2)


def test_impressions_are_examples_pending_or_rejected(log):
    counts = {
        "impressions": 10,
        "examples": 4,
        "examples_clicked": 1,
        "impressions_rejected_too_late": 2,
        "impressions_rejected_broken_json": 1,
    }
    append(log, "impressions", *map(impression, range(10)))
    append(log, "clicks", b"x", b"y", b"z")
    commit(log, "join", "impressions", 2, joined(2, 10, counts))
    commit(log, "join", "clicks", 3, joined(3, 3, {"clicks": 3, "clicks_rejected_orphan_click": 2}))
    joiner = look_at(log, NOW).joiner
    assert (joiner.impressions, joiner.examples, joiner.pending) == (10, 4, 3)
    assert joiner.rejected["impressions"] == {"too_late": 2, "broken_json": 1}
    assert joiner.rejected["clicks"] == {"orphan_click": 2}


@pytest.mark.parametrize(
    ("behind_s", "clicks_read", "stalled"),
    [(30, 1, False), (600, 1, True), (600, 0, False)],
    ids=["labels keep up", "all clicks read, labels wait", "clicks are still to be read"],
)
def test_a_stall_is_told_from_a_lag(log, behind_s, clicks_read, stalled):
    append(log, "impressions", impression(0))
    append(log, "clicks", b"x")
    text = joined(0, clicks_read, {}, emitted_to=T0, watermark=T0 + behind_s * 1000)
    commit(log, "join", "impressions", 0, text.replace('"read_to":0', '"read_to":1'))
    commit(log, "join", "clicks", 0, text)
    assert look_at(log, NOW).joiner.stalled == stalled


def test_what_the_trainer_said_and_how_old_it_is(log):
    append(log, "impressions", impression(20))
    append(log, "examples", b"x", b"y")
    said = {"learned": 150, "event_time": T0, "log_loss": 0.5, "calibration": 1.0, "at": NOW - 3000}
    commit(log, "train", "examples", 1, msgspec.json.encode(said).decode())
    look = look_at(log, NOW)
    assert look.trainer.learned == 150
    assert freshness(look).trainer == Reader(1, T0, NOW - 3000, behind_s=20.0)
    assert look.lag("train") == 1


def test_each_reader_is_compared_with_the_newest_example_of_its_own_topic(log):
    """The monitor, whose examples leave the join window, is not late by what is labelled early."""
    append(log, "impressions", impression(700))
    append(log, "early_examples", b"x", b"y")
    append(log, "examples", b"x", b"y")
    state = joined(0, 1, {}, emitted_to=T0 + 670_000, watermark=T0 + 670_000)
    early = msgspec.json.decode(state, type=TopicState)
    commit(log, "join", "impressions", 0,
           dump_metadata(msgspec.structs.replace(early, early_to=T0 + 699_000)))  # fmt: skip
    said = {"event_time": T0 + 60_000, "at": NOW}
    for group, topic in ("train", "early_examples"), ("monitor", "examples"):
        commit(log, group, topic, 1, msgspec.json.encode(said).decode())
    found = freshness(look_at(log, NOW))
    assert found.monitor.behind_s == 10.0
    assert found.trainer.behind_s == 609.0


def test_metadata_that_is_not_ours_is_passed_over(log):
    append(log, "impressions", impression(1))
    append(log, "examples", b"x")
    commit(log, "join", "impressions", 1, "not json")
    commit(log, "train", "examples", 1, "")
    look = look_at(log, NOW)
    assert look.joiner is look.trainer is None
    assert look.lag("join") == look.lag("train") == 0


def test_rates_are_over_the_time_between_two_looks(log):
    before = look_at(log, NOW)
    append(log, "clicks", *[b"x"] * 10)
    commit(log, "train", "examples", 0, '{"learned":8}')
    rates = look_at(log, NOW + 2000).rates(before)
    assert rates["clicks"] == 5
    assert rates["learned"] == 4
    assert before.rates(before) == {}


def test_a_lag_of_transaction_ends_alone_counts_as_none(log):
    """As on Kafka, where they take offsets and nothing can be read there."""

    class WithMarkers:
        def __getattr__(self, name):
            return getattr(log, name)

        def end_offsets(self, topic):
            return [end + 1 for end in log.end_offsets(topic)]

        def read(self, at, offset, most=1000):
            return log.read(at, min(offset, log.end_offsets(at.topic)[at.partition]), most)

    append(log, "examples", b"x", b"y")
    commit(log, "train", "examples", 2)
    assert look_at(WithMarkers(), NOW).lag("train") == 0
    commit(log, "train", "examples", 1)
    assert look_at(WithMarkers(), NOW).lag("train") == 2


def test_tables_and_json_tell_the_same(log):
    append(log, "impressions", impression(20))
    commit(log, "join", "impressions", 0, joined(0, 1, {"impressions": 1}))
    full = '{"fields":0.1,"crosses":0.7}'
    commit(log, "train", "examples", 0, f'{{"learned":1234,"at":{NOW},"occupancy":{full}}}')
    processes = {
        "pid": 7,
        "runs": True,
        "children": {"join": {"pid": 8, "starts": 1, "runs": False}},
    }
    look = look_at(log, NOW)
    console = Console(width=120, file=io.StringIO())
    console.print(status_view(look, "run/log.db", {"learned": 3.0}, processes))
    shown = console.file.getvalue()
    assert "1,234 (3 per s)" in shown
    assert "not running" in shown
    assert "fields 10%, crosses 70% (one bit more is better: hash.cross_bits)" in shown
    told = status_json(look, "run/log.db", {"learned": 3.0}, processes)
    assert told["trainer"]["learned"] == 1234
    assert told["joiner"]["pending"] == 1
    assert told["lag"] == {"join": 0, "train": 0}
    msgspec.json.encode(told)


def test_a_rollback_is_told_first(tmp_path):
    url = tmp_path / "log.db"

    def told(what, number):
        with stream_log(url) as log:
            append_action(log, AlarmAction(what=what, at_ms=NOW, by="guard", number=number))
        command = ("status", "--log", url, "--every", "0.1")
        return printed(app, *command)["warnings"], invoke(app, *command).stdout

    warnings, shown = told("roll_back", 3)
    assert warnings[0].startswith("Rolled back: version 3 is served since")
    assert "! Rolled back: version 3 is served since" in shown
    warnings, shown = told("serve_live", 4)
    assert not any("Rolled back" in warning for warning in [*warnings, shown])
