"""Whether live weights that do harm are rolled back by themselves, on the whole running system.

``python -m benchmarks.guard_study [--faults 5] [--rate 400]``: ``clicktide up`` with the market's
spec runs until it has a champion, and is stopped. From there on it is started anew for each fault,
with a simulated log that is served and published at so many impressions a second. Five times, live
weights are overwritten with noise; five times, for ten minutes of event time, who clicked and who
did not is swapped; at last a field is gone. Printed for each: seconds from the fault until the
champion is served, and the calibration (predicted over true probability, the simulator's) of what
was served before, until then, and in the next 5,000 impressions. Some 20 minutes.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clicktide.valkey import free_port
from learning.live import open_live
from market import MarketSettings, simulate
from market.impressions import BLOCK
from monitoring.watch.alarm_actions import ActionReader
from streaming.log import EventLog, TopicPartition, open_log

COMMAND = [sys.executable, "-m", "clicktide"]
PER_S = 40.0
SETTLE, AFTER, MOST = 10_000, 5_000, 5_000_000
SETTINGS = (
    "join.join_window_s=90", "registry.version_every_s=20", "registry.gate.min_examples=2000",
    "registry.metrics_every_s=60", "monitor.repair.on=false",
)  # fmt: skip
MARKET = MarketSettings(click_rate=0.05, impressions_per_s=PER_S, max_click_delay_ms=80_000)
TOPIC = TopicPartition("impressions", 0)


class _Served(msgspec.Struct):
    """What an impression says of its prediction."""

    probability: float = np.nan


class Publisher(threading.Thread):
    """Publishes the simulated log in parts, each served by the API, as told with wrong labels.

    Attributes
    ----------
    swap
        Whether who clicked and who did not is swapped.
    gone
        Whether a field is.
    truth
        Of all impressions published: the true probability, of clicks as they were.
    """

    def __init__(self, folder: Path, url: str, rate: float, first: int) -> None:
        super().__init__(daemon=True)
        self.first = first
        self.folder, self.rate, self.over = folder, rate, threading.Event()
        self.to = ["--to", str(folder / "run" / "log.db"), "--through", url, "--no-end"]
        self.swap = self.gone = False
        self.truth: list[float] = []
        self.rng = np.random.default_rng(5)

    def run(self) -> None:
        """Part after part, from the first on."""
        parts = simulate("stationary", seed=3, events=MOST, start=self.first * BLOCK, market=MARKET)
        for number, batch in enumerate(parts, self.first):
            if self.over.is_set():
                return
            file = self.folder / f"part-{number}.parquet"
            pq.write_table(pa.Table.from_batches([self.part(batch)]), file)
            command = [*COMMAND, "replay", str(file), "--spec", "market", *self.to]
            with (self.folder / "replay.txt").open("wb") as out:
                pace = ["--speed", str(self.rate / PER_S)]
                subprocess.run([*command, *pace], stdout=out, stderr=out, check=True)
            file.unlink()

    def part(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows as they are to be published."""
        click, delay = batch["click"].to_numpy(), batch["click_delay_ms"].to_numpy()
        truth = batch["p_true"].to_numpy()
        columns = {name: batch[name] for name in batch.schema.names}
        if self.swap:
            some = self.rng.choice(delay[click > 0], len(click))
            columns["click"] = pa.array(1 - click)
            columns["click_delay_ms"] = pa.array(np.where(click > 0, delay, some))
        if self.gone:
            columns["site"] = pa.nulls(len(click), pa.string())
        self.truth += truth.tolist()
        return pa.RecordBatch.from_pydict(columns)


@contextmanager
def running(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The whole system, until it answers."""
    settings = [word for one in SETTINGS for word in ("--set", one)]
    with (folder / "up.txt").open("wb") as out:
        command = [*COMMAND, "up", "--dir", str(folder / "run"), "--spec", "market"]
        up = subprocess.Popen([*command, "--port", str(port), *settings], stdout=out, stderr=out)
    try:
        yield up
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()


def wait(holds: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + seconds
    while True:
        with suppress(httpx.HTTPError, OSError, msgspec.DecodeError):
            if found := holds():
                return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.1)


def noise(file: Path, rng: np.random.Generator) -> None:
    """Overwrite the live weights."""
    weights = open_live(file)
    base = weights.header.ctypes.data
    for table in (weights.learner.weights.fields, weights.learner.weights.crosses):
        offset = table.ctypes.data - base
        live = np.memmap(file, table.dtype, "r+", offset=offset, shape=table.shape)
        for column in (0, table.shape[1] - 1):
            live[:, column] = rng.normal(rng.choice([-2.0, 2.0]), 3.0, len(table))


def served(log: EventLog, first: int, stop: int) -> np.ndarray:
    """Probabilities that were served of some impressions."""
    decode, p = msgspec.json.Decoder(_Served).decode, []
    while len(p) < stop - first and (records := log.read(TOPIC, first + len(p), 2_000)):
        p += [decode(record.value).probability for record in records]
    return np.array(p[: stop - first])


class Study:
    """One run."""

    def __init__(
        self, folder: Path, log: EventLog, url: str, publisher: Publisher, seed: int
    ) -> None:
        self.folder, self.log, self.url, self.publisher = folder, log, url, publisher
        self.actions = ActionReader(log)
        self.rng = np.random.default_rng(seed)

    def shown(self) -> int:
        """Impressions so far."""
        return self.log.end_offsets(TOPIC.topic)[0]

    def is_live(self) -> bool:
        """Whether live weights are served."""
        reply = httpx.post(f"{self.url}/v1/predict", json={"fields": {"ad": "a"}}, timeout=20)
        return bool(reply.json()["model_version"].startswith("live"))

    def has_champion(self) -> bool:
        """Whether there is a version to go back to."""
        told = msgspec.json.decode((self.folder / "run/served/served.json").read_bytes())
        return "champion" in told["versions"]

    def ratio(self, first: int, stop: int) -> str:
        """Predicted over true probability of some impressions."""
        p = served(self.log, first, stop)
        at = first - self.publisher.first * BLOCK
        true, some = np.array(self.publisher.truth[at : at + len(p)]), ~np.isnan(p)
        return f"{p[some].sum() / true[some].sum():.2f}" if some.any() else "-"

    def pass_by(self, rows: int) -> int:
        """Wait for so many more impressions; how many there are then."""
        until = self.shown() + rows
        wait(lambda: self.shown() >= until, "impressions")
        return until

    def fault(self, kind: str) -> str:
        """Do harm, and say what became of it."""
        wait(lambda: self.has_champion() and self.is_live(), "live weights, beside a champion")
        first = self.pass_by(SETTLE)
        self.publisher.swap, self.publisher.gone = kind == "labels", kind == "field gone"
        if kind == "noise":
            noise(self.folder / "run" / "live.weights", self.rng)
        else:  # from the next part on
            first = self.pass_by(BLOCK - first % BLOCK)
        began, took = time.monotonic(), "not rolled back"
        with suppress(TimeoutError):
            wait(lambda: not self.is_live(), "the champion", 60.0)
            took = f"{time.monotonic() - began:.1f} s"
        end = self.shown()
        after = self.pass_by(AFTER)
        self.actions.read()
        back = [one for one in self.actions.actions if one.what == "roll_back"]
        why = back[-1].why if back else ""
        ratios = self.ratio(first - AFTER, first), self.ratio(first, end)
        return f"| {kind} | {took} | {' | '.join(ratios)} | {self.ratio(end, after)} | {why} |"


@contextmanager
def study(folder: Path, rate: float, seed: int = 0) -> Iterator[Study]:
    """The system in a folder, with its publisher, from where it was on."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(folder, port):
        wait(lambda: httpx.get(f"{url}/readyz").status_code == 200, "an answer")
        with open_log(str(folder / "run" / "log.db")) as log:
            shown = log.end_offsets(TOPIC.topic)[0] if TOPIC.topic in log.topics() else 0
            publisher = Publisher(folder, url, rate, shown // BLOCK)
            publisher.start()
            try:
                yield Study(folder, log, url, publisher, seed)
            finally:
                publisher.over.set()
                publisher.join()


def main() -> None:
    """Print a row per fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=5, help="of each kind")
    parser.add_argument("--rate", type=float, default=400.0, help="impressions a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, begun = Path(name) / "now", Path(name) / "begun"
        folder.mkdir()
        with study(folder, options.rate) as first:
            wait(first.has_champion, "a champion", 900)
        folder.rename(begun)
        print("| fault | champion served after | before | until then | since | why |")
        print("|---|---|---|---|---|---|", flush=True)
        kinds = [*("noise", "labels") * options.faults, "field gone"]
        for number, kind in enumerate(kinds):
            shutil.copytree(begun, folder)
            with study(folder, options.rate, number) as one:
                print(one.fault(kind), flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
