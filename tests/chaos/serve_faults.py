"""Break what is behind `clicktide serve`, one thing after the other, under a steady HTTP load.

``python tests/chaos/serve_faults.py --rate 100 --swaps 100``: a whole `clicktide up` with two
workers; ``--kafka start`` or ``host:port`` has its log on Kafka; ``--only store,log`` some faults.
The load never sends anything twice. Every prediction and ranking must be answered by 200,
whatever is broken; an event by 200 or by 503, and each event that was acknowledged must be in the
log in the end. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("helpers", "kafka")]

import httpx  # noqa: E402
from command import run_clicktide  # noqa: E402
from live_stream import REAL, Up, alive, free_port, until_learned, values  # noqa: E402
from steady_load import PREDICT, RANK, Load, as_json, quantile, workers_of  # noqa: E402
from waiting import until  # noqa: E402

from features.errors import SnapshotError  # noqa: E402
from features.spec_file import load_spec  # noqa: E402
from learning import ClickLearner  # noqa: E402
from learning.live import create_live, open_live  # noqa: E402
from learning.progress import Progress  # noqa: E402
from learning.snapshot import Snapshot, save_snapshot  # noqa: E402
from serving.client import Client  # noqa: E402

SMALL = """
name = "small"
[source]
label = "click"
event_id = "impression_id"
timestamp = "timestamp"
timestamp_format = "ms"
truth = "p_true"
[[fields]]
names = ["user", "ad", "campaign", "site", "device"]
[[fields]]
names = ["interests"]
transform = "categories"
[[counters]]
keys = ["ad", "campaign", "user"]
half_lives_h = [1, 24]
[crosses]
all_pairs = true
[hash]
bits = 14
cross_bits = 14
"""


class Stage:
    """A whole stream that serves and has learned a little, and its parts to be broken."""

    def __init__(self, top, spec="small", history=2_000, kafka=None):
        self.port, self.kafka = free_port(), kafka
        (top / "small.toml").write_text(SMALL)
        self.spec_name = str(top / "small.toml") if spec == "small" else spec
        self.spec = load_spec(self.spec_name)
        options = ["--log", f"kafka://{kafka}"] if kafka else []
        self.up = Up(
            top / "run", REAL, *options, "--spec", self.spec_name, "--port", str(self.port),
            "--workers", "2", "--no-monitor", "--no-register", "--set",
            "train.snapshot_every_s=1",
        )  # fmt: skip
        self.run = top / "run"
        self.live, self.served = self.run / "live.weights", self.run / "served"
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = f"kafka://{kafka}" if kafka else str(self.run / "log.db")
        self.up.log = self.log
        try:
            self._begin(history)
        except BaseException:
            self.up.end()
            raise

    def _begin(self, history):
        self.up.until_running("valkey", "join", "count", "train", "serve")
        source = f"sim:stationary?events={history}"
        done = run_clicktide(
            "replay", source, "--to", self.log, "--spec", self.spec_name, "--shift", "now-15h"
        )
        assert done.returncode == 0, done.stderr
        until_learned(self.up, history)
        until(self.ready, self.up.text)
        until(lambda: len(self.workers()) == 2, self.up.text)

    def ready(self):
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def pid(self, name):
        """Of a part that runs."""
        until(lambda: self.up.children().get(name), self.up.text)
        return self.up.children()[name]

    def workers(self):
        return workers_of(self.up.children()["serve"])

    def kill(self, name):
        """Kill -9, and wait until the supervisor has another one."""
        before = self.pid(name)
        os.kill(before, signal.SIGKILL)
        until(lambda: self.up.children().get(name) not in (None, before), self.up.text)

    def model(self):
        return httpx.get(f"{self.url}/v1/model", timeout=20).json()

    def predict(self):
        """On a connection of its own, so that any worker may take it."""
        return httpx.post(f"{self.url}/v1/predict", json={"fields": {"ad": "a"}}, timeout=20)

    def event(self, name):
        body = {"impression_id": name, "fields": {"ad": "a"}}
        return httpx.post(f"{self.url}/v1/impressions", json=body, timeout=20)

    def ids(self):
        """Of all impressions in the log."""
        lines = [line for value in values(self.log, "impressions") for line in value.split(b"\n")]
        return {json.loads(line).get("impression_id") for line in lines}

    def until_events_are_taken(self, load, seconds=60):
        """By every worker: nothing that was sent in the last two seconds was refused."""
        until(lambda: self.event(f"probe-{time.time_ns()}").status_code == 200)
        since = time.monotonic()
        until(lambda: time.monotonic() - max([since, *self._refused_at(load)]) > 2.0)

    def _refused_at(self, load):
        if self.event(f"probe-{time.time_ns()}").status_code != 200:
            yield time.monotonic()
        yield from (answer.at for answer in load.refused(time.monotonic() - 5.0))


# --- faults: each breaks something, mends it, and gives what replies must have said ------------


def store(stage, load):
    """The feature store hangs, then is killed."""
    mark = time.monotonic()
    pid = stage.pid("valkey")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.0)
    os.kill(pid, signal.SIGCONT)
    for _ in range(2):
        stage.kill("valkey")
        time.sleep(0.5)
    until(lambda: not any("store:" in said for said in stage.predict().text.split('"')))
    return any(said.startswith("store:") for said in load.said(mark))


def trainer(stage, load):
    """The trainer is killed, and goes on from its snapshot; its file is a new one then."""
    before = stage.live.stat().st_ino
    stage.kill("train")
    until(lambda: stage.live.exists() and stage.live.stat().st_ino != before, stage.up.text)
    time.sleep(0.3)
    until(lambda: stage.predict().json()["fallbacks"] == [])
    return True


def log_locked(stage, load):
    """Somebody else holds the log's lock."""
    mark = time.monotonic()
    holder = sqlite3.connect(stage.log, isolation_level=None, timeout=30)
    holder.execute("BEGIN IMMEDIATE")
    try:
        until(lambda: load.refused(mark))
        time.sleep(1.0)
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    stage.until_events_are_taken(load)
    return len(load.refused(mark)) > 0


def log_removed(stage, load):
    """The log's file is moved away, and put back."""
    mark, path, away = time.monotonic(), Path(stage.log), stage.run / "away.db"
    path.rename(away)
    until(lambda: load.refused(mark))
    time.sleep(1.0)
    assert not path.exists()
    away.rename(path)
    stage.until_events_are_taken(load)
    return len(load.refused(mark)) > 0


def deleted(stage, load):
    """The live weights are deleted: the trainer makes the file anew."""
    stage.live.unlink()
    until(stage.live.exists, stage.up.text)
    until(lambda: stage.predict().json()["fallbacks"] == [])
    return True


def truncated(stage, load):
    """They are truncated: the snapshot answers, the trainer dies of it and comes back."""
    mark = time.monotonic()
    os.kill(stage.pid("train"), signal.SIGSTOP)  # it might mend that before anybody asks
    try:
        os.truncate(stage.live, 4096)
        until(lambda: any("truncated" in said for said in load.said(mark)))
    finally:
        os.kill(stage.pid("train"), signal.SIGCONT)
    until(lambda: stage.live.exists() and stage.live.stat().st_size > 4096, stage.up.text)
    until(lambda: stage.predict().json()["fallbacks"] == [])
    return any("truncated" in said for said in load.said(mark))


def other_spec(stage, load):
    """They are replaced by weights of another spec, which are refused."""
    mark = time.monotonic()
    text = SMALL.replace('"user", "ad"', '"ad"').replace('keys = ["ad", "campaign", "user"]',
                                                         'keys = ["ad"]')  # fmt: skip
    path = stage.run.parent / "other.toml"
    path.write_text(text)
    os.kill(stage.pid("train"), signal.SIGSTOP)  # it would mend that within a second
    try:
        create_live(stage.run / "other", ClickLearner(load_spec(str(path))), 0)
        (stage.run / "other").replace(stage.live)
        until(lambda: any("spec" in said for said in load.said(mark)))
    finally:
        os.kill(stage.pid("train"), signal.SIGCONT)
    until(lambda: is_ours(stage), stage.up.text)
    until(lambda: stage.predict().json()["fallbacks"] == [])
    return any("spec" in said for said in load.said(mark))


def is_ours(stage):
    """Whether the trainer's weights stand there again."""
    with contextlib.suppress(SnapshotError):
        open_live(stage.live, stage.spec)
        return True
    return False


def versions(stage, load, swaps=10):
    """Versions are pinned in turn, as the registry's follower does it; then the live weights."""
    stage.served.mkdir(exist_ok=True)
    learner = ClickLearner(stage.spec)
    for n in (1, 2):
        save_snapshot(stage.served / f"version-{n}-0", Snapshot(learner, Progress()))
    mark = time.monotonic()
    for i in range(swaps):
        n = i % 2 + 1
        pin(stage, {"serve": {"number": n, "events": n, "folder": f"version-{n}-0"}})
        since = time.monotonic()
        until(lambda s=since, v=f"v{n}": any(a.version == v for a in load.since(s)))
    pin(stage, {})
    until(lambda: stage.predict().json()["model_version"].startswith("live-"))
    return {"v1", "v2"} <= {answer.version for answer in load.since(mark)}


def pin(stage, versions):
    draft = stage.served / "served.json.part"
    draft.write_text(json.dumps({"model": "m", "versions": versions, "checked_ms": 0}))
    draft.replace(stage.served / "served.json")


def worker_stopped(stage, load):
    """A worker is asked to stop: no request is lost; another one takes its place."""
    gone = stage.workers()[0]
    os.kill(gone, signal.SIGTERM)
    until(lambda: not alive(gone))
    until(partial(replaced, stage, gone), stage.up.text)
    return True


def workers_renewed(stage, load):
    """SIGHUP renews the workers one by one, each when its successor serves."""
    before = set(stage.workers())
    os.kill(stage.pid("serve"), signal.SIGHUP)
    until(lambda: not before & set(stage.workers()), stage.up.text)
    return len(stage.workers()) == 2


def worker_killed(stage, load):
    """Workers are killed, one after the other: clients send again, others are answered."""
    with Client(stage.url, timeout_s=20) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: [client.predict({"ad": "a"}) for _ in range(300)])
        for _ in range(4):
            gone = stage.workers()[0]
            time.sleep(0.1)
            os.kill(gone, signal.SIGKILL)
            until(partial(replaced, stage, gone), stage.up.text)
        answered = len(asked.result(60))
    return answered == 300


def serve_killed(stage, load):
    """The manager of the workers is killed, and they with it: new connections wait for others."""
    before = stage.workers()
    stage.kill("serve")
    until(lambda: len(stage.workers()) == 2, stage.up.text)
    until(lambda: not any(map(alive, before)), stage.up.text)
    return True


def replaced(stage, gone):
    """Whether two others serve instead of a worker."""
    return gone not in stage.workers() and len(stage.workers()) == 2


FAULTS = {
    f.__name__: f
    for f in (
        store, trainer, log_locked, log_removed, deleted, truncated, other_spec, versions,
        worker_stopped, workers_renewed, worker_killed, serve_killed,
    )
}  # fmt: skip
BREAKS = {"truncated", "worker_killed", "serve_killed"}
"""Faults that kill workers, and with them the requests that these held: no answer, status 0."""


def suffer(stage, load, name, **options):
    """One fault, and what the load saw meanwhile."""
    mark = time.monotonic()
    said = FAULTS[name](stage, load, **options)
    until(lambda: len(load.since(mark)) > 10)  # what the fault left behind shows on later ones
    answers, failed = load.since(mark), load.failed(mark)
    broken = sum(a.status == 0 for a in failed) if name in BREAKS else 0
    failed = [a for a in failed if a.status or not broken]
    return {
        "s": round(time.monotonic() - mark, 1),
        "requests": len(answers),
        "failed": len(failed),
        "broken": broken,
        "errors": sorted({f"{a.kind} {a.status} {a.said}" for a in failed}),
        "refused_events": len(load.refused(mark)),
        "p99_ms": round(quantile(load.since(mark, (PREDICT, RANK)), 0.99), 1),
        "told": bool(said),
        "lacked": sorted(load.said(mark))[:6],
    }


def lost(stage, load):
    """Ids that were acknowledged and are not in the log."""
    return set(load.accepted) - stage.ids()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--spec", default="market", help="market, small or a file")
    parser.add_argument("--kafka", help="host:port of a broker, or `start`; embedded log if absent")
    parser.add_argument("--only", help="Names of faults, by commas")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(FAULTS)
    cluster = None
    if options.kafka == "start":
        from broker import start_broker

        cluster = start_broker()
    with tempfile.TemporaryDirectory(prefix="clicktide-faults-") as top:
        kafka = cluster.bootstrap if cluster else options.kafka
        try:
            tally = run(Path(top), options, kafka, names, cluster)
        finally:
            if cluster:
                cluster.stop()
    print(as_json(tally))
    good = all(one["told"] and not one["failed"] for one in tally["faults"].values())
    sys.exit(0 if good and not tally["acknowledged_and_lost"] else 1)


def run(top, options, kafka, names, cluster=None):
    """All faults named, one after the other."""
    stage = Stage(top, options.spec, 30_000, kafka)
    if kafka:
        names = [name for name in names if not name.startswith("log_")]
    if cluster:
        FAULTS["broker"] = lambda stage, load: broker(stage, load, cluster)
        names.append("broker")
    faults = {}
    try:
        with Load(stage.url, options.rate) as load:
            time.sleep(3.0)
            for name in names:
                more = {"swaps": options.swaps} if name == "versions" else {}
                faults[name] = suffer(stage, load, name, **more)
                print(f"{name}: {json.dumps(faults[name])}", file=sys.stderr, flush=True)
        gone = lost(stage, load)
        stopped = stage.up.stop()
    finally:
        stage.up.end()
    return {
        "requests": len(load.answers),
        "acknowledged_events": len(load.accepted),
        "acknowledged_and_lost": len(gone),
        "up_ended_with": stopped,
        "faults": faults,
    }


def broker(stage, load, cluster):
    """The only broker is killed, and comes back."""
    mark = time.monotonic()
    cluster.kill(0)
    until(lambda: load.refused(mark))
    time.sleep(5.0)
    cluster.start(0)
    stage.until_events_are_taken(load, 180)
    return len(load.refused(mark)) > 0


if __name__ == "__main__":
    main()
