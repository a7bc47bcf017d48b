"""Challengers on a real log: the trainer's own bits, restarts, River's classifiers."""

import json
import random
import sqlite3
import time
from itertools import pairwise

import numpy as np
import pytest
from command import clicktide_process

from features.errors import ClicktideError
from features.spec import CrossSpec, FieldSpec, HashSpec, SourceSpec, Spec
from learning.snapshot import load_snapshot
from monitoring.registry.challenge import Challenge
from monitoring.registry.challenge_windows import EventWindows, read_slices, read_windows
from monitoring.registry.river_shadow import RiverShadow, river_classifier
from monitoring.registry.shadow import SpecShadow
from streaming.log import LogUnavailableError, NewRecord, OffsetError, open_log
from streaming.settings import EXAMPLES, StreamSettings
from streaming.train_process import Trainer

SPEC = Spec(
    name="shop",
    source=SourceSpec(label="click", timestamp="time", timestamp_format="ms"),
    fields=(
        FieldSpec(names=("ad", "site")),
        FieldSpec(names=("tags",), transform="categories"),
        FieldSpec(names=("price",), transform="quantile", buckets=8, learn_from=300),
    ),
    crosses=CrossSpec(all_pairs=True),
    hash=HashSpec(bits=10, cross_bits=12),
)
START = 1_736_121_600_000
SUMS = ("events", "clicks", "expected", "loss")


def example(rng, number):
    fields = {"ad": rng.randrange(9), "site": rng.choice(["x", "y", None]), "price": rng.random()}
    fields["tags"] = rng.sample(["cars", "chess", "tea"], rng.randrange(3))
    impression = {"v": 1, "type": "impression", "impression_id": f"i{number}", "fields": fields}
    impression["timestamp"] = START + 100 * number + rng.randrange(3000)
    said = {"v": 1, "type": "example", "label": int(rng.random() < 0.05 + 0.04 * fields["ad"])}
    said["impression"] = impression
    if number % 50 == 49:  # a late click
        said |= {"label": 1, "correction": True, "click_timestamp": impression["timestamp"] + 9}
    return json.dumps(said).encode()


@pytest.fixture
def log(tmp_path):
    rng = random.Random(4)
    lines = [example(rng, number) for number in range(6000)]
    with open_log(str(tmp_path / "log.db")) as log:
        log.create_topics(StreamSettings().topics())
        with log.producer("fill").transaction() as tx:
            values = (b"\n".join(lines[at : at + 10]) for at in range(0, 6000, 10))
            tx.append(EXAMPLES, [NewRecord(None, value, 0) for value in values])
        yield log


def challenge(log, shadow, folder, **options):
    return Challenge(
        log, shadow, folder, now=time.time, report=options.pop("report", print),
        pause=options.pop("pause", lambda _: None), **options,
    )  # fmt: skip


def run(log, shadow, folder, **options):
    challenge(log, shadow, folder, **options).run(stopping=lambda: False, until_idle_s=0)
    return list(read_windows(folder / "windows.jsonl"))


def test_with_the_same_spec_it_is_the_trainer_to_the_bit(log, tmp_path):
    windows = run(log, SpecShadow(SPEC, EventWindows("twin")), tmp_path / "twin")
    with Trainer(
        log, SPEC, StreamSettings(), tmp_path / "model",
        now=time.time, report=print, pause=time.sleep,
    ) as trainer:  # fmt: skip
        trainer.run(stopping=lambda: False, until_idle_s=0)
    mine, theirs = load_snapshot(tmp_path / "twin"), load_snapshot(tmp_path / "model")
    for name in ("fields", "crosses", "mixture", "calibration"):
        a, b = getattr(mine.learner.weights, name), getattr(theirs.learner.weights, name)
        assert a.tobytes() == b.tobytes(), name
    figures = theirs.progress.overall.figures()
    assert sum(w.events for w in windows) == figures.events == 5880
    assert sum(w.clicks for w in windows) == figures.clicks
    assert sum(w.loss for w in windows) / 5880 == pytest.approx(figures.log_loss, rel=1e-12)
    assert sum(w.expected for w in windows) == pytest.approx(theirs.progress.overall.sums[3])
    assert [w.start_ms for w in windows] == list(
        range(START, START + 60_000 * len(windows), 60_000)
    )
    [quarter] = read_slices(tmp_path / "twin" / "slices.json")
    assert quarter.fields.keys() == {"ad", "site", "price", "hour"}  # no lists
    for values in quarter.fields.values():
        whole = np.sum(list(values.values()), axis=0)
        of_windows = [sum(getattr(w, n) for w in windows) for n in SUMS]
        assert whole == pytest.approx(of_windows, rel=1e-9)


def test_stopped_and_started_again_it_ends_the_same(log, tmp_path):
    whole = run(log, SpecShadow(SPEC, EventWindows("one")), tmp_path / "whole")
    folder, steps = tmp_path / "cut", iter([False, False, True])
    challenge(log, SpecShadow(SPEC, EventWindows("one"), folder), folder).run(
        stopping=lambda: next(steps)
    )
    assert 0 < sum(w.events for w in read_windows(folder / "windows.jsonl")) < 5880
    again = SpecShadow(SPEC, EventWindows("one"), folder)
    killed = challenge(log, again, folder, offsets=again.offsets)
    killed.step()  # learned, and lost with the process
    again = SpecShadow(SPEC, EventWindows("one"), folder)
    assert run(log, again, folder, offsets=again.offsets) == whole
    slices = (tmp_path / "whole" / "slices.json", folder / "slices.json")
    assert slices[0].read_bytes() == slices[1].read_bytes()
    a, b = load_snapshot(tmp_path / "whole"), load_snapshot(folder)
    assert a.learner.weights.fields.tobytes() == b.learner.weights.fields.tobytes()


@pytest.mark.parametrize(
    "name",
    ["linear_model.AdPredictor", "linear_model.LogisticRegression", "naive_bayes.BernoulliNB"],
)
def test_rivers_classifiers_learn_in_shadow(log, tmp_path, name):
    shadow = RiverShadow(SPEC, EventWindows("r", window_s=3600), river_classifier(name))
    [window] = run(log, shadow, tmp_path)
    assert window.events == 5880 and window.figures.auc > 0.55
    assert not (tmp_path / "snapshot.json").exists()


def test_river_is_scored_before_it_learns(log, tmp_path):
    """Literally: predict, then learn, on the same features, event by event."""
    told = []

    class Recorder:
        def predict_proba_one(self, x):
            told.append(("predict", tuple(x)))
            return {False: 0.75, True: 0.25}

        def learn_one(self, x, y):
            told.append(("learn", tuple(x)))

    [window] = run(log, RiverShadow(SPEC, EventWindows("r", 3600), Recorder()), tmp_path)
    assert window.expected == pytest.approx(0.25 * 5880)
    kinds = [kind for kind, _ in told]
    assert kinds.count("predict") == 5880 and kinds.count("learn") == 6000
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
    handed, said = [], []

    def publish(windows):
        handed.extend(windows)
        raise ClicktideError("away")

    shadow = SpecShadow(SPEC, EventWindows("one"))
    run(log, shadow, tmp_path, publish=publish, report=said.append)
    assert [w.start_ms for w in handed] == [w.start_ms for w in shadow.windows.closed]
    assert said == ["challenge: windows not in MLflow: away"]


def test_a_log_that_is_away_is_waited_for(log, tmp_path):
    said, read = [], log.read
    answers = iter([LogUnavailableError("away"), LogUnavailableError("away")])

    def failing(*arguments):
        error = next(answers, None)
        if error is not None:
            raise error
        return read(*arguments)

    log.read = failing
    windows = run(log, SpecShadow(SPEC, EventWindows("w")), tmp_path, report=said.append)
    assert len(said) == 2 and sum(w.events for w in windows) == 5880
    log.read = lambda *_: (_ for _ in ()).throw(OffsetError("gone"))
    with pytest.raises(ClicktideError, match="no longer in the log"):
        run(log, SpecShadow(SPEC, EventWindows("w")), tmp_path)


def test_a_late_row_counts_in_the_oldest_open_window():
    windows = EventWindows("w", window_s=1, keep=3)
    for second in range(10):
        windows.add(np.array([second * 1000]), np.zeros(1), np.zeros(1))
    assert [w.start_ms // 1000 for w in windows.all()] == [3, 4, 5, 6, 7, 8, 9]
    windows.add(np.array([0]), np.zeros(1), np.ones(1))
    assert [w.events for w in windows.all()] == [1, 1, 1, 2, 1, 1, 1]


def test_the_command(log, tmp_path):
    (tmp_path / "shop.toml").write_text(
        'name = "shop"\n[source]\nlabel = "click"\n[[fields]]\nnames = ["ad", "site"]\n'
    )
    done = clicktide_process(  # MLflow keeps what it knows of databases as long as a process
        "challenge", "adp", "--until-idle", "0", "--json",
        "--river", "linear_model.AdPredictor", "--param", "beta=0.05",
        "--spec", tmp_path / "shop.toml", "--log", tmp_path / "log.db", "--dir", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    windows = json.loads(done.stdout)["windows"]
    assert sum(w["events"] for w in windows) == 5880
    path = tmp_path / "run" / "challengers" / "adp" / "windows.jsonl"
    assert [w.start_ms for w in read_windows(path)] == [w["start_ms"] for w in windows]
    with sqlite3.connect(tmp_path / "run" / "mlflow.db") as database:
        [[count]] = database.execute("SELECT count(*) FROM metrics WHERE key = 'log_loss'")
    database.close()
    assert count == len(windows) - 4  # of those that have closed
