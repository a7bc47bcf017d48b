"""Many of each, tested: one of each is killed, and nothing may be lost.

``python tests/chaos/many.py``: 200,000 simulated impressions at their own pace, through 12
partitions on three Kafka brokers, three joiners, three counters on a Redis Cluster of three
primaries and their replicas, a trainer with a standby, and four API replicas that follow the
weights in the log, each on an address of its own with nothing of the trainer's disk. Meanwhile the
leader of a partition, a primary, a joiner, a counter, the trainer and a replica are killed (-9). It
ends by itself and prints how long each took to be replaced, and what was lost: exit code 1 if
anything was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("helpers", "kafka", "chaos")]

import httpx  # noqa: E402
import redis  # noqa: E402
from broker import start_broker  # noqa: E402
from chaos import COUNTERS, digest, redis_values  # noqa: E402
from redis_cluster import RedisCluster  # noqa: E402
from steady_load import Load  # noqa: E402
from valkey_server import start_valkey  # noqa: E402

from clicktide.valkey import free_port  # noqa: E402
from features.errors import ClicktideError  # noqa: E402
from streaming.log import TopicPartition, open_log  # noqa: E402
from streaming.status import TrainerState, look_at  # noqa: E402

START_MS = 1_736_121_600_000
JOIN_MS, LATE_MS = 30_000, 120_000
PARTITIONS, REPLICAS = 12, 4
SETTINGS = [
    f"stream.partitions={PARTITIONS}",
    f"join.join_window_s={JOIN_MS // 1000}",
    f"join.late_window_s={LATE_MS // 1000}",
    "join.out_of_order_s=5",
    "join.label_after_s=5",
    "join.label_out_of_order_s=2",
    "train.snapshot_every_s=5",
    "train.publish_every_s=1",
]
PATIENCE_S = 240.0
_STUCK_S = 6.0


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> float:
    """Wait until something holds; the seconds it took."""
    begun = time.monotonic()
    while True:
        with suppress(ClicktideError, httpx.HTTPError, redis.RedisError, OSError):
            if holds():
                return time.monotonic() - begun
        if time.monotonic() - begun > seconds:
            raise SystemExit(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.1)


class Stage:
    """All the processes."""

    def __init__(self, top: Path, events: int, rate: float, stack: ExitStack) -> None:
        self.top, self.events, self.rate = top, events, rate
        self.kafka = start_broker(3, under=top)
        stack.callback(self.kafka.stop)
        self.log = f"kafka://{self.kafka.bootstrap}?replication=3"
        self.redis = RedisCluster(top / "redis")
        stack.callback(self.redis.stop)
        shipped = Path(__file__).parents[2] / "specs" / "sim.toml"
        self.spec = top / "counted.toml"
        self.spec.write_text(shipped.read_text() + COUNTERS)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(self.end)
        self.ports = {f"serve-{i}": free_port() for i in range(REPLICAS)}

    def command(self, name: str, *more: str, folder: str = "stream") -> list[str]:
        command = [sys.executable, "-m", "clicktide", name, "--dir", str(self.top / folder)]
        command += ["--log", self.log, *more]
        return command + [word for change in SETTINGS for word in ("--set", change)]

    def start(self, name: str) -> None:
        kind = name.partition("-")[0]
        spec = ["--spec", str(self.spec)]
        more = {
            "join": ["--instance", name],
            "count": ["--instance", name, *spec, "--redis", self.redis.url],
            "train": ["--standby", "--publish-weights", *spec],
        }
        if kind == "serve":
            number = int(name.partition("-")[2])
            at = ["--host", self.host(name), "--port", str(self.ports[name]), "--follow"]
            command = self.command(
                kind, *spec, *at, "--redis", self.redis.url, folder=f"host-{number}"
            )
        else:
            command = self.command(kind, *more[kind])
        with (self.top / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def host(self, name: str) -> str:
        return f"127.0.0.{2 + int(name.partition('-')[2])}"

    def url(self, name: str) -> str:
        return f"http://{self.host(name)}:{self.ports[name]}"

    def ready(self, name: str) -> bool:
        return httpx.get(f"{self.url(name)}/readyz", timeout=5.0).status_code == 200

    def kill(self, name: str) -> float:
        self.processes[name].kill()
        self.processes[name].wait()
        return time.monotonic()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def publish(self, source: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "clicktide", "replay", source, "--to", self.log]
        command += ["--spec", str(self.spec), "--shift", "now", *more]
        command += [word for change in SETTINGS[:6] for word in ("--set", change)]
        with (self.top / "publish.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def look(self):
        with open_log(self.log) as log:
            return look_at(log, int(time.time() * 1000), newest=False)

    def trainer(self) -> TrainerState:
        return self.look().trainer or TrainerState()

    def reading(self, group: str) -> dict[tuple[str, int], int]:
        return {(at.topic, at.partition): at.read_to for at in self.look().groups.get(group, ())}

    def all_read_on(self, group: str, before: dict[tuple[str, int], int]) -> bool:
        """Whether each partition of the impressions has been read further."""
        now = self.reading(group)
        return all(now[at] > was for at, was in before.items() if at[0] == "impressions")


def leader(cluster: str, topic: str) -> int:
    """Which broker (0-based) leads the first partition."""
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=cluster.split(","))
    try:
        [about] = admin.describe_topics([topic])
        return int(about["partitions"][0]["leader_id"]) - 1
    finally:
        admin.close()


def faults(stage: Stage, say: Callable[[str], None]) -> dict[str, float]:
    """Kill one of each, and how many seconds passed until its work was done again."""
    took: dict[str, float] = {}

    def note(what: str, seconds: float) -> None:
        took[what] = round(seconds, 1)
        say(f"{what}: {seconds:.1f} s")
        time.sleep(3.0)

    for group, name in (("join", "join-1"), ("count", "count-1")):
        before = stage.reading(group)
        stage.kill(name)
        note(f"{name} killed, its partitions read on by others", until(
            lambda g=group, b=before: stage.all_read_on(g, b), f"{group} reads on"))  # fmt: skip
        stage.start(name)
    active = next(n for n in ("train-0", "train-1") if trains(stage, n))
    at_ms, learned = time.time() * 1000, stage.trainer().learned
    stage.kill(active)
    note(f"{active} killed, its standby has learned on", until(
        lambda: stage.trainer().learned > learned and (stage.trainer().at or 0.0) > at_ms,
        "the standby learns"))  # fmt: skip
    stage.start(active)
    stage.kill("serve-2")
    stage.start("serve-2")
    note("serve-2 killed, started again, serves", until(lambda: stage.ready("serve-2"), "serve-2"))
    primary = stage.redis.primaries()[0]
    stage.redis.kill(primary)
    time.sleep(_STUCK_S)  # by then a counter that is stuck is far behind
    few = _STUCK_S * stage.rate / 2
    wait = until(lambda: stage.look().lag("count") < few, "counters go on")
    note("a Redis primary killed, counters have caught up", _STUCK_S + wait)
    before, node = stage.reading("join"), leader(stage.kafka.bootstrap, "impressions")
    stage.kafka.kill(node)
    note("a Kafka leader killed, all partitions are joined on", until(
        lambda: stage.all_read_on("join", before), "joiners go on"))  # fmt: skip
    stage.kafka.start(node)
    return took


def trains(stage: Stage, name: str) -> bool:
    """Whether this one of the two trainers is the one that works."""
    text = (stage.top / f"{name}.log").read_text(errors="replace")
    return "events learned; reading" in text.rpartition("standing by")[2]


def events(log, topic: str):
    """Every event of a topic."""
    starts, ends = log.start_offsets(topic), log.end_offsets(topic)
    for partition, (at, end) in enumerate(zip(starts, ends, strict=True)):
        while at < end and (batch := log.read(TopicPartition(topic, partition), at, 10_000)):
            for record in batch:
                yield from map(json.loads, record.value.split(b"\n"))
            at = batch[-1].offset + 1


def brute_force(impressions: dict[str, dict], clicks: dict[str, int]) -> Counter[str]:
    """Every impression against all clicks: the examples, and what late clicks correct."""
    out: Counter[str] = Counter()
    for name, shown in impressions.items():
        at = clicks.get(name)
        on_time = at is not None and at <= shown["timestamp"] + JOIN_MS
        out[example(shown, int(on_time), at if on_time else None, False)] += 1
        if at is not None and not on_time and at <= shown["timestamp"] + JOIN_MS + LATE_MS:
            out[example(shown, 1, at, True)] += 1
    return out


def example(shown: dict, label: int, clicked: int | None, correction: bool) -> str:
    return digest([json.dumps([shown, label, clicked, correction], sort_keys=True).encode()])


def audit(stage: Stage, accepted: list[str]) -> dict[str, object]:
    """What the log and the store hold, against what they must."""
    with open_log(stage.log) as log:
        impressions = {
            one["impression_id"]: one
            for one in events(log, "impressions") if one["type"] == "impression"
        }  # fmt: skip
        clicks: dict[str, int] = {}
        for one in events(log, "clicks"):
            if one["type"] != "heartbeat":
                clicks.setdefault(one["impression_id"], one["timestamp"])
        found = Counter(
            example(
                one["impression"],
                one["label"],
                one.get("click_timestamp"),
                one.get("correction", False),
            )
            for one in events(log, "examples")
        )
        letters = Counter(one["reason"] for one in events(log, "dead_letters"))
    joined = brute_force(impressions, clicks)
    look = stage.look()
    state = look.joiner
    counted, again = all_counters(stage.redis), counted_anew(stage)
    return {
        "impressions": len(impressions),
        "clicks": len(clicks),
        "acknowledged": len(accepted),
        "acknowledged and lost": len(set(accepted) - impressions.keys()),
        "examples": sum(found.values()),
        "examples that a brute-force join has not": sum((found - joined).values()),
        "examples missing": sum((joined - found).values()),
        "conserved": state.impressions
        == state.examples + state.pending + sum(state.rejected.get("impressions", {}).values()),
        "pending": state.pending,
        "learned": look.trainer.learned,
        "dead letters": dict(letters),
        "counters": len(counted),
        "counters that differ when counted anew": len(set(counted) ^ set(again)),
    }


def all_counters(cluster: RedisCluster) -> list[bytes]:
    """Those of all primaries."""
    urls = [f"redis://127.0.0.1:{port}" for port in cluster.primaries()]
    return sorted(value for url in urls for value in redis_values(url))


def counted_anew(stage: Stage) -> list[bytes]:
    """What one counter makes of the whole log, in a store of its own."""
    for name in ("count-0", "count-1", "count-2"):
        stage.kill(name)
    store = start_valkey(stage.top / "recount")
    options = ["--spec", str(stage.spec), "--redis", store.url, "--until-idle", "2"]
    try:
        command = stage.command("count", "--instance", "count-9", *options, folder="recount")
        subprocess.run(command, check=True, capture_output=True)
        return sorted(redis_values(store.url))
    finally:
        store.stop()


def run(top: Path, events: int, rate: float, say: Callable[[str], None]) -> dict[str, object]:
    with ExitStack() as stack:
        stage = Stage(top, events, rate, stack)
        say("three brokers and a Redis Cluster are up")
        market = f"events={events}&impressions_per_s={rate:g}&max_click_delay_ms=60000"
        publisher = stage.publish(f"sim:stationary?{market}", "--speed", "1", "--no-end")
        stage.processes["publish"] = publisher
        until(lambda: "impressions" in stage.look().topics, "events")
        for name in [f"{kind}-{i}" for kind in ("join", "count") for i in range(3)]:
            stage.start(name)
        for name in ("train-0", "train-1", *stage.ports):
            stage.start(name)
        until(lambda: all(stage.ready(name) for name in stage.ports), "four replicas that serve")
        until(lambda: stage.trainer().learned > 0, "a trainer that learns")
        until(lambda: trains(stage, "train-0") != trains(stage, "train-1"), "one of two trainers")
        for group in ("join", "count"):
            until(
                lambda g=group: len(stage.reading(g)) == 2 * PARTITIONS,
                f"{group} of all partitions",
            )
        say("all processes work")
        loads = {name: stack.enter_context(Load(stage.url(name), 10.0, 3)) for name in stage.ports}
        took = faults(stage, say)
        say("publishing goes on to its end")
        until(lambda: publisher.poll() is not None, "the publisher", 3_600.0)
        for load in loads.values():
            load.stop()
        if publisher.returncode:
            raise SystemExit((top / "publish.log").read_text()[-2000:])
        last = top / "last.jsonl"  # behind it, the publisher moves time on until all windows close
        last.write_text(json.dumps({"impression_id": "last", "timestamp": START_MS, "click": 0}))
        if stage.publish(str(last)).wait():
            raise SystemExit((top / "publish.log").read_text()[-2000:])
        until(lambda: at_rest(stage), "all is read and joined", 600.0)
        say("all is read; looking at what is there")
        accepted = [one for load in loads.values() for one in load.accepted]
        answers = {
            name: {
                "answered": len(load.answers),
                "failed": len(load.failed()),
                "events refused (503)": len(load.refused()),
                "failures": Counter(f"{a.kind} {a.status} {a.said[:80]}" for a in load.failed()),
            }
            for name, load in loads.items()
        }
        return {"took_s": took, "answers": answers, **audit(stage, accepted)}


def at_rest(stage: Stage) -> bool:
    look = stage.look()
    return not look.joiner.pending and not any(
        look.lag(group) for group in ("join", "count", "train")
    )


def lost(tally: dict) -> list[str]:
    """What is not as it must be."""
    wrong = [
        name
        for name in (
            "acknowledged and lost",
            "examples that a brute-force join has not",
            "examples missing",
            "counters that differ when counted anew",
            "pending",
            "dead letters",
        )
        if tally[name]
    ]
    wrong += ["conserved"] if not tally["conserved"] else []
    wrong += [
        f"{name} failed" for name, one in tally["answers"].items()
        if one["failed"] and name != "serve-2"
    ]  # fmt: skip
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=1_000.0, help="impressions a second")
    parser.add_argument("--keep", type=Path, help="leave logs of the processes here")
    options = parser.parse_args()
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", file=sys.stderr, flush=True)

    os.environ["NO_COLOR"] = "1"
    with tempfile.TemporaryDirectory(prefix="clicktide-many-") as top:
        folder = Path(top) if options.keep is None else options.keep
        folder.mkdir(parents=True, exist_ok=True)
        tally = run(folder, options.events, options.rate, say)
    tally["lost"] = lost(tally)
    print(json.dumps(tally, indent=1))
    sys.exit(1 if tally["lost"] else 0)


if __name__ == "__main__":
    main()
