"""A snapshot comes back as it went, or is refused with a reason."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from small_spec import spec_of

from features.errors import SnapshotError
from features.spec import FieldSpec, HashSpec, SourceSpec
from learning import ClickLearner
from learning.progress import Progress
from learning.snapshot import Snapshot, load_snapshot, save_snapshot

SPEC = spec_of(
    "site",
    "ad",
    FieldSpec(names=("price",), transform="quantile", buckets=4, learn_from=50),
    name="t",
    pairs=True,
    bits=10,
)


def learned(rows=200):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "site": rng.integers(0, 9, rows),
            "ad": rng.integers(0, 9, rows),
            "price": rng.random(rows),
        }
    )
    learner, progress = ClickLearner(SPEC), Progress(window=30)
    clicks = (rng.random(rows) < 0.3).astype(float)
    logits = learner.learn_hashed(learner.vectoriser.hash_frame(frame, learn=True), clicks)
    progress.add(logits, clicks)
    return Snapshot(learner, progress, {"position": ["log.csv", rows]}), frame


@pytest.fixture
def saved(tmp_path):
    return save_snapshot(tmp_path / "model", learned()[0])


@pytest.mark.parametrize("rows", [0, 30, 200])
def test_a_snapshot_comes_back_as_it_went(tmp_path, rows):
    snapshot, frame = learned(rows)
    back = load_snapshot(save_snapshot(tmp_path / "model", snapshot), SPEC)
    assert back.extra == snapshot.extra
    assert back.progress.overall.figures() == snapshot.progress.overall.figures()
    assert back.progress.windows() == snapshot.progress.windows()
    assert (
        back.learner.vectoriser.quantiles.state() == snapshot.learner.vectoriser.quantiles.state()
    )
    many = ClickLearner.predict_proba_many
    pd.testing.assert_frame_equal(many(back.learner, frame), many(snapshot.learner, frame))


def test_saving_again_replaces_and_leaves_nothing_behind(saved):
    save_snapshot(saved, learned(30)[0])
    assert load_snapshot(saved).progress.overall.events == 30
    assert len(list(saved.iterdir())) == 2


def arrays_of(folder):
    return next(folder.glob("arrays-*.npz"))


def flip_a_byte(folder):
    data = bytearray(arrays_of(folder).read_bytes())
    data[len(data) // 2] ^= 1
    arrays_of(folder).write_bytes(data)


def truncate(folder):
    arrays_of(folder).write_bytes(arrays_of(folder).read_bytes()[:-10])


def edit_index(**changes):
    def edit(folder):
        index = json.loads((folder / "snapshot.json").read_text())
        (folder / "snapshot.json").write_text(json.dumps(index | changes))

    return edit


DAMAGE = {
    "a flipped byte": (flip_a_byte, "does not match its checksum"),
    "a truncated file": (truncate, "bytes, not"),
    "no arrays": (lambda folder: arrays_of(folder).unlink(), "cannot be read"),
    "no index": (lambda folder: (folder / "snapshot.json").unlink(), "no saved model here"),
    "half an index": (
        lambda folder: (folder / "snapshot.json").write_text('{"format": 1, '),
        "not JSON",
    ),
    "an index of something else": (
        lambda folder: (folder / "snapshot.json").write_text("[1]"),
        "states no format",
    ),
    "an edited index": (edit_index(extra={"position": ["x", 0]}), "does not match its checksum"),
    "a newer format": (edit_index(format=3), "upgrade"),
    "an older format": (edit_index(format=1), "mixture of experts.*Fix: learn the model anew"),
    "another hash": (edit_index(hash_version=0), "hash version"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_with_its_reason(saved, damage):
    harm, reason = DAMAGE[damage]
    harm(saved)
    with pytest.raises(SnapshotError, match=reason) as error:
        load_snapshot(saved)
    assert str(saved) in str(error.value)


def test_another_spec_is_refused(saved):
    other = msgspec.structs.replace(SPEC, hash=HashSpec(bits=10, cross_bits=10, seed=1))
    with pytest.raises(SnapshotError, match="another spec"):
        load_snapshot(saved, other)


def test_where_the_columns_come_from_is_no_part_of_the_specs_identity(saved):
    source = SourceSpec(label="clicked", format="jsonl", event_id="id")
    assert load_snapshot(saved, msgspec.structs.replace(SPEC, source=source)).learner


def test_a_write_that_fails_keeps_what_was_there(saved, monkeypatch):
    before = sorted(p.name for p in saved.iterdir())

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SnapshotError, match="No space left"):
        save_snapshot(saved, learned(30)[0])
    monkeypatch.undo()
    assert sorted(p.name for p in saved.iterdir()) == before
    assert load_snapshot(saved).progress.overall.events == 200


def test_a_pickle_in_the_arrays_is_not_run(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "boom",))

    np.savez(arrays_of(saved), evil=np.array([Bomb()], dtype=object))
    with pytest.raises(SnapshotError):
        load_snapshot(saved)
    assert not (tmp_path / "boom").exists()
