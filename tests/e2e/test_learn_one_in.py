"""Of unclicked impressions the trainer gets one in so many, and learns what all of them say."""

import json

import numpy as np
import pytest
from command import run_clicktide

from features.events import decode_event
from learning.snapshot import load_snapshot
from streaming.example_lines import ExampleLines
from streaming.joiner.early_labels import is_chosen
from streaming.log import TopicPartition, open_log

EVENTS, ONE_IN = 20_000, 10
JOIN = ("join.join_window_s=120", "join.late_window_s=600", f"join.learn_one_in={ONE_IN}")
SMALL = ("hash.bits=14", "hash.cross_bits=14")


def run(*arguments, changes=()):
    changes = [word for change in changes for word in ("--set", change)]
    done = run_clicktide(*arguments, *changes)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """The folder of a stream that is read to its end, and what the trainer said of it."""
    folder = tmp_path_factory.mktemp("thinned") / "ads"
    source = f"sim:stationary?events={EVENTS}&users=500&sites=50"
    run("replay", source, "--to", folder / "log.db", changes=JOIN)
    run("join", "--dir", folder, "--until-idle", "0", changes=JOIN)
    said = run("train", "--dir", folder, "--until-idle", "0", "--json", changes=SMALL)
    return folder, json.loads(said)


def events(folder, topic):
    with open_log(str(folder / "log.db")) as log:
        records = log.read(TopicPartition(topic, 0), 0, 100_000)
    return [decode_event(line) for record in records for line in record.value.split(b"\n")]


def test_every_clicked_impression_is_kept_and_of_the_others_one_in_so_many(stream):
    folder, _ = stream
    shown = [one for one in events(folder, "impressions") if hasattr(one, "impression_id")]
    early = events(folder, "early_examples")
    first = {one.impression.impression_id: one for one in early if not one.correction}
    late = {one.impression.impression_id for one in early if one.correction}
    clicked = {name for name, one in first.items() if one.label}
    chosen = {one.impression_id for one in shown if is_chosen(one.impression_id, ONE_IN)}
    assert set(first) == clicked | chosen
    assert abs(len(chosen) - EVENTS / ONE_IN) < 4 * (EVENTS / ONE_IN) ** 0.5
    assert {one.one_in for one in first.values()} == {ONE_IN}
    examples = events(folder, "examples")  # for who judges: all of them
    whole = {one.impression.impression_id for one in examples if not one.correction}
    assert len(whole) == EVENTS
    every_click = {one.impression.impression_id for one in examples if one.label}
    assert clicked | late == every_click
    assert len(late - chosen) > 100  # clicked later, and not among those that were kept


def test_sums_are_those_of_all_impressions(stream):
    folder, said = stream
    early = events(folder, "early_examples")
    clicks = sum(one.label for one in early)
    assert said["events"] == sum(not one.correction for one in early) < EVENTS / 4
    assert said["clicks"] == clicks  # each counts once, those that came later too
    weight = said["clicks"] / said["base_rate"]
    spread = (EVENTS * (ONE_IN - 1)) ** 0.5  # of a binomial choice whose members count for ten
    assert abs(weight - EVENTS) < 4 * spread
    assert said["calibration_ratio"] == pytest.approx(1.0, abs=4 / clicks**0.5 + 0.05)


def test_a_replay_of_the_topic_learns_it_to_the_same_bits(stream, tmp_path):
    folder, _ = stream
    source = f"early_examples:{folder / 'log.db'}"
    run("replay", source, "--spec", "market", "--save", tmp_path / "m", changes=SMALL)
    one, two = load_snapshot(folder / "model"), load_snapshot(tmp_path / "m")
    for name, array in one.learner.weights.arrays.items():
        assert np.array_equal(array, two.learner.weights.arrays[name]), name


def line(**more):
    shown = {"type": "impression", "v": 1, "impression_id": "i", "timestamp": 1736121600000}
    return json.dumps({"type": "example", "v": 1, "label": 0, "impression": shown} | more).encode()


@pytest.mark.parametrize(
    ("text", "one_in"),
    [
        (line(), 1),
        (line(one_in=7), 7),
        (line(one_in=7, correction=True), 7),  # read strictly
        (line(one_in=1_000_000), 1_000_000),
        *[(line(one_in=bad), None) for bad in (0, -1, 2.5, "7", None, 1_000_001, 10**18)],
    ],
)
def test_how_many_is_read_with_and_without_the_scan(text, one_in):
    lines = ExampleLines.of(text, lambda i: ("x", i))
    if one_in is None:
        assert [reject.reason for reject in lines.rejects] == ["wrong_type"]
    else:
        assert lines.one_in[lines.order].tolist() == [one_in]


def test_it_needs_early_labels(tmp_path):
    changes = ("join.learn_one_in=2", "join.label_after_s=0")
    done = run_clicktide("join", "--dir", tmp_path, *[w for c in changes for w in ("--set", c)])
    assert done.returncode == 2
    assert "label_after_s" in done.stderr
