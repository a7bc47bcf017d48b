"""Whether live weights that do harm are rolled back by themselves, on the whole running system.

``python -m benchmarks.guard_study [--faults 5] [--rate 600]``: ``clicktide up`` with the market's
spec; a simulated log is served and published at so many impressions a second. Five times,
weights are overwritten with noise (and put back once it was seen); five times, for ten minutes of
event time, who clicked and who did not is swapped; at last a field is gone. Printed for each:
seconds from the fault until the champion is served, and the calibration (predicted over true
probability, the simulator's) of what was served before, until then, and in the next 5,000
impressions. Some 20 minutes.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
from monitoring.watch.alarm_actions import ActionReader, AlarmAction
from streaming.log import EventLog, TopicPartition, open_log

COMMAND = [sys.executable, "-m", "clicktide"]
PER_S = 40.0
FLIPPED = int(600 * PER_S)
WARM, EACH, LAST = 130_000, 60_000, 40_000
AFTER = 5_000
SETTINGS = (
    "join.join_window_s=90", "registry.version_every_s=20", "registry.gate.min_examples=2000",
    "registry.metrics_every_s=60", "monitor.repair.on=false",
)  # fmt: skip
MARKET = MarketSettings(click_rate=0.05, impressions_per_s=PER_S, max_click_delay_ms=80_000)
TOPIC = TopicPartition("impressions", 0)


class _Served(msgspec.Struct):
    """What an impression says of its prediction."""

    probability: float = np.nan
    model_version: str = ""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong from an impression on."""

    kind: str
    at: int


def faults(count: int) -> list[Fault]:
    """Noise and swapped labels in turns, then the field that is gone."""
    places = [WARM + EACH * n for n in range(2 * count)]
    kinds = ("noise", "labels") * count
    gone = Fault("field gone", places[-1] + EACH)
    return [*(Fault(kind, at) for kind, at in zip(kinds, places, strict=True)), gone]


def write_log(file: Path, wrong: list[Fault]) -> np.ndarray:
    """The log that is replayed, and the true probabilities of its impressions."""
    rows = wrong[-1].at + LAST
    parts = list(simulate("stationary", seed=3, events=rows, market=MARKET))
    table = pa.Table.from_batches(parts)
    at, click = np.arange(rows), table["click"].to_numpy()
    truth = table["p_true"].to_numpy()
    flip = np.zeros(rows, bool)
    for fault in wrong:
        flip |= (fault.kind == "labels") & (at >= fault.at) & (at < fault.at + FLIPPED)
    delay = table["click_delay_ms"].to_numpy()
    rng = np.random.default_rng(5)
    some = rng.choice(delay[click > 0], rows)
    site = pa.array(table["site"].to_pylist(), pa.string(), mask=at >= wrong[-1].at)
    for name, column in (
        ("click", np.where(flip, 1 - click, click)),
        ("click_delay_ms", np.where(flip & (click == 0), some, delay)),
        ("site", site),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(column))
    pq.write_table(table, file)
    return np.where(flip, 1 - truth, truth)


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


def noise(file: Path, rng: np.random.Generator) -> list[tuple[Any, np.ndarray]]:
    """Overwrite the live weights; what they were, to put back."""
    weights, old = open_live(file), []
    base = weights.header.ctypes.data
    for table in (weights.learner.weights.fields, weights.learner.weights.crosses):
        live = np.memmap(
            file, table.dtype, "r+", offset=table.ctypes.data - base, shape=table.shape
        )
        old.append((live, live.copy()))
        for column in (0, table.shape[1] - 1):
            live[:, column] = rng.normal(rng.choice([-2.0, 2.0]), 3.0, len(table))
    return old


def served(log: EventLog, first: int, stop: int) -> tuple[np.ndarray, list[str]]:
    """Probabilities and versions that were served of some impressions."""
    decode, p, version = msgspec.json.Decoder(_Served).decode, [], []
    while first < stop and (records := log.read(TOPIC, first, 2_000)):
        for record in records:
            of = decode(record.value)
            p.append(of.probability)
            version.append(of.model_version)
        first = records[-1].offset + 1
    return np.array(p[: stop - first + len(p)]), version


class Study:
    """One run."""

    def __init__(self, folder: Path, log: EventLog, url: str, truth: np.ndarray) -> None:
        self.folder, self.log, self.url, self.truth = folder, log, url, truth
        self.actions = ActionReader(log)

    def shown(self) -> int:
        """Impressions so far."""
        return self.log.end_offsets(TOPIC.topic)[0]

    def version(self) -> str:
        """What is served now."""
        body = {"fields": {"ad": "a"}}
        reply = httpx.post(f"{self.url}/v1/predict", json=body, timeout=20)
        version: str = reply.json()["model_version"]
        return version

    def ratio(self, first: int, stop: int) -> str:
        """Predicted over true probability of some impressions."""
        p, _ = served(self.log, first, stop)
        true = self.truth[first : first + len(p)]
        some = ~np.isnan(p)
        return f"{p[some].sum() / true[some].sum():.2f}" if some.any() else "-"

    def last_action(self) -> AlarmAction | None:
        """What the guard did last."""
        self.actions.read()
        return self.actions.actions[-1] if self.actions.actions else None

    def is_live(self) -> bool:
        """Whether live weights are served."""
        return self.version().startswith("live")

    def run(self, fault: Fault, rng: np.random.Generator) -> str:
        """Wait for a fault, and say what became of it."""
        wait(lambda: self.shown() >= fault.at, "impressions", 900)
        if not self.is_live():
            wait(self.is_live, "live weights served before the next fault", 60)
        began, first = time.monotonic(), self.shown()
        old = noise(self.folder / "run" / "live.weights", rng) if fault.kind == "noise" else []
        took = "not rolled back"
        with suppress(TimeoutError):
            wait(lambda: not self.is_live(), "the champion", 60 if fault.kind != "labels" else 120)
            took = f"{time.monotonic() - began:.1f} s"
        end = self.shown()
        wait(lambda: self.shown() >= end + AFTER, "more impressions")
        for live, was in old:
            live[:] = was
        action = self.last_action()
        why = action.why if action and action.what == "roll_back" else ""
        ratios = (self.ratio(first - AFTER, first), self.ratio(first, end),
                  self.ratio(end + 500, end + AFTER))  # fmt: skip
        return f"| {fault.kind} | {took} | {' | '.join(ratios)} | {why} |"


def main() -> None:
    """Print a row per fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=5, help="of each kind")
    parser.add_argument("--rate", type=float, default=600.0, help="impressions a second")
    options = parser.parse_args()
    wrong, rng, port = faults(options.faults), np.random.default_rng(0), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder, url = Path(name), f"http://127.0.0.1:{port}"
        truth = write_log(folder / "log.parquet", wrong)
        with running(folder, port):
            wait(lambda: httpx.get(f"{url}/readyz").status_code == 200, "an answer")
            replay = [*COMMAND, "replay", str(folder / "log.parquet"), "--spec", "market"]
            to = ["--to", str(folder / "run" / "log.db"), "--through", url]
            pace = ["--speed", str(options.rate / PER_S)]
            with (folder / "replay.txt").open("wb") as out:
                publisher = subprocess.Popen([*replay, *to, *pace], stdout=out, stderr=out)
            try:
                with open_log(str(folder / "run" / "log.db")) as log:
                    study = Study(folder, log, url, truth)
                    print(
                        "| fault | champion served after | before | until then | next 5,000 | why |"
                    )
                    print("|---|---|---|---|---|---|")
                    for fault in wrong:
                        print(study.run(fault, rng), flush=True)
            finally:
                publisher.send_signal(signal.SIGINT)
                publisher.wait()
                keep = os.environ.get("CLICKTIDE_KEEP")
                for text in ("up.txt", "replay.txt"):
                    if keep:
                        (Path(keep) / text).write_bytes((folder / text).read_bytes())


if __name__ == "__main__":
    main()
