"""Processes that learn give way to those that answer."""

import subprocess
import sys
from pathlib import Path

import pytest

SAY = (
    "import os; from clicktide.process_resources import give_way; "
    "give_way(7); print(os.nice(0), {more})"
)
SESSION = Path("/proc/self/autogroup")


def said(more, own_session):
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(more=more)],
        capture_output=True, text=True, check=True, start_new_session=own_session,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize("own_session", [True, False])
def test_a_process_gives_way(own_session):
    assert said("''", own_session) == ["7"]


@pytest.mark.skipif(not SESSION.exists(), reason="this system does not share cores by session")
def test_its_session_gives_way_only_if_it_is_its_own():
    more = f"*open('{SESSION}').read().split()[-1:]"
    assert said(more, own_session=True) == ["7", "7"]
    # A process that no session was ever begun for has an empty line there, as in a container.
    assert said(more, own_session=False)[1:] == SESSION.read_text().split()[-1:]
