"""Kill joiner, counters and trainer at random moments, then compare with a run left alone.

``python tests/chaos/chaos.py --kills 60`` on the embedded log; ``--kafka start`` or ``host:port``
on Kafka. One simulated stream goes through both runs; afterwards the examples, the counters and
(one partition) the model must be identical.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("helpers", "kafka")]

from broker import start_broker  # noqa: E402
from command import run_clicktide  # noqa: E402
from topic_records import values_of  # noqa: E402
from valkey_server import start_valkey  # noqa: E402

PANE_BYTES = 17
COUNTERS = """
[[counters]]
keys = ["ad", ["campaign", "site"]]
half_lives_h = [1, 24]

[hash]
bits = 16                    # each start and each save takes as long as the tables are large
cross_bits = 18
"""
SETTINGS = [
    "stream.batch=300",
    "train.snapshot_every_s=1",
    "join.join_window_s=120",
    "join.late_window_s=600",
    "join.out_of_order_s=5",
    "join.learn_one_in=3",
]


@dataclass
class Stream:
    """One run's places."""

    folder: Path
    log: str
    redis: str | None
    events: int
    kills: Counter = field(default_factory=Counter)

    def __post_init__(self):
        shipped = Path(__file__).parents[2] / "specs" / "sim.toml"
        self.spec = self.folder / "counted.toml"
        self.spec.write_text(shipped.read_text() + COUNTERS)

    def command(self, name, *more):
        command = [sys.executable, "-m", "clicktide", name, *more]
        for change in SETTINGS:
            command += ["--set", change]
        return command

    def worker(self, name, *more):
        where = {
            "join": [],
            "train": ["--spec", str(self.spec)],
            "count": ["--spec", str(self.spec), "--redis", str(self.redis)],
        }
        of_stream = ["--dir", str(self.folder), "--log", self.log]
        return self.command(name, *of_stream, *where[name], *more)

    def publication(self, speed, *more):
        source = f"sim:stationary?events={self.events}&users=500&sites=50"
        command = self.command("replay", source, "--to", self.log, "--speed", speed)
        return [*command, "--spec", str(self.spec), *more]

    def start(self, command, name):
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
            )

    @property
    def workers(self):
        return ["join", "train", *(["count"] if self.redis else [])]

    def finish(self):
        """Publish what is left, and let it all come through, in the order of the flow.

        In this process, which has imported all of it the second time; none is killed any more.
        """
        run_here(self.publication("max", "--resume"))
        for name in ("join", *(n for n in self.workers if n != "join")):
            wait = "0" if name == "train" else "1"
            run_here(self.worker(name, "--until-idle", wait))

    def outcome(self):
        """Digests of what must be the same."""
        from learning.snapshot import load_snapshot
        from streaming.log import open_log

        log = open_log(self.log)
        rejected = [without_offset(letter) for letter in records(log, "dead_letters")]
        out = {
            "examples": digest(records(log, "examples")),
            "early_examples": digest(records(log, "early_examples")),
            "dead_letters": digest(sorted(rejected)),
        }
        log.close()
        snapshot = load_snapshot(self.folder / "model")
        weights = snapshot.learner.weights
        arrays = weights.arrays.values()
        out["model"] = digest([a.tobytes() for a in arrays])
        out["learned"] = str(snapshot.progress.overall.events)
        if self.redis:
            out["counters"] = digest(sorted(redis_values(self.redis)))
        return out


def run_here(command):
    """Run a command of ours in this process, to its good end."""
    _, _, _, *words = command
    done = run_clicktide(*words)
    if done.returncode:
        raise SystemExit(f"{words[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def environment():
    return os.environ | {"NO_COLOR": "1", "COLUMNS": "200"}


def digest(parts):
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return f"{len(parts)} {whole.hexdigest()[:16]}"


def records(log, topic):
    """Every event of a topic, sorted, however many travel in a record."""
    return sorted(line for value in values_of(log, topic) for line in value.split(b"\n"))


def without_offset(letter):
    """Offsets depend on how the publisher's transactions were cut: Kafka marks the end of each."""
    event = json.loads(letter)
    del event["offset"]
    return json.dumps(event, sort_keys=True).encode()


def redis_values(url):
    """Every counter (not the guards and resume points, which hold positions)."""
    import redis

    client = redis.Redis.from_url(url)
    out = []
    for key in client.scan_iter(count=1000):
        prefix, _, rest = key.rpartition(b"}:")
        if prefix and len(rest) == 8:
            value = client.get(key) or b""
            panes = [value[at : at + PANE_BYTES] for at in range(0, len(value), PANE_BYTES)]
            out.append(key + b"=" + b"".join(sorted(panes)))  # they stand as they first came
    return out


def break_it(stream, kills, rng, deadline_s):
    """Run the workers, killing one at a random moment again and again, while events come in."""
    running = {name: stream.start(stream.worker(name), name) for name in stream.workers}
    until = time.monotonic() + deadline_s
    try:
        for n in range(kills):
            time.sleep(rng.uniform(0.1, 2.0))
            name = stream.workers[n % len(running)]
            if running[name].poll() is not None:
                tail = (stream.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise SystemExit(f"{name} ended by itself, {running[name].returncode}:\n{tail}")
            running[name].kill()
            running[name].wait()
            stream.kills[name] += 1
            running[name] = stream.start(stream.worker(name), name)
            if time.monotonic() > until:
                break
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def compare(make, *, events, kills, seed, seconds_a_kill=1.1):
    """Give the tally of a broken and an unbroken run of one stream.

    Parameters
    ----------
    make
        Makes a :class:`Stream` by its name, with a log and a store of its own.
    """
    calm = make("calm", events)
    calm.finish()
    wanted = calm.outcome()
    broken = make("broken", events)
    speed = str(round(event_span_s(calm) / (kills * seconds_a_kill), 3))
    publisher = broken.start(broken.publication(speed), "publish")
    time.sleep(2.0)  # its topics are there
    break_it(broken, kills, random.Random(seed), kills * 10.0 + 60)
    publisher.kill()  # it too; what is left comes at once
    publisher.wait()
    broken.finish()
    found = broken.outcome()
    return {
        "kills": dict(broken.kills),
        "same": {name: wanted[name] == found[name] for name in wanted},
        "unbroken": wanted,
        "broken": found,
    }


def event_span_s(stream):
    """Event time from the first impression to the last."""
    from streaming.log import TopicPartition, open_log

    with open_log(stream.log) as log:
        at = TopicPartition("impressions", 0)
        first = json.loads(log.read(at, log.start_offsets("impressions")[0], 1)[0].value)
        last = first
        end = log.end_offsets("impressions")[0]
        for record in log.read(at, max(log.start_offsets("impressions")[0], end - 10), 10):
            event = json.loads(record.value)
            if event["type"] == "impression":
                last = event
    return max(1.0, (last["timestamp"] - first["timestamp"]) / 1000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kafka", help="host:port of a broker, or `start`; embedded log if absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clicktide-chaos-") as top:
        tally = run(Path(top), options.kafka, options.events, options.kills, options.seed)
    print(json.dumps(tally, indent=1))
    sys.exit(0 if all(tally["same"].values()) else 1)


def run(top, kafka, events, kills, seed):
    """One comparison, on the embedded log or on Kafka, each run with a Valkey of its own."""
    servers, cluster = [], None
    if kafka == "start":
        cluster = start_broker()
        kafka = cluster.bootstrap

    def make(name, events):
        folder = top / name
        folder.mkdir()
        servers.append(start_valkey(folder / "valkey"))
        prefix = f"{name}-{os.getpid()}-{seed}."
        log = f"kafka://{kafka}?prefix={prefix}" if kafka else str(folder / "log.db")
        return Stream(folder, log, servers[-1].url, events)

    try:
        return compare(make, events=events, kills=kills, seed=seed)
    finally:
        for server in servers:
            server.stop()
        if cluster is not None:
            cluster.stop()


if __name__ == "__main__":
    main()
