"""The README's "Predictions", as they stand there: a ranking, and a click that moves its ad."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from command import run_clicktide
from live_stream import REAL, Up, free_port, until, until_learned

pytestmark = pytest.mark.timeout(400)

README = Path(__file__).parents[2] / "README.md"


def curls():
    section = README.read_text().split("## Predictions", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)[1]
    return [line for line in re.split(r"\n(?=curl)", block.strip()) if line]


@pytest.fixture
def served(tmp_path):
    """A stream that has learned a little, its port in the environment."""
    port = free_port()
    up = Up(tmp_path / "run", REAL, "--port", str(port), "--no-register")
    try:
        up.until_running("valkey", "join", "count", "train", "serve")
        source = "sim:stationary?events=30000&max_click_delay_ms=300000"
        done = run_clicktide("replay", source, "--to", up.log, "--shift", "now-3h", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        until_learned(up, 30_000)
        yield port, up
    finally:
        up.stop()


def ask(port, command):
    """What a command of the README prints."""
    text = command.replace("localhost:8000", f"127.0.0.1:{port}").replace("curl ", "curl -sS ", 1)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def test_the_commands_work_and_a_click_moves_its_ad(served):
    port, up = served
    until(lambda: ready(port), up.text)
    predict, rank, click = curls()
    before = ask(port, predict)["predictions"][0]
    assert 0 < before["probability"] < 0.5
    ranked = ask(port, rank)
    assert ranked["logged"] is True
    assert len(ranked["candidates"]) == 2
    ad = ("a1", "a2")[ranked["candidates"][0]["index"]]
    of_ad = {"fields": {"user": "u1", "ad": ad, "campaign": "c1"}}
    command = f"curl localhost:8000/v1/predict -d '{json.dumps(of_ad)}'"
    views = "ad_views_24h"
    until(lambda: 0 < ask(port, command)["predictions"][0]["counters"][views] < 2, up.text)
    seen = ask(port, command)["predictions"][0]["probability"]
    ask(port, click)
    until(lambda: ask(port, command)["predictions"][0]["probability"] != seen, up.text)
