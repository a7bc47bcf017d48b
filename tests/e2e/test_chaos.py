"""Killing processes at random changes nothing: a short run of ``make chaos``."""

import importlib.util
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[1] / "chaos" / "chaos.py"


@pytest.fixture(scope="module")
def chaos():
    spec = importlib.util.spec_from_file_location("clicktide_chaos", CHAOS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_kill_9_changes_nothing_on_the_embedded_log(chaos, tmp_path):
    tally = chaos.run(tmp_path, None, events=8_000, kills=6, seed=1)
    assert sum(tally["kills"].values()) == 6
    assert all(tally["same"].values()), tally


@pytest.mark.xdist_group("kafka")
def test_kill_9_changes_nothing_on_kafka(chaos, kafka_address, tmp_path):
    tally = chaos.run(tmp_path, kafka_address, events=4_000, kills=3, seed=2)
    assert sum(tally["kills"].values()) == 3
    assert all(tally["same"].values()), tally
