"""`clicktide up` as a user runs it: real processes, killed and started again."""

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from command import clicktide_process, run_clicktide
from live_stream import (
    REAL,
    Up,
    alive,
    conserved,
    free_port,
    learned,
    publish,
    small_tables,
    told,
    until,
    until_learned,
)

# `up` as it is, but for the children: small programs that say a line and wait.
FAKE = """
import sys
import clicktide.up
from clicktide.cli import main
from clicktide.supervisor import Child

def child(name, code):
    return Child(name, [sys.executable, "-c", code])

def children(stream, redis_url):
    wait = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
    second = {second!r}
    return [child("join", wait + "print('at work', flush=True); time.sleep(600)"),
            child("train", second or wait + "print('learning', flush=True); time.sleep(600)")]

clicktide.up.children_of = children
main()
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def one(program, *options, folder=tmp_path / "run"):
        started.append(Up(folder, program, *options))
        return started[-1]

    yield one
    for up in started:
        up.end()


def fake(second=""):
    return ["-c", FAKE.replace("{second!r}", repr(second))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_stops_the_children_then_the_store_and_leaves_nothing(start, number):
    up = start(fake())
    up.until_running("join", "train")
    until(lambda: "learning" in up.text() and "at work" in up.text())
    assert up.stop(number) == 0
    said = up.text()
    # The children together, in no order; then the store that they use; then `up` itself.
    last = said.index("valkey stopped")
    assert max(said.index("join stopped"), said.index("train stopped")) < last
    assert last < said.index("stopped; the same command goes on from here")
    assert "clicktide status --watch" in said
    assert "at work" in (up.folder / "logs" / "join.log").read_text()


def test_a_killed_child_comes_back_and_status_shows_it(start):
    up = start(fake())
    up.until_running("join", "train")
    mapped = Path(f"/proc/{up.process.pid}/maps").read_text()
    assert not re.search("llvmlite|pyarrow", mapped)  # it only supervises
    first = up.children()["join"]
    os.kill(first, signal.SIGKILL)
    until(lambda: up.children().get("join", first) != first, why=up.text)
    assert "join was killed by SIGKILL; starts again in 0.2 s" in up.text()
    done = run_clicktide("status", "--log", up.folder / "log.db", "--json", "--every", "0.1")
    told = json.loads(done.stdout)
    assert told["processes"]["runs"]
    assert told["processes"]["children"]["join"]["starts"] == 2
    assert told["processes"]["children"]["join"]["runs"]
    assert set(told["topics"]) == {
        "impressions", "clicks", "examples", "early_examples", "dead_letters"
    }  # fmt: skip
    assert up.stop() == 0
    done = run_clicktide("status", "--log", up.folder / "log.db", "--json", "--every", "0.1")
    assert not json.loads(done.stdout)["processes"]["runs"]


def test_a_child_that_refuses_its_settings_stops_all_with_its_words(start):
    up = start(fake("import sys; print('spec, line 3: Fix: mend it'); sys.exit(2)"))
    assert up.process.wait(60) == 2
    assert "train refused to run 3 times: spec, line 3: Fix: mend it" in up.text()
    assert not up.children()


def test_children_die_with_a_supervisor_that_is_killed(start):
    up = start(fake())
    up.until_running("join", "train")
    pids = up.children().values()
    up.end()
    until(lambda: not any(alive(pid) for pid in pids))
    again = start(fake())
    again.until_running("join", "train")
    assert again.stop() == 0


def test_a_port_that_is_taken_is_told_at_once(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = clicktide_process("up", "--dir", tmp_path / "run", "--port", port)
    assert done.returncode == 2
    assert f"port {port} cannot be had" in done.stderr
    assert "--no-serve" in done.stderr


def test_a_second_up_in_a_folder_is_refused(start):
    up = start(fake())
    up.until_running("join")
    done = clicktide_process("up", "--dir", up.folder)
    assert done.returncode == 2
    assert "runs here already (pid" in done.stderr
    assert up.stop() == 0


def test_what_the_log_was_made_with_stays_and_settings_of_the_last_time_are_used_again(start):
    up = start(fake(), "--set", "stream.batch=77", "--set", "join.join_window_s=60")
    up.until_running("join")
    assert up.stop() == 0
    kept = up.folder / "clicktide.toml"
    for change, named in (
        ("stream.partitions=2", "stream.partitions from 1 to 2"),
        ("join.join_window_s=30", "join.join_window_s from 60 to 30"),
    ):
        done = clicktide_process("up", "--dir", up.folder, "--no-serve", "--set", change)
        assert done.returncode == 2
        assert named in done.stderr
        assert "Fix: keep the old values" in done.stderr
        assert "batch = 77" in kept.read_text()
    again = start(fake(), "--set", "stream.batch=5")
    again.until_running("join")
    assert again.stop() == 0
    assert "join_window_s = 60.0" in kept.read_text()
    assert "batch = 5" in kept.read_text()


def test_status_of_a_log_that_does_not_exist_says_what_to_do(tmp_path):
    done = run_clicktide("status", "--log", tmp_path / "none.db")
    assert done.returncode == 2
    assert "there is no event log. Fix: clicktide up" in done.stderr
    assert not (tmp_path / "none.db").exists()


def ask(port, path, body=None):
    """Status and JSON of a reply; (0, {}) where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def test_a_stream_is_learned_whole_whatever_is_killed_and_goes_on_another_day(start, tmp_path):
    port = free_port()
    options = ["--spec", str(small_tables(tmp_path)), "--set", "train.snapshot_every_s=1"]
    up = start(REAL, *options, "--no-register", "--no-monitor", "--port", str(port))
    up.until_running("valkey", "join", "count", "train", "serve")
    assert f"curl http://127.0.0.1:{port}/v1/predict" in up.text()
    publish(up, "sim:stationary?events=20000")
    before = {name: up.children()[name] for name in ("join", "train", "valkey")}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(
        lambda: all(up.children().get(name, pid) != pid for name, pid in before.items()),
        why=up.text,
    )
    first = until_learned(up, 20_000)
    conserved(up, first)
    assert learned(first) == first["joiner"]["examples"] == 20_000
    assert first["joiner"]["pending"] == 0
    until(lambda: ask(port, "/v1/model")[1].get("events") == 20_000, why=up.text)
    status, said = ask(port, "/v1/predict", {"fields": {"ad": "ad000000000001"}})
    assert status == 200
    assert said["predictions"][0]["counters"]["overall_views_24h"] >= 0
    assert up.stop() == 0

    again = start(REAL, "--no-register", "--no-monitor")
    again.until_running("valkey", "join", "train")
    assert learned(told(again.folder / "log.db")) == 20_000
    publish(
        again, "sim:stationary?events=5000", "--id-prefix", "more-", "--shift", str(30 * 3_600_000)
    )
    second = until_learned(again, 25_000)
    conserved(again, second)
    assert learned(second) == second["joiner"]["examples"] == 25_000
    assert second["freshness"]["trainer"]["behind_s"] == 0
    assert again.stop() == 0
