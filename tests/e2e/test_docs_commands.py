"""Every command of the README and docs/, pasted in its order into a fresh folder.

Nothing of a command is changed but the port and what stands for the reader's own: ``LOG``, and how
long a history is. What runs until Ctrl-C is stopped by it once it has
said something; one ``clicktide up`` serves all pages.

A command in which a shell has nothing to do runs in this process: its imports, MLflow's above all,
cost more than what it does. Those of the stream are one test and those of files another, which run
at the same time. That a stream goes on where it was is shown by `test_up.py`.
"""

import contextlib
import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import mlflow_warnings
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import run_clicktide
from docs_commands import SHELLS, blocks, words
from live_stream import REAL, Up, conserved, free_port, learned, told, until_learned
from pyarrow.csv import write_csv
from waiting import until

pytestmark = mlflow_warnings.IGNORED

EVENTS = 5_000
RUNS_ON = re.compile(r"clicktide (serve|status --watch|monitor(?!.*--until-idle))\b")
OF_STREAM = re.compile(
    r"clicktide (up|status|models|challenge|monitor|alarms|serve|report(?! --from))\b"
    r"|clicktide replay .*--shift\b|curl |rm -r run/"
)
SHELL = re.compile(r"[<>|&;()]+|(?!').*[$`*?~].*")
STANDS_FOR = {
    r"\bLOG\b": "clicks.csv",
    r"(?<=events=)\d+|(?<=--events )\d+": str(EVENTS),
}


def write_logs(folder):
    """The reader's own files: a click log, a newer one, and one that is scored."""
    rng, rows = np.random.default_rng(0), 400
    log = {
        "time": [f"2026-01-{1 + i // 24 % 28:02d} {i % 24:02d}:00:00" for i in range(rows)],
        "site": rng.choice(["news", "shop", "mail"], rows),
        "ad": [f"a{n}" for n in rng.integers(40, size=rows)],
        "device": rng.choice(["phone", "desk"], rows),
        "past_clicks": rng.integers(9, size=rows),
        "click": rng.integers(2, size=rows),
    }
    lines = [",".join(log), *(",".join(map(str, row)) for row in zip(*log.values(), strict=True))]
    for name in ("clicks.csv", "new.csv"):
        (folder / name).write_text("\n".join(lines) + "\n")
    probability = rng.uniform(0.01, 0.3, 4_000)
    scored = {
        "ts": 1_767_225_600 + 30 * np.arange(4_000),
        "campaign": rng.choice(["c1", "c2"], 4_000),
        "site": rng.choice(["news", "shop"], 4_000),
        "p": probability,
        "click": (rng.random(4_000) < probability).astype(int),
    }
    pq.write_table(pa.table(scored), folder / "scored.parquet")
    clicked = rng.random(4_000) < 0.5
    conversions = {
        "ts": 1_767_225_600 + 900 * np.arange(4_000),  # 41 days
        "clicked": clicked.astype(int),
        "pcvr": probability,
        "sold": (clicked & (rng.random(4_000) < probability)).astype(int),
    }
    pq.write_table(pa.table(conversions), folder / "clicks.parquet")


def write_scored_csv(folder):
    """The scored log as docs/report.md has it; the README scores one of that name itself."""
    write_csv(pq.read_table(folder / "scored.parquet"), folder / "scored.csv")
    (folder / "scored.csv.gz").write_bytes(gzip.compress((folder / "scored.csv").read_bytes()))


def heeds_ctrl_c():
    """Also where the tests run in the background of a shell, which makes its jobs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def needs_shell(command):
    """Whether something in it may be a pipe, a redirection, a pattern or a variable."""
    parts = shlex.shlex(command, posix=False, punctuation_chars=True)  # which keeps the quotes
    return any(map(SHELL.fullmatch, parts))


class Reader:
    """Somebody who pastes commands, with a stream that runs in another terminal."""

    def __init__(self, folder):
        self.folder, self.port, self.up, self.published = folder, free_port(), None, 0
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
        binaries = Path(sys.executable).parent
        self.env = os.environ | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "CURL_HOME": str(folder),
            "NO_COLOR": "1", "COLUMNS": "120",
        }  # fmt: skip
        write_logs(folder)

    def paste(self, command):
        """What the command prints; it must end well."""
        command = command.replace("localhost:8000", f"localhost:{self.port}")
        for word, of_the_reader in STANDS_FOR.items():
            command = re.sub(word, of_the_reader, command)
        if "--shift" in command and self.published:
            return ""  # the same history, told on another page
        if command.startswith("clicktide challenge"):  # it says nothing while it learns
            command += " --until-idle 0"
        if words(command)[:2] == ["clicktide", "up"]:
            return self.start(words(command)[2:])
        if RUNS_ON.match(command):
            return self.run_until_ctrl_c(command)
        done = self.run(command)
        said = f"{command}\n{done.stdout}{done.stderr}"
        if command.startswith("clicktide models rollback") and self.up is not None:
            assert done.returncode == 2 and "no champion" in said, said
        else:
            assert done.returncode == 0, said
        if "--shift" in command:
            self.published += EVENTS
            until_learned(self.up, self.published)
            until((self.folder / "run" / "monitor" / "now.json").exists, self.up.text)
            until(lambda: "version 1 of clicktide" in self.up.text(), self.up.text)
        return done.stdout

    def run(self, command):
        """In this process if its words are all there is to it, else by a shell."""
        if command.startswith("clicktide ") and not needs_shell(command):
            return run_clicktide(*words(command)[1:], cwd=self.folder)
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.env, text=True, capture_output=True
        )

    def start(self, options):
        """The stream, unless it runs already."""
        if self.up is None:
            port = ("--port", str(self.port))
            self.up = Up(self.folder / "run", REAL, *options, *port, name_folder=False)
            self.up.until_running("valkey", "join", "count", "train", "monitor", "serve")
            until(lambda: self.answers("/healthz", self.port), self.up.text)
        return self.up.text()

    def answers(self, path, port):
        command = ["curl", "-sf", f"localhost:{port}{path}"]
        return subprocess.run(command, capture_output=True).returncode == 0

    def stop(self):
        """Stop the stream by Ctrl-C when all is learned; `ended` is its status then."""
        if self.up is not None:
            until_learned(self.up, self.published)
            up, self.up = self.up, None
            assert up.stop(signal.SIGINT) == 0, up.text()
            self.ended = told(up.log)
            conserved(up, self.ended)

    def run_until_ctrl_c(self, command):
        """In a terminal, where some commands say more than to a file."""
        serves, port = "clicktide serve" in command, free_port()
        terminal, its_end = os.openpty()
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command.split('#')[0]}{f' --port {port}' * serves}"],
            cwd=self.folder, env=self.env, stdin=its_end, stdout=its_end, stderr=its_end,
            preexec_fn=heeds_ctrl_c,
        )  # fmt: skip
        os.close(its_end)
        try:
            if serves:  # it says nothing before it stops
                until(lambda: self.answers("/healthz", port) or process.poll() is not None)
            said = b"" if serves else os.read(terminal, 4096)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # it is closed at the end
                while more := os.read(terminal, 4096):
                    said += more
            assert process.wait() in (0, 130), said.decode()
        finally:
            process.kill()
            os.close(terminal)
        return said.decode()


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    yield reader
    if reader.up is not None:
        reader.up.end()


def pasted(reader, wanted):
    """What each command that is wanted printed, by page and command."""
    blocks_of_shells = [block for block in blocks() if block.kind in SHELLS]
    taken = [block for block in blocks_of_shells if not block.mark.startswith("not pasted: ")]
    taken.sort(key=lambda block: block.mark)  # those without a stream come last
    said = {}
    for block in taken:
        commands = [command for command in block.commands() if wanted(command)]
        if block.mark:
            assert block.mark == "the stream is stopped", block
            reader.stop()
        if block.page == "report.md":
            write_scored_csv(reader.folder)
        for command in commands:
            said[block.page, command.split("#")[0].strip()] = reader.paste(command)
    return said


def python_of_the_readme(reader):
    (block,) = [b for b in blocks() if b.page == "README.md" and b.kind == "python"]
    code = block.text.rstrip()
    *before, last = code.splitlines()
    return subprocess.check_output(
        [sys.executable, "-P", "-c", "\n".join([*before, f"print({last})"])],
        cwd=reader.folder, text=True,
    )  # fmt: skip


def of(printed, start, page="README.md"):
    (said,) = [text for key, text in printed.items() if key[0] == page and key[1].startswith(start)]
    return said


def test_commands_of_a_stream(reader):
    printed = pasted(reader, OF_STREAM.match)
    check_predictions_and_rankings(printed)
    shown = of(printed, "clicktide status")
    assert "impressions" in shown and "examples" in shown and "train" in shown
    # no event is lost or counted twice
    assert learned(reader.ended) == reader.ended["joiner"]["examples"] >= EVENTS


def check_predictions_and_rankings(printed):
    (one,) = json.loads(of(printed, "curl localhost:8000/v1/predict"))["predictions"]
    assert 0 < one["probability"] < 0.5
    ranked = json.loads(of(printed, "curl localhost:8000/v1/rank"))
    assert ranked["logged"] is True and len(ranked["candidates"]) == 2


def test_commands_of_files(reader):
    """And the model of the reader's own log explains and predicts."""
    printed = pasted(reader, lambda command: not OF_STREAM.match(command))
    assert "a17" in of(printed, "clicktide explain")
    assert "True" in python_of_the_readme(reader)
