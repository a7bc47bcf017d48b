"""Model versions in a real MLflow on SQLite: published, judged, kept within bounds, followed."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow_warnings
import pandas as pd
import pytest
from command import run_clicktide
from example_log import example_line, fill
from small_spec import spec_of
from stream_runs import learn_all, stream_log
from typer.testing import CliRunner

from features.spec import FieldSpec, HashSpec, Spec
from features.spec_file import spec_identity
from learning.snapshot import load_snapshot
from monitoring.registry.actions import pin, promote, unpin
from monitoring.registry.client import open_registry
from monitoring.registry.follow import Follower
from monitoring.registry.guard import Guard
from monitoring.registry.process import Register
from monitoring.registry.settings import GateSettings, RegistrySettings
from monitoring.registry.snapshots import SnapshotCache
from monitoring.registry.versions import RegistryError
from monitoring.watch.alarm_actions import ActionReader, rolled_back
from streaming.log import open_log
from streaming.settings import EARLY_EXAMPLES, EXAMPLES, StreamSettings

pytestmark = [
    *mlflow_warnings.IGNORED,
    pytest.mark.timeout(300 if "CLICKTIDE_TEST_VERSIONS" not in os.environ else 3600),
]
VERSIONS = int(os.environ.get("CLICKTIDE_TEST_VERSIONS", "16"))  # 288: a day of five minutes each
SPEC = spec_of(
    "ad",
    "site",
    FieldSpec(names=("tags",), transform="categories"),
    FieldSpec(names=("hour",), transform="hour_of_day", column="time"),
    name="shop",
    time="time",
    pairs=True,
    hash=HashSpec(bits=8, cross_bits=10),
)
START = 1_736_121_600_000


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An MLflow database made once: that takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    open_registry(None, folder, "other").versions()
    return folder / "mlflow.db"


class Stream:
    """A log, a trainer and a register process, on a clock that the test moves."""

    def __init__(self, folder, registry, **settings):
        self.folder, self.registry, self.now_s, self.said = folder, registry, 1e9, []
        self.rng, self.shown, self.spec, self.one_in = random.Random(5), 0, SPEC, 1
        gate = GateSettings(min_examples=500, min_clicks=10)
        self.settings = RegistrySettings(gate=gate, **settings)
        stream_log(folder / "log.db").close()
        self.start()

    def start(self):
        """Start the register process, and its guard."""
        folder = self.folder / "registry"
        snapshots = SnapshotCache(self.registry, folder / "versions")
        self.guard = Guard(
            self.registry, snapshots, self.open_log, EARLY_EXAMPLES, self.settings.gate, folder,
            self.said.append,
        )  # fmt: skip
        self.register = Register(
            self.folder / "model", folder, self.registry, self.open_log,
            self.settings, now=self.clock, report=self.said.append, guard=self.guard,
        )  # fmt: skip

    def step(self):
        """What the process and the guard's thread do at a time."""
        self.register.step()
        self.guard.step(self.clock())

    def clock(self):
        return self.now_s

    def open_log(self):
        return open_log(str(self.folder / "log.db"))

    def show(self, count, flipped=False, served=None):
        """Put examples into the log: a click rate of .2 that hangs on ad and site."""
        lines = [self.example(flipped, served) for _ in range(count)]
        learned = [line for i, line in enumerate(lines) if self.is_learned(i, line)]
        with self.open_log() as log:
            fill(log, (EARLY_EXAMPLES,), learned, 100)
            fill(log, (EXAMPLES,), lines, 100)  # judged on

    def is_learned(self, i, line):
        """Whether it is clicked, or the one of some that are not."""
        return i % self.one_in == 0 or b'"label":1' in line

    def example(self, flipped, served=None):
        self.shown += 1
        fields, shown = row(self.rng, self.shown), {}
        rate = 0.02 + 0.09 * (fields["ad"] % 5)
        label = int(self.rng.random() < rate) ^ flipped
        if served is not None:  # by live weights
            live = f"live-{spec_identity(self.spec)[:8]}-"
            shown = {"probability": served(rate), "model_version": f"{live}7"}
        said = {"one_in": self.one_in} if self.one_in > 1 else {}
        time = fields.pop("time")
        return example_line(f"i{self.shown}", time, fields, label, shown=shown, **said)

    def learn(self):
        """Let the trainer learn all that is there, and save."""
        with self.open_log() as log:
            learn_all(log, SPEC, StreamSettings(), self.folder / "model", now=self.clock)

    def pass_by(self, count=2000, flipped=False, seconds=300):
        """Five minutes: examples come, are learned, and a version is due."""
        self.show(count, flipped)
        self.learn()
        self.now_s += seconds
        self.step()


def row(rng, number):
    return {
        "ad": rng.randrange(20),
        "site": rng.choice(["x", "y", "été", None, 7.5]),
        "tags": rng.sample(["cars", "chess", "tea"], rng.randrange(3)),
        "time": START + 150 * number,
    }


@pytest.fixture
def stream(tmp_path, database):
    shutil.copy(database, tmp_path / "mlflow.db")
    return Stream(tmp_path, open_registry(None, tmp_path))


def test_a_bad_candidate_is_refused_and_the_next_good_one_is_champion(stream):
    stream.pass_by(6000)
    stream.pass_by()
    assert stream.registry.aliases() == {"champion": 1}, stream.said
    stream.pass_by()
    assert stream.registry.aliases() == {"champion": 2, "previous": 1}
    stream.pass_by(3000, flipped=True)  # ten minutes of flipped labels: version 4, then 5
    stream.pass_by(3000, flipped=True)
    bad = stream.registry.version(4)
    assert (bad.gate, stream.registry.aliases()["champion"]) == ("held", 2)
    assert "are the labels right?" in bad.reasons[0]
    stream.pass_by(3000)
    bad = stream.registry.version(5)
    assert bad.gate == "refused" and stream.registry.version(4).gate == "superseded"
    assert bad.judged["candidate"]["log_loss"] > bad.judged["champion"]["log_loss"]
    assert stream.registry.aliases()["champion"] == 2
    for _ in range(6):
        stream.pass_by(6000)
        if (champion := stream.registry.aliases()["champion"]) > 6:
            break
    assert champion > 6


def actions_of(stream):
    """What reports and the dashboard are told."""
    with stream.open_log() as log:
        reader = ActionReader(log)
        reader.read()
    return reader.actions


def serve(stream, count, served, flipped=False):
    """Some seconds in which live weights serve so; then what serving is told to serve."""
    for _ in range(count // 250):
        stream.show(250, flipped, served)
        stream.now_s += 5
        stream.step()
    return stream.registry.aliases().get("serve")


def guarded(stream):
    """A champion, and a guard that has begun to look."""
    stream.pass_by(6000)
    stream.pass_by()
    assert stream.registry.aliases() == {"champion": 1}
    stream.now_s += 20
    stream.step()


HARMS = {
    "noise": (lambda rate: random.Random(rate).random(), False, "better than what is served"),
    "three times too high": (lambda rate: min(3 * rate, 0.99), False, "better than what is served"),
    "flipped labels, learned": (lambda rate: 1 - rate, True, "such labels are more likely wrong"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_live_weights_that_do_harm_are_not_served_until_a_version_is_good(stream, harm):
    served, flipped, why = HARMS[harm]
    guarded(stream)
    assert serve(stream, 3000, lambda rate: rate) is None  # what is right is left
    assert serve(stream, 2000, served, flipped) == 1
    [line] = [line for line in stream.said if "ROLLED BACK to version 1" in line]
    assert why in line
    assert rolled_back(actions_of(stream)).startswith("Rolled back: version 1 is served since ")
    stream.start()  # it knows of it after a restart
    for _ in range(6):
        stream.pass_by(3000)
        stream.now_s += 20
        stream.step()
        if "serve" not in stream.registry.aliases():
            break
    aliases = stream.registry.aliases()
    assert "serve" not in aliases and aliases["champion"] > 1
    assert any("live weights serve again" in line for line in stream.said)
    assert not rolled_back(actions_of(stream))


def test_of_examples_of_which_some_are_left_out_only_harm_is_seen(stream):
    guarded(stream)
    stream.one_in = 10  # two thirds of the rest are clicked
    assert serve(stream, 6000, lambda rate: rate) is None
    assert serve(stream, 6000, HARMS["noise"][0]) == 1


def test_a_version_of_before_ends_no_rollback_and_another_spec_begins_none(stream):
    guarded(stream)
    stream.spec = Spec(name="other", source=SPEC.source, fields=SPEC.fields)
    assert serve(stream, 1000, HARMS["noise"][0]) is None
    stream.spec, stream.now_s = SPEC, 4e9  # later than MLflow's clock will say of any version
    assert serve(stream, 1000, HARMS["noise"][0]) == 1
    for _ in range(4):
        stream.pass_by(3000)
    stream.now_s += 20
    stream.step()
    aliases = stream.registry.aliases()
    assert aliases["champion"] > 1
    assert aliases["serve"] == 1


def test_the_guard_keeps_out_of_what_people_decide(stream):
    guarded(stream)
    noise = HARMS["noise"][0]
    assert serve(stream, 1000, noise) == 1
    unpin(stream.registry)
    stream.now_s += 20
    stream.step()
    assert "serve" not in stream.registry.aliases()
    assert serve(stream, 2000, lambda rate: rate) is None
    pin(stream.registry, 1)
    stream.pass_by(3000)
    stream.pass_by(3000)
    assert stream.registry.aliases() == {"champion": 1, "serve": 1}  # people hold the gate
    unpin(stream.registry)
    stream.settings = RegistrySettings(gate=GateSettings(roll_back_on_harm=False))
    stream.start()
    assert serve(stream, 2000, noise) is None


def test_a_fresh_process_scores_to_the_same_bits(stream):
    stream.pass_by(3000)
    promote(stream.registry, 1, 5, "test")
    rng = random.Random(9)
    rows = [row(rng, n) for n in range(40)] + [{"ad": None, "time": START}, {"ad": "é" * 300}]
    (stream.folder / "rows.json").write_text(json.dumps(rows))
    code = (
        "import json, sys, mlflow, pandas as pd\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/clicktide@champion')\n"
        "rows = json.load(open(sys.argv[2]))\n"
        "frame = pd.DataFrame(rows, dtype=object)\n"
        "print(json.dumps([p.hex() for p in model.predict(frame).tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, stream.registry.url, str(stream.folder / "rows.json")],
        capture_output=True, text=True, check=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    learner = load_snapshot(stream.folder / "model").learner
    expected = learner.predict_proba_many(pd.DataFrame(rows, dtype=object))[True]
    assert json.loads(done.stdout) == [p.hex() for p in expected.tolist()]
    assert json.loads(done.stdout) == [learner.predict_proba_one(r)[True].hex() for r in rows]


def test_versions_and_disk_stay_within_the_bound(stream):
    stream.settings = RegistrySettings(
        keep_versions=3, keep_champions=2, keep_points=20, gate=stream.settings.gate
    )
    stream.start()
    sizes = []
    for number in range(VERSIONS):
        stream.pass_by(600)
        if number == 2:
            pin(stream.registry, 2)  # kept, and the gate is held
        if number == 6:
            unpin(stream.registry)
            stream.registry.set_alias("keep", 2)
        sizes.append(used(stream.folder / "mlflow.db"))
        if VERSIONS > 100 and number % 12 == 0:
            files = used(stream.folder / "mlartifacts") >> 10
            count = len(stream.registry.versions())
            print(f"{number}: {count} versions, {files} KiB, database {sizes[-1] >> 10} KiB")
    versions = stream.registry.versions()
    assert versions[-1].number == VERSIONS and len(versions) <= 3 + 2 + 2
    assert 2 in [v.number for v in versions]
    on_disk = list((stream.folder / "mlartifacts").glob("*/artifacts/versions/*"))
    assert len(on_disk) == len(versions)
    assert used(stream.folder / "mlartifacts") < 1.1 * len(versions) * used(newest(on_disk))
    assert sizes[-1] < 1.2 * sizes[len(sizes) // 2]


def used(path):
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def newest(folders):
    return max(folders, key=lambda folder: folder.stat().st_mtime_ns)


def test_the_models_commands(stream):
    from clicktide.cli import app

    for _ in range(3):
        stream.pass_by(3000)

    def run(*arguments):
        done = CliRunner().invoke(
            app, ["models", *arguments, "--dir", str(stream.folder), "--json"]
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    listed = run("list")["versions"]
    assert [v["number"] for v in listed] == [3, 2, 1]
    assert listed[1]["aliases"] == ["champion"] and listed[1]["figures"]["events"] == 3000
    assert run("show", "2")["gate"] == "passed"
    assert run("promote", "3", "--why", "looks good") == {"champion": 3}
    assert run("rollback") == {"left": 3, "champion": 2, "serve": 2}
    assert run("show", "3")["gate"] == "rolled_back"
    assert run("rollback") == {"left": 2, "champion": 1, "serve": 1}
    assert run("pin", "3") == {"serve": 3}
    stream.pass_by(3000)
    stream.pass_by(3000)
    assert stream.registry.aliases()["champion"] == 1  # the gate is held
    assert run("unpin") == {"serve": None}
    plain = CliRunner().invoke(app, ["models", "list", "--dir", str(stream.folder)])
    assert "champion" in plain.output and plain.exit_code == 0


def test_commands_say_what_is_missing(tmp_path):
    done = run_clicktide("models", "list", "--dir", tmp_path)
    assert done.returncode == 2 and "no registry here" in done.stderr
    assert not list(Path(tmp_path).iterdir())


def test_a_look_at_a_registry_that_is_not_there_makes_none(tmp_path):
    follower = Follower(open_registry(None, tmp_path), tmp_path, now=lambda: 1e9, report=print)
    assert follower.step()
    assert [file.name for file in tmp_path.iterdir()] == ["served.json"]


def test_a_guard_that_cannot_act_says_so_once_and_goes_on(stream, monkeypatch):
    looks, failures = [], iter([True, True, False, True])

    def step(now):
        looks.append(now)
        if next(failures):
            raise RegistryError("MLflow is away")

    monkeypatch.setattr(stream.guard, "step", step)
    stream.guard.run(stopping=lambda: len(looks) == 4, now=stream.clock, pause=lambda _: None)
    said = [line for line in stream.said if "MLflow is away" in line]
    assert len(looks) == 4 and len(said) == 2  # once before it answered, and once after
