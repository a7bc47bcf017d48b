"""Real processes under the supervisor: what they say is kept, and none outlives it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from live_stream import alive
from waiting import until

from clicktide.child_processes import clicktide_command, spawn
from clicktide.process_log import message_of
from clicktide.supervisor import Child, Supervisor

TALKER = "import sys; print('to stdout'); print('to stderr', file=sys.stderr)"
SLEEPER = "import time; print('ready'); time.sleep(600)"
# Traps SIGTERM, and starts a child of its own that would outlive it.
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(inner.pid); time.sleep(600)"
)


def python(code, name="child"):
    return Child(name, [sys.executable, "-c", code])


@pytest.fixture
def said():
    return []


@pytest.fixture
def start(tmp_path, said):
    """Starts children; kills what is left of them."""
    begin, started = spawn(tmp_path / "logs", lambda *line: said.append(line)), []

    def one(child):
        started.append(begin(child))
        return started[-1]

    yield one
    for process in started:
        process.kill()


def test_what_a_child_says_is_shown_and_kept(start, said, tmp_path):
    process = start(python(TALKER))
    until(lambda: process.poll() is not None)
    process.kill()
    assert sorted(said) == [("child", "to stderr"), ("child", "to stdout")]
    lines = (tmp_path / "logs" / "child.log").read_text().splitlines()
    assert sorted(map(message_of, lines)) == ["to stderr", "to stdout"]
    assert process.poll() == 0
    assert process.last_line() in ("to stderr", "to stdout")


def test_a_child_is_in_a_session_of_its_own(start):
    process = start(python(SLEEPER))
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_kill_takes_along_what_the_child_has_started(start, said):
    process = start(python(STUBBORN))
    until(lambda: said)
    inner = int(said[0][1])
    assert alive(inner)
    process.kill()
    until(lambda: not alive(inner))


def test_a_killed_child_comes_back_and_a_stubborn_one_is_killed(start, said):
    shown = []
    supervisor = Supervisor(
        [python(SLEEPER, "first"), python(STUBBORN, "second")],
        spawn=start,
        clock=time.monotonic,
        wait=time.sleep,
        say=lambda *line: shown.append(line),
        drain_s=0.3,
    )
    supervisor.step()
    until(lambda: len(said) == 2)
    os.kill(supervisor.state()["first"]["pid"], signal.SIGKILL)
    until(lambda: supervisor.step() and supervisor.state()["first"]["starts"] == 2)
    pids = [at["pid"] for at in supervisor.state().values()]
    supervisor.drain()
    assert not any(alive(pid) for pid in pids)
    assert (
        "second",
        "KILLED: it did not stop in 0.3 s; it goes on from its last commit next time",
    ) in shown


def test_a_log_file_keeps_a_bounded_end_of_what_was_said(tmp_path, monkeypatch):
    monkeypatch.setattr("clicktide.child_processes._LOG_BYTES", 10_000)
    child = python("for number in range(1000): print(f'line {number:04d}')", "a")
    process = spawn(tmp_path, lambda *line: None)(child)
    until(lambda: process.poll() is not None)
    process.kill()
    newest, older = tmp_path / "a.log", tmp_path / "a.log.1"
    assert newest.read_bytes().endswith(b"line 0999\n")
    assert newest.stat().st_size <= 10_000
    assert older.stat().st_size <= 10_000
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_of_a_stranger_with_our_names_does_no_harm(tmp_path, safe):
    for name in [
        "features",
        "learning",
        "market",
        "streaming",
        "monitoring",
        "serving",
        "clicktide",
        "specs",
    ]:
        if name != "clicktide" or safe:  # without -P, Python itself runs what lies there
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("raise SystemExit('not ours')")
    command = clicktide_command("spec", "check", "market")
    if not safe:
        command.remove("-P")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("ok  market"), done.stderr
