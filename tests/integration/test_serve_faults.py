"""Whatever breaks behind serving, under a steady load: every request is answered, no event lost."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest
from steady_load import Load

SCRIPT = Path(__file__).parents[1] / "chaos" / "serve_faults.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("clicktide_serve_faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def stage(script, tmp_path_factory):
    one = script.Stage(tmp_path_factory.mktemp("faults"))
    yield one
    one.up.end()


@pytest.fixture(scope="module")
def load(stage):
    with Load(stage.url, 25) as one:
        time.sleep(1.0)
        yield one


@pytest.mark.parametrize(
    "fault",
    ["store", "trainer", "log_locked", "log_removed", "deleted", "other_spec", "truncated",
     "versions", "worker_stopped", "worker_killed", "serve_killed"],
)  # fmt: skip
def test_no_request_fails(script, stage, load, fault):
    options = {"swaps": 4} if fault == "versions" else {}
    seen = script.suffer(stage, load, fault, **options)
    assert seen["failed"] == 0, seen
    assert seen["told"], seen
    assert seen["requests"] > 10
    if not fault.startswith("log_"):
        assert seen["refused_events"] == 0, seen


def test_what_was_acknowledged_is_in_the_log(script, stage, load):
    script.until(lambda: len(load.accepted) > 20, stage.up.text)
    load.stop()
    assert not script.lost(stage, load)
    assert stage.up.stop() == 0
    assert "Traceback" not in stage.up.text()
