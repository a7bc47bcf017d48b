"""Some hundred impressions have one probability, whoever is asked: a short `same_bits.py`."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "chaos" / "same_bits.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("clicktide_same_bits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_trainer_api_river_and_predict_agree_to_the_bit(script, tmp_path):
    tally = script.run(tmp_path, 300)
    assert tally["workers"] == 2
    assert not any(tally["differ_as_learned"].values()), tally
    assert not any(tally["differ_at_the_end"].values()), tally
