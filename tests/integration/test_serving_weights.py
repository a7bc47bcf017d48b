"""Weights while they are served: whatever happens to the file, an answer comes from good ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_spec import spec_of

from features.errors import SnapshotError
from features.spec import FieldSpec, HashSpec
from learning.click_learner import ClickLearner
from learning.live import create_live, renew_live
from learning.progress import Progress
from learning.snapshot import Snapshot, save_snapshot
from serving.weights import LiveWeights, PinnedWeights

EVENT = {"ad": "a", "site": "s"}


def spec(name="shop"):
    return spec_of(
        "ad",
        "site",
        FieldSpec(names=("price",), transform="quantile", buckets=4, learn_from=50),
        name=name,
        pairs=True,
        hash=HashSpec(bits=10, cross_bits=10, seed=len(name)),
    )


class Trainer:
    """Learns into a live file."""

    def __init__(self, path, spec=None, learner=None):
        self.learner, self.events = learner or ClickLearner(spec), 0
        self.file = create_live(path, self.learner, 1000)

    def learn(self, events=20, clicked=True):
        for i in range(events):
            self.learner.learn_one(EVENT | {"price": float(i)}, clicked)
        self.events += events
        self.file.update(self.events, 0, (self.events,), 2000, new=True)
        return self

    @property
    def probability(self):
        return self.learner.predict_proba_one(EVENT)[True]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.weights"


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def source(path, clock):
    made = []

    def make(**options):
        made.append(LiveWeights(path, spec(), clock=lambda: clock[0], **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def probability(source):
    return source.current().learner.predict_proba_one(EVENT)[True]


def takes_up(live, trainer, clock, after_s=0.06):
    """After so long it serves the trainer's weights and has no problem."""
    clock[0] += after_s
    return probability(live) == trainer.probability and live.problem is None


def test_every_event_is_seen_as_it_is_learned(path, source):
    trainer = Trainer(path, spec())
    live = source()
    for clicked in (True, False):
        trainer.learn(clicked=clicked)
        weighing = live.current()
        assert probability(live) == trainer.probability
        assert weighing.version == f"live-{live.identity}-{trainer.events}"
        assert (weighing.events, weighing.age_ms(2500), weighing.problem) == (
            trainer.events, 500, None,
        )  # fmt: skip


def test_a_file_that_comes_later_is_found(path, source, clock):
    live = source()
    assert live.current() is None
    assert "no such file" in live.problem
    trainer = Trainer(path, spec()).learn()
    assert takes_up(live, trainer, clock)


@pytest.mark.parametrize("deleted_first", [False, True])
def test_a_restarted_trainer_is_taken_up(path, source, clock, deleted_first):
    first = Trainer(path, spec()).learn()
    live = source()
    live.current()
    if deleted_first:
        path.unlink()
        clock[0] += 0.06
        assert probability(live) == first.probability
        assert "no such file; the weights from before stay" in live.problem.replace(
            ". Fix: start `clicktide train --live`", ""
        )
    second = Trainer(path, spec()).learn(40)
    assert takes_up(live, second, clock)


def test_a_trainer_makes_a_deleted_file_anew_and_learns_on_in_it(path, source, clock):
    trainer = Trainer(path, spec()).learn()
    live = source()
    assert renew_live(trainer.file, 1500) is trainer.file
    path.unlink()
    trainer.file = renew_live(trainer.file, 1500)
    trainer.learn(7)
    clock[0] += 0.06
    assert live.current().events == trainer.events
    assert probability(live) == trainer.probability


def test_another_spec_is_refused_until_the_right_one_is_back(path, source, clock):
    first = Trainer(path, spec()).learn()
    live = source()
    Trainer(path, spec("other")).learn(60)
    for _ in range(3):
        clock[0] += 1.1
        assert probability(live) == first.probability
        assert "another spec" in live.current().problem
    third = Trainer(path, spec()).learn(5)
    assert takes_up(live, third, clock)


@pytest.mark.parametrize("content", [b"", b"no weights at all", bytes(20_000)])
def test_garbage_in_its_place_is_refused(path, source, clock, content):
    first = Trainer(path, spec()).learn()
    live = source()
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)
    clock[0] += 0.06
    assert probability(live) == first.probability
    assert live.problem is not None


def test_half_written_edges_keep_the_ones_from_before(path, source, clock):
    trainer = Trainer(path, spec()).learn()
    live = source()
    sequence = 7  # in the header, see learning.live
    trainer.file.header[sequence] += 1
    clock[0] += 0.06
    assert probability(live) == trainer.probability
    assert "half written" in live.problem
    trainer.file.header[sequence] += 1
    clock[0] += 1.2
    live.current()
    assert live.problem is None


@pytest.mark.parametrize("size", [0, 100, 9000, 60_000])
def test_a_truncated_file_is_read_no_more_and_gives_way_to_the_snapshot(
    path, source, clock, tmp_path, size
):
    Trainer(path, spec()).learn(80)
    live = source(backup=tmp_path / "model")
    assert live.current().version == f"live-{live.identity}-80"
    wanted = saved(tmp_path / "model", 0)
    os.truncate(path, size)
    clock[0] += 0.06
    assert probability(live) == wanted
    assert live.current().version == f"snapshot-{live.identity}-0"
    assert "truncated" in live.current().problem
    second = Trainer(path, spec()).learn(5)  # as the supervisor restarts it
    assert takes_up(live, second, clock, 1.2)


def test_a_file_overwritten_in_place_by_one_of_another_spec_is_refused(path, source, clock):
    Trainer(path, spec()).learn(80)
    live = source()
    other = path.with_name("other")
    Trainer(other, spec("other")).learn(9)
    with path.open("r+b") as file:
        file.write(other.read_bytes())
    clock[0] += 0.06
    assert live.current() is None
    assert "another spec" in live.problem


@pytest.mark.parametrize("left", ["nothing", "a truncated file"])
def test_one_that_starts_while_the_file_is_gone_serves_the_trainers_snapshot(
    path, source, clock, tmp_path, left
):
    if left != "nothing":
        path.write_bytes(b"")
    live = source(backup=tmp_path / "model")
    assert live.current() is None  # there is none yet
    wanted = saved(tmp_path / "model", 0)
    clock[0] += 1.1
    assert probability(live) == wanted
    assert live.current().version == f"snapshot-{live.identity}-0"
    assert "the snapshot in" in live.current().problem
    trainer = Trainer(path, spec()).learn()
    assert takes_up(live, trainer, clock, 1.1)


LOAD = """
import os, sys, threading, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/../helpers"]
import importlib.util
module = importlib.util.spec_from_file_location("w", {file!r})
w = importlib.util.module_from_spec(module); module.loader.exec_module(w)
path = Path({path!r})
trainers = [w.Trainer(path, w.spec()).learn(59)]
good = {{trainers[0].probability}}
live = w.LiveWeights(path, w.spec())
going, wrong, scored, versions = [True], [], [0], set()

def request():
    weighing = live.current()
    return weighing.learner.predict_proba_one(w.EVENT)[True], weighing.version

def load():
    while going[0]:
        got, version = request()
        scored[0] += 1
        versions.add(version)
        if got not in good:
            wrong.append(got)

def faults():
    for i in range(100):
        time.sleep(0.01)
        if i % 10 == 5:
            path.unlink()
        elif i % 10 == 7:
            w.Trainer(path, w.spec("other"))
        else:
            draft = path.with_name("aside")
            trainer = w.Trainer(draft, w.spec()).learn(60 + i)
            good.add(trainer.probability)
            trainers.append(trainer)
            draft.replace(path)
    going[0] = False

threading.Thread(target=faults).start()
load()
print(len(wrong), scored[0], len(versions))
"""


def test_a_hundred_swaps_and_deletions_under_load_lose_and_spoil_nothing(path):
    here = Path(__file__)
    script = LOAD.format(tests=str(here.parent), file=str(here), path=str(path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        cwd=here.parents[2], env=os.environ | {"PYTHONPATH": str(here.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    wrong, scored, versions = map(int, done.stdout.split())
    assert wrong == 0
    assert scored > 100
    assert versions > 2


def saved(folder, seed):
    learner = ClickLearner(spec())
    for i in range(30):
        learner.learn_one(EVENT | {"ad": i % (seed + 2)}, bool((i + seed) % 3))
    save_snapshot(folder, Snapshot(learner, Progress(), {"version": str(seed)} if seed else {}))
    return learner.predict_proba_one(EVENT)[True]


def test_a_pinned_snapshot_is_served_under_its_name(tmp_path):
    wanted = saved(tmp_path / "v7", 0)
    pinned = PinnedWeights(tmp_path / "v7", spec())
    assert probability(pinned) == wanted
    assert pinned.current().version == "v7"
    saved(tmp_path / "v8", 3)
    assert PinnedWeights(tmp_path / "v8", spec()).current().version == "3"
    with pytest.raises(SnapshotError, match="another spec"):
        PinnedWeights(tmp_path / "v7", spec("other"))
