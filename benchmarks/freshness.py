"""How soon a click changes the served probability of its ad, amid 2,000 events a second.

    python benchmarks/freshness.py --clicks 200 --rate 2000 --seconds 120
    python benchmarks/freshness.py --kafka localhost:9092     # through `serve --follow`

A whole stream with a model of 30,000 impressions that happened three days ago. Background events,
of other ads, users and sites, come in as `POST /v1/impressions` and `/v1/clicks`. Then, again and
again: an impression is posted and counted; its click is posted; from the moment it is
acknowledged, the ad is asked for until its probability is another one. What is compared are two
impressions of one request, by the same weights at the same event time: one with the counters of
now, one with those from before the click. So nothing but the click can make them differ.

The weights follow `join.label_after_s` later. Every click of the background, some seconds after its
impression, is timed: from its acknowledgement until `/v1/model` has learned all that stands in the
topic of early examples up to it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import httpx

from clicktide.valkey import free_port

COMMAND = [sys.executable, "-m", "clicktide"]
BATCH_S = 0.1
CLICK_SHARE = 0.1
HISTORY_BEGAN = "now-3d"
"""So long ago that its last clicks, most of a day late, are not after now."""


CLICK_DELAY_S = 8.0


class Background(threading.Thread):
    """Posts so many events a second, in batches, and counts those that were acknowledged.

    Clicks come some seconds after their impressions; ``accepted`` says when each was acknowledged.
    """

    def __init__(self, url: str, rate: float) -> None:
        super().__init__(daemon=True)
        self.url, self.rate, self.over = url, rate, threading.Event()
        self.events, self.failed, self.begun = 0, 0, time.monotonic()
        self.rng = random.Random(1)
        self.accepted: dict[str, float] = {}
        self._coming: list[tuple[float, str]] = []

    def run(self) -> None:
        """Post until told to stop."""
        due = self.begun = time.monotonic()
        size = round(self.rate * BATCH_S / (1 + CLICK_SHARE))
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.over.wait(max(0.0, due - time.monotonic())):
                due += BATCH_S
                shown = [self.impression() for _ in range(size)]
                self.post(client, "/v1/impressions", {"impressions": shown})
                for one in shown[: round(size * CLICK_SHARE)]:
                    late = self.rng.expovariate(1 / CLICK_DELAY_S)
                    heappush(self._coming, (due + late, one["impression_id"]))
                chosen = []
                while self._coming and self._coming[0][0] <= due:
                    chosen.append(heappop(self._coming)[1])
                if chosen and self.post(client, "/v1/clicks", {"clicks": list(map(click, chosen))}):
                    self.accepted |= dict.fromkeys(chosen, time.monotonic())

    def impression(self) -> dict[str, Any]:
        """One of the background's own ads, users and sites."""
        of = self.rng.randrange
        fields = {"user": f"b{of(5000)}", "ad": f"b{of(300)}", "campaign": f"b{of(30)}",
                  "advertiser": f"b{of(9)}", "site": f"b{of(50)}"}  # fmt: skip
        return {"impression_id": uuid.uuid4().hex, "fields": fields}

    def post(self, client: httpx.Client, path: str, body: dict[str, Any]) -> bool:
        """Post a batch; whether it was accepted."""
        with contextlib.suppress(httpx.HTTPError):
            reply = client.post(path, json=body)
            if reply.status_code == 200:
                self.events += reply.json()["written"]
                return True
        self.failed += 1
        return False

    def reached(self) -> float:
        """Events a second so far."""
        return self.events / (time.monotonic() - self.begun)


def click(name: str) -> dict[str, str]:
    """The click of an impression."""
    return {"impression_id": name}


class Served(threading.Thread):
    """Notes when the served model had learned how many events."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.over = url, threading.Event()
        self.seen: list[tuple[int, float]] = []

    def run(self) -> None:
        """Ask until told to stop."""
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.over.wait(0.05):
                events = int(client.get("/v1/model").json()["events"])
                if not self.seen or events > self.seen[-1][0]:
                    self.seen.append((events, time.monotonic()))

    def when(self, events: int) -> float | None:
        """When it had so many, first."""
        at = bisect_left(self.seen, (events, 0.0))
        return self.seen[at][1] if at < len(self.seen) else None


def weights_s(log: str, accepted: dict[str, float], served: Served) -> list[float]:
    """Seconds from each click's acknowledgement to the served weights that know it, sorted."""
    from streaming.log import TopicPartition, open_log
    from streaming.settings import EARLY_EXAMPLES

    took, events = [], 0
    with open_log(log) as opened:
        at, offset = TopicPartition(EARLY_EXAMPLES, 0), 0
        while records := opened.read(at, offset, 1_000):
            offset = records[-1].offset + 1
            for line in b"\n".join(record.value for record in records).split(b"\n"):
                example = json.loads(line)
                events += not example.get("correction")
                name = example["impression"]["impression_id"]
                if example["label"] and name in accepted:
                    # a correction is learned before the event behind it, which is counted
                    when = served.when(events + bool(example.get("correction")))
                    if when is not None:
                        took.append(when - accepted[name])
    return sorted(took)


def fields_of(n: int) -> dict[str, Any]:
    """Impressions of ads that the model knows."""
    return {"user": f"u{14822 + n:08d}", "ad": f"ad{1 + n % 2000:012d}", "site": "site-004"}


def wait(holds: Any, seconds: float, what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.01)


class Probe:
    """Clicks on ads, and how long each takes to be seen."""

    def __init__(self, client: httpx.Client, to: httpx.Client) -> None:
        self.client, self.to = client, to
        self.trained = self.asked = self.late = 0
        self.moved: list[float] = []

    def counters(self, fields: dict[str, Any], at: int) -> dict[str, float]:
        """The ad's counter values now, the store's own: what stood in for them is asked again."""
        while True:
            self.asked += 1
            reply = self.client.post("/v1/predict", json={"fields": fields, "timestamp": at})
            [told] = reply.json()["predictions"]
            if not any(said.startswith("store:") for said in told["fallbacks"]):
                counters: dict[str, float] = told["counters"]
                return counters
            self.late += 1
            time.sleep(0.01)

    def click(self, n: int) -> float:
        """Seconds from the acknowledgement of a click to another probability."""
        fields, name = fields_of(n), uuid.uuid4().hex
        at = time.time_ns() // 1_000_000 + 30_000  # of all that is asked: values fade with time
        before = self.counters(fields, at)["ad_views_24h"]
        body = {"impression_id": name, "fields": fields}
        self.to.post("/v1/impressions", json=body).raise_for_status()
        wait(lambda: self.counters(fields, at)["ad_views_24h"] > before, 60, "a view to count")
        old = self.counters(fields, at)
        self.to.post("/v1/clicks", json={"impression_id": name}).raise_for_status()
        accepted = time.perf_counter()
        same = {"fields": fields, "timestamp": at}
        # events of all ads move the overall rate too: that one stays as it was
        while True:
            now = self.counters(fields, at)
            own = {k: v for k, v in now.items() if k.startswith("ad_clicks")}
            asked = [same | {"counters": old | own}, same | {"counters": old}]
            reply = self.client.post("/v1/predict", json={"impressions": asked}).json()
            new, was = (one["probability"] for one in reply["predictions"])
            if new != was:
                break
            time.sleep(0.002)  # the server has other things to do
            if time.perf_counter() - accepted > 60:
                raise SystemExit("a click did not move its ad in 60 s")
        seconds = time.perf_counter() - accepted
        self.trained = int(self.client.get("/v1/model").json()["events"])
        self.moved.append(abs(new - was))
        return seconds


@contextlib.contextmanager
def process(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs meanwhile; what it says is in the folder."""
    with (folder / f"{arguments[0]}.txt").open("ab") as said:
        running = subprocess.Popen([*COMMAND, *arguments], stdout=said, stderr=said, cwd=folder)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def embedded(folder: Path, workers: int) -> Iterator[tuple[str, str]]:
    """`clicktide up`: its URL and its log."""
    port = free_port()
    up = ["up", "--port", str(port), "--workers", str(workers), "--no-register"]
    with process(*up, folder=folder):
        yield f"http://127.0.0.1:{port}", str(folder / "run" / "log.db")


@contextlib.contextmanager
def through_kafka(folder: Path, address: str, workers: int) -> Iterator[tuple[str, str]]:
    """The same processes on Kafka; the server follows the weights in the log."""
    from streaming.log import open_log
    from streaming.settings import StreamSettings
    from tests.helpers.valkey_server import start_valkey

    log, port = f"kafka://{address}?prefix=f{os.getpid()}.", free_port()
    with open_log(log) as opened:
        opened.create_topics(StreamSettings().topics())
    store = start_valkey(folder)
    of = ["--log", log, "--spec", "market"]
    here = ["--port", str(port), "--workers", str(workers), "--redis", store.url]
    try:
        with contextlib.ExitStack() as stack:
            for arguments in (
                ["join", "--log", log],
                ["count", *of, "--redis", store.url],
                ["train", *of, "--publish-weights"],
                ["serve", *of, "--follow", *here],
            ):
                stack.enter_context(process(*arguments, folder=folder))
            yield f"http://127.0.0.1:{port}", log
    finally:
        store.stop()


def has_learned(url: str, events: int) -> bool:
    """Whether the served model knows so many events."""
    try:
        reply = httpx.get(f"{url}/v1/model", timeout=20)
    except httpx.TransportError:
        return False
    return reply.status_code == 200 and int(reply.json()["events"]) >= events


def measure(
    url: str, log: str, clicks: int, rate: float, history: int, seconds: float
) -> dict[str, Any]:
    """Learn, load, click."""
    source = f"sim:stationary?events={history}"
    replay = ["replay", source, "--to", log, "--spec", "market", "--shift", HISTORY_BEGAN]
    done = subprocess.run([*COMMAND, *replay], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    wait(lambda: has_learned(url, history), 300, "the model to learn")
    background, served = Background(url, rate), Served(url)
    # a connection for each call: whichever worker takes it
    with httpx.Client(base_url=url, timeout=60) as client, httpx.Client(base_url=url) as to:
        probe = Probe(client, to)
        for thread in (background, served):
            thread.start()
        time.sleep(3.0)
        took = [probe.click(n) for n in range(clicks)]
        time.sleep(max(0.0, background.begun + seconds - time.monotonic()))
        reached, accepted = background.reached(), dict(background.accepted)
        # the last of them are learned while it goes on
        due = [at for at in accepted.values() if at < background.begun + seconds - 40.0]
        for thread in (background, served):
            thread.over.set()
            thread.join(30)
    took.sort()
    weights = weights_s(log, accepted, served)
    return {
        "clicks": clicks,
        "events_per_s": round(reached),
        "refused_batches": background.failed,
        "p50_ms": round(1000 * statistics.median(took), 1),
        "p99_ms": round(1000 * took[min(len(took) - 1, int(0.99 * len(took)))], 1),
        "max_ms": round(1000 * took[-1], 1),
        "weights_clicks": f"{len(weights)} of {len(accepted)}, {len(due)} of them due",
        "weights_p50_s": round(statistics.median(weights), 2) if weights else None,
        "weights_p99_s": round(weights[int(0.99 * len(weights))], 2) if weights else None,
        "weights_max_s": round(weights[-1], 2) if weights else None,
        "asked": probe.asked,
        "store_late": probe.late,
        "smallest_change": min(probe.moved),
        "events_learned": probe.trained,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--history", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=120.0, help="at least so long")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kafka", help="host:port of a broker; the embedded log if absent")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clicktide-freshness-") as top:
        folder = Path(top)
        stream = (
            through_kafka(folder, given.kafka, given.workers)
            if given.kafka
            else embedded(folder, given.workers)
        )
        with stream as (url, log):
            wait(lambda: Path(log).exists() or bool(given.kafka), 60, "the log")
            tally = measure(url, log, given.clicks, given.rate, given.history, given.seconds)
    print(json.dumps(tally, indent=1))


if __name__ == "__main__":
    main()
