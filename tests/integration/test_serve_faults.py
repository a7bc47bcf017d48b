"""Whatever breaks behind serving, under a steady load: every request is answered, no event lost."""

import time

import pytest
from serve_faults import Stage, lost, suffer
from steady_load import Load
from waiting import until


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    one = Stage(tmp_path_factory.mktemp("faults"))
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
def test_no_request_fails(stage, load, fault):
    options = {"swaps": 4} if fault == "versions" else {}
    seen = suffer(stage, load, fault, **options)
    assert (seen["failed"], seen["errors"]) == (0, [])
    assert seen["told"], seen
    assert seen["requests"] > 10
    if not fault.startswith("log_"):
        assert seen["refused_events"] == 0, seen


def test_what_was_acknowledged_is_in_the_log(stage, load):
    until(lambda: len(load.accepted) > 20, stage.up.text)
    load.stop()
    assert not lost(stage, load)
    assert stage.up.stop() == 0
    assert "Traceback" not in stage.up.text()
