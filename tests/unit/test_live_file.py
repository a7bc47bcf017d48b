"""A trainer's live file that somebody spoils."""

import os

import pytest
from small_spec import spec_of

from features.spec import FieldSpec
from learning import ClickLearner
from learning.live import create_live, open_live
from streaming.train_process import LiveFile, LostLiveError


def spec(*names):
    return spec_of(FieldSpec(names=names), bits=10)


@pytest.fixture
def said():
    return []


@pytest.fixture
def file(tmp_path, said):
    return LiveFile(tmp_path / "live", ClickLearner(spec("ad")), 0, said.append)


def served(file):
    return open_live(file.path, spec("ad")).events


def test_what_is_deleted_or_replaced_by_another_spec_is_made_anew(file, tmp_path, said):
    file.path.unlink()
    file.update(1, 0, (), 1000, new=True)
    assert served(file) == 1 and "deleted" in said[-1]
    create_live(tmp_path / "other", ClickLearner(spec("site")), 0)
    (tmp_path / "other").replace(file.path)
    file.update(2, 0, (), 2000, new=True)
    assert served(file) == 2 and "replaced" in said[-1]
    (tmp_path / "rubbish").write_bytes(b"no weights")
    (tmp_path / "rubbish").replace(file.path)
    file.update(3, 0, (), 3000, new=True)
    assert served(file) == 3 and len(said) == 3


def test_another_trainer_of_the_same_spec_is_left_alone(file, tmp_path, said):
    create_live(tmp_path / "other", ClickLearner(spec("ad")), 0).update(7, 0, (), 0, new=True)
    (tmp_path / "other").replace(file.path)
    file.update(1, 0, (), 1000, new=True)
    assert served(file) == 7 and not said


def test_an_idle_trainer_notices_that_its_file_was_truncated(file):
    os.truncate(file.path, 4096)
    with pytest.raises(LostLiveError, match=r"truncated.*Fix"):
        file.update(1, 0, (), 1000, new=False)
