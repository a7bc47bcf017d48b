"""Challengers on a real log: the trainer's own bits, restarts, River's classifiers."""

import json
import random
import sqlite3
import time
from itertools import pairwise

import mlflow_warnings
import numpy as np
import pytest
from command import run_clicktide
from example_log import example_line, fill
from small_spec import spec_of
from stream_runs import learn_all
from waiting import failing

from features.errors import ClicktideError
from features.spec import FieldSpec, HashSpec
from learning.snapshot import load_snapshot
from monitoring.registry.challenge import Challenge, river_classifier
from monitoring.watch.figures import CLICKS, CORRECTED, COUNT, EXPECTED, LOSS
from monitoring.watch.monitor_files import read_monitor
from streaming.log import LogUnavailableError, open_log
from streaming.settings import EARLY_EXAMPLES, EXAMPLES, StreamSettings

SPEC = spec_of(
    "ad",
    "site",
    FieldSpec(names=("tags",), transform="categories"),
    FieldSpec(names=("price",), transform="quantile", buckets=8, learn_from=300),
    name="shop",
    time="time",
    pairs=True,
    hash=HashSpec(bits=10, cross_bits=12),
)
START = 1_736_121_600_000


def example(rng, number, late=True):
    fields = {"ad": rng.randrange(9), "site": rng.choice(["x", "y", None]), "price": rng.random()}
    fields["tags"] = rng.sample(["cars", "chess", "tea"], rng.randrange(3))
    time_ms = START + 100 * number + rng.randrange(3000)
    given = (f"i{number}", time_ms, fields, int(rng.random() < 0.05 + 0.04 * fields["ad"]))
    if late and number % 50 == 49:  # a late click
        said = {"correction": True, "click_timestamp": time_ms + 9}
        return example_line(*given[:3], 1, **said)
    return example_line(*given)


def write(log, late=True):
    rng = random.Random(4)
    lines = [example(rng, number, late) for number in range(6000)]
    log.create_topics(StreamSettings().topics())
    fill(log, (EARLY_EXAMPLES, EXAMPLES), lines)


@pytest.fixture
def log(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        write(log)
        yield log


def challenge(log, folder, **options):
    ways = {"now": time.time, "report": print, "pause": lambda _: None}
    settings = {"window_s": 60, "stream": StreamSettings(batch=200), "every_s": 0.001}
    return Challenge(log, SPEC, folder, **(ways | settings | options))


def run(log, folder, **options):
    with challenge(log, folder, **options) as process:
        process.run(stopping=lambda: False, until_idle_s=0)
    return read_monitor(folder).windows


def sums_of(windows):
    return np.sum([window.sums for window in windows], axis=0)


@pytest.mark.parametrize("late", [True, False])
def test_with_the_same_spec_it_is_the_trainer_to_the_bit(tmp_path, late):
    with open_log(str(tmp_path / "log.db")) as log:
        write(log, late)
        windows = run(log, tmp_path / "twin")
        learn_all(log, SPEC, StreamSettings(), tmp_path / "model")
    [twin] = (tmp_path / "twin").glob("model-*")
    mine, theirs = load_snapshot(twin), load_snapshot(tmp_path / "model")
    for name, array in mine.learner.weights.arrays.items():
        assert array.tobytes() == theirs.learner.weights.arrays[name].tobytes(), name
    figures, sums = theirs.progress.overall.figures(), sums_of(windows)
    assert sums[COUNT] == figures.events == 6000 - 120 * late
    assert sums[CORRECTED] == 120 * late
    assert sums[CLICKS] == figures.clicks
    assert sums[EXPECTED] == pytest.approx(theirs.progress.overall.sums[3])
    if not late:
        assert sums[LOSS] / 6000 == pytest.approx(figures.log_loss, rel=1e-12)
    assert [w.start_ms for w in windows] == list(
        range(START, START + 60_000 * len(windows), 60_000)
    )
    for window in windows:
        assert window.slices.keys() == {"ad", "site", "price", "hour"}  # no lists
        for table in window.slices.values() if not late else ():  # a late click's value has no row
            assert np.sum(table.sums, axis=0) == pytest.approx(window.sums, rel=1e-9)


def test_stopped_and_started_again_it_ends_the_same(log, tmp_path):
    whole = run(log, tmp_path / "whole")
    folder, steps = tmp_path / "cut", iter([False, True])
    with challenge(log, folder, from_end=False) as process:
        process.run(stopping=lambda: next(steps))
    assert 0 < sums_of(read_monitor(folder).windows)[COUNT] < 5880
    killed = challenge(log, folder, every_s=1e9)
    killed.step()  # learned, and lost with the process
    killed.folder.close()
    assert run(log, folder) == whole
    [a], [b] = ((tmp_path / name).glob("model-*") for name in ("whole", "cut"))
    a, b = load_snapshot(a), load_snapshot(b)
    assert a.learner.weights.fields.tobytes() == b.learner.weights.fields.tobytes()


def test_from_the_end_it_sees_only_what_comes(log, tmp_path):
    with challenge(log, tmp_path, from_end=True) as process:
        assert not process.step()


@pytest.mark.parametrize(
    "name",
    ["linear_model.AdPredictor", "linear_model.LogisticRegression", "naive_bayes.BernoulliNB"],
)
def test_rivers_classifiers_learn_in_shadow_and_begin_anew(log, tmp_path, name):
    for _ in range(2):
        folder = tmp_path / "river"
        windows = run(log, folder, classifier=river_classifier(name), window_s=3600)
        [window] = windows
        assert window.overall.count == 5880 and window.overall.auc > 0.55
        assert not list(folder.glob("model-*"))


def test_river_is_scored_before_it_learns(log, tmp_path):
    """Literally: predict, then learn, on the same features, event by event."""
    told = []

    class Recorder:
        def predict_proba_one(self, x):
            told.append(("predict", tuple(x)))
            return {False: 0.75, True: 0.25}

        def learn_one(self, x, y):
            told.append(("learn", tuple(x)))

    windows = run(log, tmp_path / "river", classifier=Recorder())
    assert sums_of(windows)[EXPECTED] == pytest.approx(0.25 * 5880)
    kinds = [kind for kind, _ in told]
    assert kinds.count("predict") == kinds.count("learn") == 6000
    for (kind, features), (after, same) in pairwise(told):
        if kind == "predict":
            assert after == "learn" and features == same


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("os.system", {}),
        ("linear_model.Nothing", {}),
        ("preprocessing.StandardScaler", {}),
        ("linear_model.base.GLM", {}),
        ("__init__.X", {}),
        ("linear_model.AdPredictor", {"alpha": 3}),
    ],
)
def test_what_is_no_classifier_of_river_is_refused(name, settings):
    with pytest.raises(ClicktideError, match=r"river\..*Fix"):
        river_classifier(name, settings)


def test_windows_are_handed_on_once_and_an_error_is_told(log, tmp_path):
    handed, lines = [], []

    def publish(windows):
        handed.extend(windows)
        raise ClicktideError("away")

    windows = run(log, tmp_path / "one", publish=publish, report=lines.append, window_s=5)
    closed = [w.start_ms for w in windows if w.final]
    assert closed and [w.start_ms for w in handed] == closed
    assert "challenge: windows not in MLflow: away" in lines


def test_a_log_that_is_away_is_waited_for(log, tmp_path):
    lines, away = [], LogUnavailableError("away")
    log.read = failing(log.read, away, away)
    windows = run(log, tmp_path / "w", report=lines.append)
    assert sum("does not answer" in line for line in lines) == 2
    assert sums_of(windows)[COUNT] == 5880


@mlflow_warnings.ignored
def test_the_command(log, tmp_path):
    (tmp_path / "shop.toml").write_text(
        'name = "shop"\n[source]\nlabel = "click"\n[[fields]]\nnames = ["ad", "site"]\n'
    )
    done = run_clicktide(
        "challenge", "adp", "--until-idle", "0", "--json",
        "--river", "linear_model.AdPredictor", "--param", "beta=0.05", "--window", "5",
        "--spec", tmp_path / "shop.toml", "--log", tmp_path / "log.db", "--dir", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    windows = json.loads(done.stdout)["windows"]
    assert sum(w["overall"]["count"] for w in windows) == 5880
    kept = read_monitor(tmp_path / "run" / "challengers" / "adp").windows
    assert [w.start_ms for w in kept] == [w["start_ms"] for w in windows]
    with sqlite3.connect(tmp_path / "run" / "mlflow.db") as database:
        [[count]] = database.execute("SELECT count(*) FROM metrics WHERE key = 'log_loss'")
    database.close()
    assert count == sum(w["final"] for w in windows) > 0
