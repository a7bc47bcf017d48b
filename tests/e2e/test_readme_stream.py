"""A new user's way through the README's "A live stream": its very commands, in its order."""

import re
import shlex
from pathlib import Path

import pytest
from command import run_clicktide
from live_stream import REAL, Up, conserved, learned, told, until_learned

pytestmark = pytest.mark.timeout(400)

README = Path(__file__).parents[2] / "README.md"
FEWER = 5_000  # than the README's: the commands are the same, and the test is seconds shorter


def commands():
    """Arguments of each command of the section, by the command's name."""
    section = README.read_text().split("## A live stream", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block[1].splitlines() if line.strip()]
    assert {line[0] for line in lines} == {"clicktide"}
    return {line[1]: line[2:] for line in lines}


def said(name, *more, cwd):
    arguments = [re.sub(r"events=\d+", f"events={FEWER}", word) for word in commands()[name]]
    done = run_clicktide(name, *arguments, *more, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def start(tmp_path):
    """The README's `clicktide up`, in an empty folder, as often as wanted."""
    started = []

    def one():
        up = Up(tmp_path / "run", REAL, *commands()["up"], name_folder=False)
        started.append(up)
        up.until_running("valkey", "join", "train")
        return up

    yield one
    for up in started:
        up.end()


def test_a_stream_is_learned_and_goes_on_where_it_was_after_a_stop(start, tmp_path):
    up = start()
    said("replay", cwd=tmp_path)
    first = until_learned(up, FEWER)
    conserved(up, first)
    shown = said("status", cwd=tmp_path)
    assert "impressions" in shown and "examples" in shown and "train" in shown
    assert up.stop() == 0

    again = start()
    assert learned(told(again.log)) == FEWER
    more = ["--id-prefix", "again-", "--shift", "now-10h"]
    said("replay", *more, cwd=tmp_path)
    second = until_learned(again, 2 * FEWER)
    conserved(again, second)
    assert learned(second) == 2 * FEWER  # none twice
    assert again.stop() == 0
