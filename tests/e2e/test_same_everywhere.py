"""One stream gives the same examples and the same model on every log, and when replayed.

``CLICKTIDE_FULL=1`` makes it 200,000 impressions.
"""

import hashlib
import json
import os

import pytest
from command import run_clicktide
from live_stream import REAL, Up, conserved, publish, small_tables, until_learned, values

from learning.snapshot import load_snapshot
from streaming.settings import load_stream_settings

pytestmark = pytest.mark.timeout(900)

EVENTS = 200_000 if os.environ.get("CLICKTIDE_FULL") else 8_000
SOURCE = f"sim:stationary?events={EVENTS}&users=500&sites=50"


def run(*arguments):
    done = run_clicktide(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path):
    with path.open() as file:
        yield from map(json.loads, file)


def example(shown, label, clicked, correction):
    return json.dumps([shown, label, clicked, correction], sort_keys=True)


def brute_force(market, join_ms, last_ms):
    """Every impression of the one file against all clicks of the other, up to the last in time."""
    truth = {row["impression_id"]: row["p_true"] for row in rows(market / "truth.jsonl")}
    clicks = {}
    for row in rows(market / "clicks.jsonl"):
        clicks.setdefault(row["impression_id"], row["timestamp"])
    for shown in rows(market / "impressions.jsonl"):
        clicked = clicks.get(shown["impression_id"])
        shown["p_true"] = truth[shown["impression_id"]]
        on_time = clicked is not None and clicked <= shown["timestamp"] + join_ms
        yield example(shown, int(on_time), clicked if on_time else None, False)
        if clicked is not None and not on_time and clicked <= shown["timestamp"] + last_ms:
            yield example(shown, 1, clicked, True)


def examples(url, topic):
    """Those of a log, in the same form."""
    for record in values(url, topic):
        for line in record.split(b"\n"):
            found = json.loads(line)
            shown = found["impression"]
            fields = shown["fields"] | {"impression_id": shown["impression_id"]}
            clicked, late = found.get("click_timestamp"), found.get("correction", False)
            yield example(fields, found["label"], clicked, late)


def arrays(folder):
    """All that a model has learned: digests, for how two arrays differ would say nothing."""
    weights = load_snapshot(folder).learner.weights
    held = weights.arrays.values()
    return [hashlib.sha256(array).hexdigest() for array in held]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """The stream as files."""
    folder = tmp_path_factory.mktemp("market")
    run("simulate", SOURCE, "--out", folder)
    return folder


@pytest.fixture(params=["embedded", "kafka"])
def up(request, tmp_path):
    """A running stream on either log."""
    on_kafka = request.param == "kafka"
    where = ["--log", request.getfixturevalue("kafka_url")] if on_kafka else []
    spec = ["--spec", str(small_tables(tmp_path)), "--no-register", "--no-monitor"]
    up = Up(tmp_path / "run", REAL, "--set", "join.join_window_s=60", *spec, *where)
    yield up
    up.end()


def test_examples_are_those_of_a_brute_force_join_and_the_model_is_that_of_a_replay(
    up, market, tmp_path
):
    up.until_running("valkey", "join", "train")
    publish(up, SOURCE)
    conserved(up, until_learned(up, EVENTS))
    assert up.stop() == 0

    join = load_stream_settings(up.folder / "clicktide.toml").join
    last_ms = int((join.join_window_s + join.late_window_s) * 1000)
    for topic, seconds in ("examples", join.join_window_s), ("early_examples", join.label_after_s):
        wanted = sorted(brute_force(market, int(seconds * 1000), last_ms))
        found = sorted(examples(up.log, topic))
        assert len(found) > EVENTS  # late clicks are among them
        assert found == wanted

    spec = tmp_path / "small.toml"
    run("replay", f"early_examples:{up.log}", "--spec", spec, "--save", tmp_path / "replayed")
    assert arrays(tmp_path / "replayed") == arrays(up.folder / "model")
