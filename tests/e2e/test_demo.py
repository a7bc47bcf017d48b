"""`clicktide demo`, which is `make run`: the whole loop, on a market whose one fault is known.

``CLICKTIDE_FULL=1`` makes it 80,000 impressions.
"""

import json
import os
import signal
import subprocess
import sys

import pytest
from live_stream import alive, until
from sample_report import sample_report
from stream_runs import stream_log
from typer.testing import CliRunner

from clicktide import demo as command
from clicktide.child_processes import lock_folder, read_running
from clicktide.cli import app
from clicktide.demo import demo_folder
from features.errors import ClicktideError

pytestmark = pytest.mark.timeout(500)

EVENTS = 80_000 if os.environ.get("CLICKTIDE_FULL") else 40_000


def test_the_campaign_is_found_and_nothing_else(tmp_path):
    folder = tmp_path / "a path" / "demo"
    command = [sys.executable, "-m", "clicktide", "demo", "--dir", str(folder), "--json"]
    command += ["--events", str(EVENTS), "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    injected, alarm = outcome["injected"], outcome["alarm"]
    assert (alarm["field"], alarm["value"]) == ("campaign", injected["campaign"])
    assert alarm["size"] < 0.7  # its clicks rose
    assert alarm["since_low_ms"] <= injected["at_ms"] <= alarm["since_high_ms"]
    assert (outcome["others"], outcome["problem"]) == ([], None)
    assert injected["campaign"] in outcome["headline"]
    report = json.loads((folder / "report.json").read_text())
    assert report["total"]["count"] == EVENTS * 3 // 5  # what the API predicted, not the history
    assert (folder / "report.html").read_bytes().startswith(b"<!doctype html>")
    assert all(len(line) <= 80 for line in done.stderr.splitlines()), "a line now and then"


def test_somebodys_folder_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("keep")
    refused = CliRunner().invoke(app, ["demo", "--dir", str(tmp_path)])
    assert "no earlier demo" in str(refused.exception)
    assert (tmp_path / "file").read_text() == "keep"


def test_a_demo_or_a_stream_that_runs_is_left_alone(tmp_path):
    def refused(why):
        with pytest.raises(ClicktideError, match=why), demo_folder(tmp_path):
            raise AssertionError("it was removed")

    with demo_folder(tmp_path):
        refused("another demo runs here")
    with lock_folder(tmp_path):
        refused("clicktide up runs here")
    (tmp_path / "report.html").write_text("of an earlier demo")
    with demo_folder(tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == ["demo"]


class _Hung:
    """A stream of which nothing but the API's readiness is there."""

    spec, url = "market", "http://127.0.0.1:9"

    def __init__(self, folder, port):
        self.log, self.settings = str(folder / "log.db"), folder / "clicktide.toml"
        self.settings.write_text("")
        stream_log(self.log).close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def lacks(self):
        return None

    def check_alive(self):
        pass


def test_a_process_that_hangs_is_named_and_the_report_is_written(tmp_path, monkeypatch):
    data = sample_report()
    monkeypatch.setattr(command, "DemoStream", _Hung)
    monkeypatch.setattr(command, "PATIENCE_S", 0.05)
    monkeypatch.setattr("clicktide.report.report_stream", lambda *_: data)
    folder = tmp_path / "demo"
    done = CliRunner().invoke(app, ["demo", "--dir", str(folder), "--events", "40000"])
    assert done.exit_code == 1
    assert "clicktide join has read nothing" in done.stderr
    assert (folder / "report.html").exists()
    assert len(done.stdout.splitlines()) <= 10


def test_ctrl_c_leaves_no_process(tmp_path):
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "clicktide", "demo", "--dir", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ) as process:
        until(lambda: (running := read_running(folder)) and len(running.children) > 4)
        pids = [each["pid"] for each in read_running(folder).children.values()]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert not any(map(alive, filter(None, pids)))
