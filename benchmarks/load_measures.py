"""What the load test measures, in rounds taken in turns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load_client import closed_loop, open_loop, percentile_ms, requests_per_s
from benchmarks.load_stage import Server, Stage, cpu_s

__all__ = ["Figures", "Load", "Times"]

_AD = ("ad", "campaign", "advertiser", "ad_category")
_RANK_RATE = 50
_BACKLOG = 30


@dataclass(frozen=True, slots=True)
class Times:
    """How often and how long each is measured, in seconds."""

    rounds: int = 5
    each_s: float = 3.0
    rank_s: float = 6.0


@dataclass(slots=True)
class Figures:
    """What was measured, by name: one value a round; and what could not be, and why."""

    runs: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Note a round's value."""
        self.runs.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> float:
        """The median."""
        return median(self.runs[name])

    def __contains__(self, name: str) -> bool:
        return name in self.runs


class Load:
    """The servers and what they are asked.

    Parameters
    ----------
    stage
        With a learned model.
    times
        How long.
    say
        Takes a line for who waits.
    """

    def __init__(self, stage: Stage, times: Times, say: Callable[[str], None]) -> None:
        self.stage, self.times, self.say, self.figures = stage, times, say, Figures()
        say("starting the servers")
        self.ours, self.empty, self.mlflow = stage.clicktide(), stage.empty(), stage.mlflow()
        shown = stage.shown(20_000)
        self.one = [_json({"fields": fields}) for fields in shown[-2_000:]]
        self.one_file = self._file("one", self.one)
        self.mlflow_file = self._file("mlflow", list(self._of_mlflow(shown[-300:])))
        ads = list({one["ad"]: {name: one[name] for name in _AD} for one in shown}.values())
        self.rank_200 = [_rank(fields, ads, 200, at) for at, fields in enumerate(shown[-200:])]
        self.rank_1000 = [_rank(fields, ads, 1000, at) for at, fields in enumerate(shown[-50:])]
        self.predict_1000 = [
            _json({"impressions": [{"fields": f} for f in shown[at : at + 1000]]})
            for at in range(0, 19_000, 1000)
        ]

    def _file(self, name: str, bodies: Sequence[bytes]) -> Path:
        path = self.stage.folder / f"{name}.jsonl"
        path.write_bytes(b"\n".join(bodies) + b"\n")
        return path

    def _of_mlflow(self, shown: Sequence[dict[str, Any]]) -> Iterator[bytes]:
        """The same impressions as a frame, with the counter values that we would read.

        Raises
        ------
        RuntimeError
            The two do not predict the same.
        """
        for at, fields in enumerate(shown):
            now = time.time_ns() // 1_000_000
            [told] = self.ours.ask("/v1/predict", {"fields": fields, "timestamp": now})[
                "predictions"
            ]
            served = {f"counter:{name}": value for name, value in told["counters"].items()}
            body = {"dataframe_records": [{**fields, "timestamp": now, **served}]}
            if at < 20:
                [theirs] = self.mlflow.ask("/invocations", body)["predictions"]
                if theirs != told["probability"]:
                    raise RuntimeError(f"MLflow says {theirs}, we say {told['probability']}")
            yield _json(body)

    # --- requests a second --------------------------------------------------------------------

    def most(self) -> None:
        """As many single predictions as come, each in turn."""
        asked = {
            "predict": (self.ours, "/v1/predict", self.one_file),
            "typed": (self.empty, "/typed", self.one_file),
            "raw": (self.empty, "/raw", self.one_file),
            "mlflow": (self.mlflow, "/invocations", self.mlflow_file),
        }
        for name, (server, path, bodies) in asked.items():
            requests_per_s(server.url + path, bodies, 1.0)
            self.say(f"{name} is warm")
        for _ in self._rounds("requests/s"):
            for name, (server, path, bodies) in asked.items():
                before = server.cpu_s()
                rate = requests_per_s(server.url + path, bodies, self.times.each_s)
                self.figures.add(f"{name} requests/s", rate)
                if server is not self.mlflow:  # whose process has started another
                    spent = (server.cpu_s() - before) / (rate * self.times.each_s)
                    self.figures.add(f"{name} server CPU µs", 1e6 * spent)

    # --- latencies ----------------------------------------------------------------------------

    def latencies(self) -> None:
        """Single predictions and empty answers at half of our highest rate."""
        rate = self._rate()
        for seed in self._rounds(f"p99 at {rate:,.0f}/s"):
            for name, server, path in self._endpoints():
                flow = open_loop(server.url + path, self.one, rate, self.times.each_s, seed)
                self._note(name, flow)

    def _rate(self) -> float:
        """Half of our highest."""
        if "rate" not in self.figures:
            if "predict requests/s" not in self.figures:
                self.most()
            self.figures.add("rate", self.figures["predict requests/s"] / 2)
        return self.figures["rate"]

    def _endpoints(self) -> Iterator[tuple[str, Server, str]]:
        yield "predict", self.ours, "/v1/predict"
        yield "typed", self.empty, "/typed"
        yield "raw", self.empty, "/raw"

    def _note(self, name: str, flow: Any) -> None:
        self.figures.add(f"{name} p50 ms", percentile_ms(flow, 50))
        self.figures.add(f"{name} p99 ms", percentile_ms(flow, 99))

    def rank(self) -> None:
        """Rankings of 200 candidates at 50 requests/s."""
        for seed in self._rounds("rank, 200 candidates"):
            flow = open_loop(
                self.ours.url + "/v1/rank", self.rank_200, _RANK_RATE, self.times.rank_s, seed
            )
            self._note("rank", flow)

    # --- large requests -----------------------------------------------------------------------

    def large(self) -> None:
        """Candidates a second of CPU time, the server's and with the store's."""
        asked = {"rank": self.rank_1000, "predict": self.predict_1000}
        for _ in self._rounds("large requests"):
            for name, bodies in asked.items():
                url = f"{self.ours.url}/v1/{name}"
                before, store = self.ours.cpu_s(), cpu_s(self.stage.store_id)
                flow = closed_loop(url, bodies, self.times.each_s, connections=2)
                if flow.errors:
                    raise RuntimeError(f"{url}: {flow.errors} errors")
                cpu, scored = self.ours.cpu_s() - before, 1000 * len(flow.latencies_s)
                both = cpu + cpu_s(self.stage.store_id) - store
                self.figures.add(f"{name} scored/cpu s", scored / cpu)
                self.figures.add(f"{name} scored/cpu s with store", scored / both)

    # --- beside the trainer -------------------------------------------------------------------

    def training(self) -> None:
        """Single predictions while the trainer learns, and while it is held still."""
        rate = self._rate()
        self.say("starting the trainer")
        self.stage.more_to_learn(_BACKLOG)
        trainer = self.stage.trainer()
        url = self.ours.url + "/v1/predict"
        for seed in self._rounds("beside the trainer"):
            for name, still in ("quiet", True), ("training", False):
                trainer.hold(still)
                time.sleep(0.5)
                before, start = trainer.events, time.perf_counter()
                self._note(name, open_loop(url, self.one, rate, self.times.each_s, seed))
                learned = (trainer.events - before) / (time.perf_counter() - start)
                self.figures.add(f"{name} learned/s", learned)
        trainer.hold(False)

    def _rounds(self, what: str) -> Iterator[int]:
        for at in range(self.times.rounds):
            self.say(f"{what}: round {at + 1} of {self.times.rounds}")
            yield at


def _json(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _rank(fields: dict[str, Any], ads: Sequence[dict[str, Any]], count: int, at: int) -> bytes:
    """A ranking of ads for the user and the place of an impression."""
    chosen = islice(cycle(ads), 7 * at, 7 * at + count)
    return _json({
        "context": {name: value for name, value in fields.items() if name not in _AD},
        "candidates": [{"fields": ad, "bid": 1 + i % 5 / 10} for i, ad in enumerate(chosen)],
    })  # fmt: skip
