"""A whole stream as a user runs it: ``clicktide up``, and what is asked of it."""

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from command import run_clicktide
from topic_records import values_of
from waiting import until

from clicktide.valkey import free_port
from streaming.log import open_log

REAL = ["-m", "clicktide"]
MARKET = Path(__file__).parents[2] / "specs" / "market.toml"


def alive(pid):
    """Runs; a zombie, which nobody has asked about yet, does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Up:
    """A running `clicktide up` and its folder; without `--dir` that is `run`, as for a user."""

    def __init__(self, folder, program, *options, name_folder=True):
        self.folder = folder
        given = dict(pairwise(options))
        self.log = given.get("--log") or str(folder / "log.db")
        self.said = folder.parent / "up.txt"
        where = ["--dir", str(folder)] if name_folder else []
        if "--port" not in options and name_folder:
            options = (*options, "--no-serve")
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, *program, "up", *where, *options],
                cwd=folder.parent,
                stderr=said,
                stdout=said,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "CLICKTIDE_PORT": str(free_port())},
            )

    def text(self):
        return self.said.read_text()

    def children(self):
        """Process numbers by name, of those that run now; {} before the first start."""
        try:
            at = json.loads((self.folder / "up.json").read_text())
        except FileNotFoundError:
            return {}
        if at["pid"] != self.process.pid:
            return {}
        return {name: child["pid"] for name, child in at["children"].items() if child["pid"]}

    def until_running(self, *names):
        until(lambda: set(names) <= set(self.children()), why=self.text)

    def stop(self, number=signal.SIGTERM, seconds=100):
        """Ask it to stop; nothing it started may be left."""
        pids = list(self.children().values())
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        left = [pid for pid in pids if alive(pid)]
        assert not left, self.text()
        return code

    def end(self):
        """Whatever has happened: the children go with their supervisor."""
        self.process.kill()
        self.process.wait(10)


def small_tables(folder):
    """A spec file: the one called ``market``, with tables that are saved and loaded in no time."""
    spec = folder / "small.toml"
    spec.write_text(MARKET.read_text() + "\n[hash]\nbits = 16\ncross_bits = 18\n")
    return spec


def told(log):
    """What status says; {} while there is no log."""
    done = run_clicktide("status", "--log", log, "--json", "--every", "0.1")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def learned(told):
    return (told.get("trainer") or {}).get("learned", 0)


def until_learned(up, wanted):
    """All is read and joined, and as many examples are learned."""
    last = {}

    def done():
        nonlocal last
        last = told(up.log)
        return not any(last.get("lag", {"": 1}).values()) and learned(last) >= wanted

    until(done, lambda: f"{last}\n{up.text()}", lambda: learned(last), pause_s=0.5)
    return last


def values(url, topic):
    """Every record of a topic, partition after partition."""
    with open_log(url) as log:
        return values_of(log, topic)


def conserved(up, told):
    """Impressions in = examples + pending + rejected, and each rejection is a dead letter."""
    joiner = told["joiner"]
    out = joiner["examples"] + sum(joiner["rejected"]["impressions"].values())
    assert joiner["impressions"] == out + joiner["pending"]
    rejected = sum(n for of in joiner["rejected"].values() for n in of.values())
    assert len(values(up.log, "dead_letters")) == rejected


def publish(up, source, *options):
    """As `up` itself advises."""
    of = ["--dir", up.folder, "--speed", "max"]
    done = run_clicktide("replay", source, *of, *options)
    assert done.returncode == 0, done.stderr
