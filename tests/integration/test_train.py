"""The trainer on the embedded log: the model that replay makes, whatever is killed when."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import example_log
import numpy as np
import pytest
from command import run_clicktide
from example_log import example_line
from waiting import until

from features.errors import ClicktideError, SnapshotError
from features.events import decode_event
from features.spec import Spec
from features.spec_file import parse_spec
from learning.click_learner import ClickLearner, probabilities
from learning.live import create_live, open_live
from learning.snapshot import load_snapshot
from learning.stack import LATE
from streaming.log import LogUnavailableError, OffsetError, TopicPartition, open_log
from streaming.settings import DEAD_LETTERS, EARLY_EXAMPLES, StreamSettings, TrainSettings
from streaming.train_process import Trainer

TOML = """
name = "shop"
[source]
label = "click"
timestamp = "time"
timestamp_format = "ms"
[[fields]]
names = ["ad", "site"]
[[fields]]
names = ["tags"]
transform = "categories"
[[fields]]
names = ["price"]
transform = "quantile"
buckets = 8
learn_from = 300
[[fields]]
names = ["hour"]
transform = "hour_of_day"
column = "time"
[crosses]
all_pairs = true
[hash]
bits = 12
cross_bits = 12
"""


SPEC = parse_spec(TOML)
START = 1_736_121_600_000


def rows(count, seed=1):
    """Rows of a log: ids that are numbers, texts with escapes, lists, nulls, absent values."""
    rng = random.Random(seed)
    for i in range(count):
        row = {
            "click": int(rng.random() < 0.2),
            "ad": rng.choice([7, 7.5, "seven", 'a"b', "été", None, True]),
            "tags": rng.sample(["cars", "chess", "tea"], rng.randrange(3)),
            "price": rng.choice([rng.random() * 10, rng.randrange(5), None]),
            "time": START + 977 * i,
        }
        if rng.random() < 0.7:
            row["site"] = rng.choice(["x", "y", ""])
        yield row


def example(row, i=0, **more):
    fields = {name: value for name, value in row.items() if name != "click"}
    given = (f"i{i}", row["time"], fields, row["click"])
    return example_line(*given, shown={"counters": {"n": 1.5}}, **more)


def fill(log, lines, per_record=10, partitions=1):
    """Put example lines into a log, some to a record."""
    if EARLY_EXAMPLES not in log.topics():
        log.create_topics(StreamSettings(partitions=partitions).topics())
    example_log.fill(log, [EARLY_EXAMPLES], lines, per_record, range(partitions))


def trainer(log, folder, *, batch=7, said=None, **options):
    """A trainer that reads so few records at a time that there are many cuts."""
    report = (lambda line: None) if said is None else said.append
    settings = StreamSettings(batch=batch, train=TrainSettings(snapshot_every_s=0.001))
    return Trainer(
        log, SPEC, settings, folder, now=time.time, report=report, pause=time.sleep, **options
    )


def learn(log, folder, **options):
    with trainer(log, folder, **options) as one:
        one.run(stopping=lambda: False, until_idle_s=0)
    return load_snapshot(folder)


def assert_same(a, b):
    for name, mine in a.learner.weights.arrays.items():
        other = b.learner.weights.arrays[name]
        assert np.array_equal(mine.view(np.uint8), other.view(np.uint8)), name
    assert a.learner.vectoriser.quantiles.state() == b.learner.vectoriser.quantiles.state()
    assert a.progress.overall.sums.tobytes() == b.progress.overall.sums.tobytes()


def clicktide(*args, cwd=None):
    done = run_clicktide(*args, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def place(tmp_path):
    """A log of 2,000 examples, its rows as a plain file, and the spec."""
    known = list(rows(2_000))
    lines = [example(row, i) for i, row in enumerate(known)]
    (tmp_path / "rows.jsonl").write_bytes(b"".join(json.dumps(r).encode() + b"\n" for r in known))
    (tmp_path / "examples.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "shop.toml").write_text(TOML)
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, lines)
        yield tmp_path, log


def test_the_trainers_model_is_that_of_a_replay_of_the_rows_the_topic_or_a_file(place):
    folder, log = place
    mine = learn(log, folder / "model")
    sources = (folder / "rows.jsonl", "early_examples:log.db", "examples:examples.jsonl")
    for i, source in enumerate(sources):
        code, out, err = clicktide(
            "replay", source, "--spec", "shop.toml", "--save", f"m{i}", "--json", cwd=folder
        )
        assert code == 0, err
        assert json.loads(out)["events"] == 2_000
        assert_same(mine, load_snapshot(folder / f"m{i}"))


def test_where_batches_are_cut_and_runs_broken_off_changes_no_bit(place):
    folder, log = place
    whole = learn(log, folder / "whole", batch=2_000)
    for batch, steps in ((1, 9), (3, 4), (50, 1)):
        cut = folder / f"cut{batch}"
        for _ in range(3):
            with trainer(log, cut, batch=batch) as one:
                for _ in range(steps):
                    one.step()
                if batch != 3:  # this one ends without a last save
                    one.finish()
        assert_same(whole, learn(log, cut, batch=batch))


def test_a_trainer_killed_five_times_makes_the_model_of_an_unbroken_run(tmp_path):
    lines = [example(row, i) for i, row in enumerate(rows(16_000))]
    (tmp_path / "shop.toml").write_text(TOML)
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, lines)
        command = [sys.executable, "-m", "clicktide", "train", "--log", "log.db", "--spec"]
        command += ["shop.toml", "--until-idle", "0"]
        slowly = ["--set", "train.snapshot_every_s=0.01", "--set", "stream.batch=2"]
        rng = random.Random(4)
        for _ in range(5):
            with subprocess.Popen(
                command + slowly, cwd=tmp_path, stderr=subprocess.PIPE
            ) as process:
                first = process.stderr.readline()
                assert b" train: " in first, first
                time.sleep(rng.random() * 0.5)
                process.send_signal(signal.SIGKILL)
        assert 0 < load_snapshot(tmp_path / "model").progress.overall.events < len(lines)
        at_once = ["--set", "train.snapshot_every_s=30", "--set", "stream.batch=500"]  # else: kept
        assert clicktide(*command[3:], *at_once, cwd=tmp_path)[0] == 0
        assert_same(learn(log, tmp_path / "whole", batch=500), load_snapshot(tmp_path / "model"))


def test_a_standby_takes_over_from_a_killed_trainer_to_the_same_bits(tmp_path):
    lines = [example(row, i) for i, row in enumerate(rows(16_000))]
    (tmp_path / "shop.toml").write_text(TOML)
    command = [sys.executable, "-m", "clicktide", "train", "--log", "log.db", "--spec", "shop.toml"]
    slowly = ["--set", "train.snapshot_every_s=0.01", "--set", "stream.batch=2"]
    said = tmp_path / "said.txt"
    with open_log(str(tmp_path / "log.db")) as log, said.open("wb") as to:
        fill(log, lines)
        first = subprocess.Popen([*command, *slowly], cwd=tmp_path, stderr=to)
        until((tmp_path / "model" / "snapshot.json").exists, why=said.read_text)
        second = subprocess.Popen(
            [*command, "--standby", "--until-idle", "0", "--set", "stream.batch=500"],
            cwd=tmp_path, stderr=to,
        )  # fmt: skip
        third = subprocess.Popen([*command, "--standby"], cwd=tmp_path, stderr=to)
        try:
            until(lambda: said.read_text().count("standing by") == 2, why=said.read_text)
            third.terminate()
            assert third.wait(60) == 0
            first.kill()
            assert second.wait(100) == 0, said.read_text()
        finally:
            for process in (first, second, third):
                process.kill()
                process.wait(10)
        assert_same(learn(log, tmp_path / "whole", batch=500), load_snapshot(tmp_path / "model"))


def test_several_partitions_are_read_in_order_of_time(tmp_path):
    known = list(rows(600))
    with open_log(str(tmp_path / "a.db")) as one, open_log(str(tmp_path / "b.db")) as three:
        fill(one, [example(row, i) for i, row in enumerate(known)])
        fill(three, [example(row, i) for i, row in enumerate(known)], partitions=3)
        merged = learn(three, tmp_path / "merged", batch=2_000)
        assert_same(learn(one, tmp_path / "single"), merged)
        assert merged.extra["offsets"] == [20, 20, 20]


def test_a_late_click_is_learned_as_a_positive_and_its_negative_taken_back(tmp_path):
    known = list(rows(400))
    late = example(known[5] | {"click": 1}, 5, correction=True, click_timestamp=START + 10**7)
    hidden = example(known[6] | {"click": 0}, 6, correction=True, dismiss_timestamp=START + 10**7)
    lines = [example(row, i) for i, row in enumerate(known)]
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [*lines, late, hidden], per_record=3)
        found = learn(log, tmp_path / "model")
    assert (found.extra["corrections"], found.extra["amendments"]) == (1, 1)
    assert found.progress.overall.events == 400  # a correction is no event of its own

    with open_log(str(tmp_path / "plain.db")) as log:
        fill(log, lines)
        plain = learn(log, tmp_path / "plain").learner
    event = {name: value for name, value in known[5].items() if name != "click"}
    hashed = plain.vectoriser.hash_event(event, learn=True)
    before = probabilities(plain.predict_hashed(hashed))
    plain.learn_hashed(hashed, np.array([LATE]))
    assert found.learner.weights.fields.tobytes() == plain.weights.fields.tobytes()
    assert probabilities(found.learner.predict_hashed(hashed))[0] > before[0]


def test_where_corrections_stand_in_a_batch_changes_no_bit(tmp_path):
    lines = []
    for i, row in enumerate(rows(300)):
        lines.append(example(row, i))
        if i % 7 == 0:
            late = {"correction": True, "click_timestamp": START + 10**7}
            lines.append(example(row | {"click": 1}, i, **late))
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, lines, per_record=4)
        one = learn(log, tmp_path / "a", batch=1)
        assert_same(one, learn(log, tmp_path / "b", batch=1_000))
        assert one.extra["corrections"] == 43


BAD = {
    b"{": "broken_json",
    b"[1]": "not_an_object",
    b'{"v":1,"type":"heartbeat","timestamp":1736121600000}': "wrong_type",
    b'{"v":2,"type":"example"}': "unsupported_version",
    b'{"v":1,"type":"example","label":3,"impression":{}}': "wrong_type",
    example({"click": 0, "time": 12}): "timestamp_range",
    b"\xff\xfe": "broken_json",
    example({"click": 0, "time": START, "ad": {"a": 1}}): "bad_value",
    example({"click": 0, "time": START, "price": "cheap"}): "bad_number",
    example({"click": 0, "time": START, "ad": "x"})[:-9] + b"}": "broken_json",
    example({"click": 0, "time": START}).replace(b'{"n":1.5}', b'{"n":"1"}'): "wrong_type",
    example({"click": 0, "time": START, "ad": "x"}).replace(b'"ad":"x"', b'"ad":x'): "broken_json",
}


def test_bad_examples_are_counted_and_become_dead_letters_once(tmp_path):
    good = [example(row, i) for i, row in enumerate(rows(100))]
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [*good[:50], *BAD, b"", *good[50:]])
        found = learn(log, tmp_path / "model")
        assert found.progress.overall.events == 100
        assert sum(found.extra["rejected"].values()) == len(BAD)
        learn(log, tmp_path / "again")  # the same log: the letters are already there
        letters = [decode_event(r.value) for r in log.read(TopicPartition(DEAD_LETTERS, 0), 0, 100)]
        assert {letter.raw: letter.reason for letter in letters} == BAD
        assert len(letters) == len(BAD)
        assert {letter.topic for letter in letters} == {EARLY_EXAMPLES}
        assert {letter.offset for letter in letters} <= {5, 6}


def test_progress_is_committed_for_people_to_see(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [example(row, i) for i, row in enumerate(rows(100))])
        learn(log, tmp_path / "model")
        position = log.committed("train", TopicPartition(EARLY_EXAMPLES, 0))
    about = json.loads(position.metadata)
    assert (position.offset, about["learned"]) == (10, 100)
    assert about["event_time"] == START + 99 * 977
    assert about["log_loss"] > 0 and about["at"] > START


def test_a_second_trainer_of_one_folder_is_refused(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [example(row, i) for i, row in enumerate(rows(10))])
        with (
            trainer(log, tmp_path / "model"),
            pytest.raises(ClicktideError, match="another trainer"),
        ):
            trainer(log, tmp_path / "model")
        learn(log, tmp_path / "model")


def test_another_log_than_the_models_is_refused(tmp_path):
    for name, seed in (("a.db", 1), ("b.db", 2), ("short.db", 1)):
        with open_log(str(tmp_path / name)) as log:
            count = 20 if name == "short.db" else 100
            fill(log, [example(row, i) for i, row in enumerate(rows(count, seed))])
    with open_log(str(tmp_path / "a.db")) as log:
        learn(log, tmp_path / "model")
    for name in ("b.db", "short.db"):
        with open_log(str(tmp_path / name)) as log, pytest.raises(ClicktideError, match="another"):
            trainer(log, tmp_path / "model")


DISK_FULL = """
import resource, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], f"{sys.argv[1]}/../helpers"]
from test_train import SPEC, StreamSettings, TrainSettings, Trainer
from streaming.log import open_log
here, said, room = Path(sys.argv[2]), [], resource.RLIM_INFINITY
log = open_log(str(here / "log.db"))
settings = StreamSettings(batch=3, train=TrainSettings(snapshot_every_s=0.001))
one = Trainer(log, SPEC, settings, here / "model", now=time.time, report=said.append,
              pause=time.sleep)
one.step(), one.step(), one.save()
saved = (here / "model" / "snapshot.json").read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, room))
for _ in range(5):
    one.step()
assert any("NOT SAVED" in line for line in said), said
assert (here / "model" / "snapshot.json").read_bytes() == saved
assert one.events > 90
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
one.run(stopping=lambda: False, until_idle_s=0)
assert "train: saved again" in said, said
one.close()
"""


def test_a_full_disk_keeps_what_was_saved_and_the_trainer_learns_on(place):
    folder, log = place
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(Path(__file__).parent), str(folder)],
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert_same(learn(log, folder / "whole"), load_snapshot(folder / "model"))


READER = """
import sys
import numpy as np
from learning.live import open_live
reader = open_live(sys.argv[1])
event = {"ad": 7, "site": "x", "tags": ["tea"], "price": 3.0, "time": 1736121600000}
for line in sys.stdin:
    reader.refresh()
    print(reader.events, reader.learner.predict_proba_one(event)[True].hex(), flush=True)
"""


def test_another_process_sees_every_learned_event_in_the_live_file(place):
    folder, log = place
    event = {"ad": 7, "site": "x", "tags": ["tea"], "price": 3.0, "time": START}
    with trainer(log, folder / "model", live=folder / "live") as one:
        command = [sys.executable, "-c", READER, str(folder / "live")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:
            seen = set()
            while one.step():
                reader.stdin.write("now\n")
                reader.stdin.flush()
                due = one.replay.learner.predict_proba_one(event)[True].hex()
                assert reader.stdout.readline().split() == [str(one.events), due]
                seen.add(due)
            reader.stdin.close()
        assert len(seen) > 20
        one.finish()
    assert_same(learn(log, folder / "without"), load_snapshot(folder / "model"))


def test_a_new_live_file_supersedes_the_former_one(tmp_path):
    path = tmp_path / "live"
    create_live(path, ClickLearner(SPEC), 5)
    former = open_live(path, SPEC)
    assert (former.superseded, former.updated_ms, former.events) == (False, 5, 0)
    create_live(path, ClickLearner(SPEC), 6)
    assert former.superseded
    assert not open_live(path).superseded
    with pytest.raises(SnapshotError, match="read only"):
        former.learner.learn_one({"ad": "a"}, True)
    assert [file.name for file in tmp_path.iterdir()] == ["live"]


@pytest.mark.parametrize("damage", ["gone", "empty", "header", "magic", "format", "cut", "spec"])
def test_a_live_file_that_cannot_be_used_is_refused(tmp_path, damage):
    path, spec = tmp_path / "live", SPEC
    create_live(path, ClickLearner(SPEC), 0)
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "spec":
        spec = Spec(name="other", source=SPEC.source, fields=SPEC.fields)
    else:
        data[0 if damage == "magic" else 8] ^= 64 if damage in ("magic", "format") else 0
        size = {"empty": 0, "header": 100, "cut": len(data) - 4096}.get(damage, len(data))
        path.write_bytes(data[:size])
    with pytest.raises(SnapshotError, match="Fix: "):
        open_live(path, spec)


def test_live_weights_without_room_are_an_error_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="could not be made"):
        create_live(tmp_path / "file" / "live", ClickLearner(SPEC), 0)


def test_an_absent_time_is_the_impressions_own(tmp_path):
    known = list(rows(300))
    plain = [example(row, i) for i, row in enumerate(known)]
    bare = []
    for line in plain:
        event = json.loads(line)
        del event["impression"]["fields"]["time"]
        bare.append(json.dumps(event).encode())
    with open_log(str(tmp_path / "a.db")) as a, open_log(str(tmp_path / "b.db")) as b:
        fill(a, plain)
        fill(
            b, [one if i % 3 else two for i, (one, two) in enumerate(zip(bare, plain, strict=True))]
        )
        assert_same(learn(a, tmp_path / "a"), learn(b, tmp_path / "b"))
    assert np.isfinite(load_snapshot(tmp_path / "b").learner.weights.fields).all()


class Flaky:
    """A log whose reads fail in a given way, some times or always."""

    def __init__(self, log, errors):
        self.log, self.errors = log, errors

    def __getattr__(self, name):
        return getattr(self.log, name)

    def read_values(self, *args):
        if self.errors:
            raise self.errors.pop()
        return self.log.read_values(*args)


def test_a_log_that_does_not_answer_is_asked_again_ever_more_slowly(tmp_path):
    said, waits = [], []
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [example(row, i) for i, row in enumerate(rows(100))])
        flaky = Flaky(log, [LogUnavailableError("no answer")] * 3)
        with Trainer(
            flaky, SPEC, StreamSettings(), tmp_path / "model",
            now=time.time, report=said.append, pause=waits.append,
        ) as one:  # fmt: skip
            one.run(stopping=lambda: False, until_idle_s=0)
            assert one.events == 100
    assert waits == [0.1, 0.2, 0.4]
    assert sum("does not answer" in line for line in said) == 3


def test_a_trainer_that_waits_for_its_log_saves_and_stops_when_asked(tmp_path):
    said = []
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [example(row, i) for i, row in enumerate(rows(100))])
        flaky = Flaky(log, [])
        with Trainer(
            flaky, SPEC, StreamSettings(), tmp_path / "model",
            now=time.time, report=said.append, pause=lambda seconds: None,
        ) as one:  # fmt: skip
            one.run(until_idle_s=0)
            flaky.errors = [LogUnavailableError("no answer")] * 100
            one.run(stopping=lambda: len(flaky.errors) < 90)
            assert len(flaky.errors) == 89
    assert said[-1] == "train: saved at 100 events"


def test_examples_that_retention_removed_are_a_clear_error(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        fill(log, [example(row, i) for i, row in enumerate(rows(100))])
        flaky = Flaky(log, [OffsetError("offset 0 is not within 5 to 10")])
        with (
            trainer(flaky, tmp_path / "model") as one,
            pytest.raises(ClicktideError, match="no longer in the log"),
        ):
            one.step()


def test_drafts_of_live_weights_of_a_killed_trainer_are_removed(tmp_path):
    left = tmp_path / "live.weights.0badcafe.part"
    left.write_bytes(b"x")
    create_live(tmp_path / "live.weights", ClickLearner(SPEC), 0)
    assert [file.name for file in tmp_path.iterdir()] == ["live.weights"]
