"""What late labels cost: joiner and learner on the simulated market with its click delays.

    python benchmarks/delays.py --events 100000 --seeds 3
    python benchmarks/delays.py --scenarios abrupt,abrupt+slow --label-after 15,30,60,600

Each impression is predicted by what had been joined and learned when it was shown; event time
passes in steps. Label after 0: each label is there at once; 600: the join window alone. ``+slow``:
click delays triple half-way. ``+outage``: no click arrives for 300 s, at 60 %, and those of that
time arrive afterwards.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measures import Bench
from benchmarks.report import Section, Table
from features.hashed import Hashed
from features.spec_file import load_spec
from learning.click_learner import ClickLearner, probabilities
from learning.stack import LATE
from market.simulation import simulate
from streaming.joiner import (
    CLICKS,
    IMPRESSIONS,
    EmitExample,
    Idle,
    Instruction,
    Joiner,
    JoinerSettings,
    Record,
    Stalled,
    TopicKind,
)

__all__ = ["Market", "delays", "play"]

STEP_MS = 2_000
OUTAGE_MS = 300_000
JOIN_S = 600.0
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Market:
    """Impressions by time, their clicks (as they arrive), and the truth."""

    hashed: Hashed
    times: NDArray[np.int64]
    labels: F64
    clicks: NDArray[np.int64]
    arrivals: NDArray[np.int64]
    truth: F64

    @classmethod
    def simulated(cls, scenario: str, seed: int, events: int, fault: str) -> Market:
        """Play the market, with a fault of the clicks' ways or ``""``."""
        columns = ["timestamp", "click", "click_delay_ms", "p_true"]
        spec = load_spec("sim")
        vectoriser = ClickLearner(spec).vectoriser
        assert vectoriser is not None
        wanted = list(dict.fromkeys([*vectoriser.columns, *columns]))
        batches = list(simulate(scenario, seed=seed, events=events, columns=wanted))
        rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        hashed, _ = vectoriser.hash_batch(rows, learn=False)
        times = rows["timestamp"].cast(pa.int64()).to_numpy()
        delays = rows["click_delay_ms"].to_numpy()
        if fault == "slow":
            delays = np.where(np.arange(len(times)) >= len(times) // 2, 3 * delays, delays)
        clicks = arrivals = times + delays
        if fault == "outage":
            begin = times[6 * len(times) // 10]
            stuck = (arrivals >= begin) & (arrivals < begin + OUTAGE_MS)
            arrivals = np.where(stuck, begin + OUTAGE_MS, arrivals)
        labels = rows["click"].to_numpy().astype(float)
        return cls(hashed, times, labels, clicks, arrivals, rows["p_true"].to_numpy())

    def steps(self) -> Iterator[slice]:
        """Rows by step of event time."""
        number = self.times // STEP_MS
        cuts = np.flatnonzero(np.diff(number)) + 1
        for start, stop in zip([0, *cuts], [*cuts, len(self.times)], strict=True):
            yield slice(int(start), int(stop))


def play(market: Market, label_after_s: float, **settings: float) -> dict[str, float]:
    """Learn a market as its labels come; figures of the predictions."""
    learner, p = ClickLearner(load_spec("sim")), np.zeros(len(market.times))
    stream = _Stream(market, learner, label_after_s, settings) if label_after_s else None
    for rows in market.steps():
        hashed = market.hashed.part(rows.start, rows.stop)
        if stream is None:
            logits = learner.learn_hashed(hashed, market.labels[rows])
        else:
            stream.reach(int(market.times[rows.start]))
            logits = learner.predict_hashed(hashed)
        p[rows] = probabilities(logits)
        if stream is not None:
            stream.show(rows, p)
    return _figures(market, p) | ({} if stream is None else {"stalls": stream.stalls})


class _Stream:
    """The joiner before the learner."""

    def __init__(
        self,
        market: Market,
        learner: ClickLearner,
        label_after_s: float,
        settings: dict[str, float],
    ) -> None:
        self.market, self.learner = market, learner
        windows = JoinerSettings(join_window_s=JOIN_S, label_after_s=label_after_s, **settings)  # type: ignore[arg-type]
        self.early = windows.has_early_labels
        self.joiner = Joiner(windows)
        clicked = np.flatnonzero(market.labels)
        self.order = clicked[np.lexsort((market.clicks[clicked], market.arrivals[clicked]))]
        self.next, self.offsets = 0, {IMPRESSIONS: 0, CLICKS: 0}
        self.out: list[Instruction] = []
        self.stalls = 0

    def show(self, rows: slice, p: F64) -> None:
        """Publish impressions."""
        for row in range(rows.start, rows.stop):
            self._send(IMPRESSIONS, row, int(self.market.times[row]), probability=float(p[row]))
        self._learn(self.out)
        self.out = []

    def reach(self, now: int) -> None:
        """Publish the clicks until now, join, and learn what comes out."""
        while self.next < len(self.order):
            row = int(self.order[self.next])
            if self.market.arrivals[row] >= now:
                break
            self._send(CLICKS, row, int(self.market.clicks[row]))
            self.next += 1
        for kind in (IMPRESSIONS, CLICKS):
            self.out += self.joiner.step(Idle(kind, 0))
        self._learn(self.out)
        self.out = []

    def _send(self, topic: TopicKind, row: int, ts: int, **more: float) -> None:
        name = "impression" if topic == IMPRESSIONS else "click"
        event = {"v": 1, "type": name, "impression_id": str(row), "timestamp": ts, **more}
        offset = self.offsets[topic]
        self.offsets[topic] += 1
        self.out += self.joiner.step(Record(topic, 0, offset, json.dumps(event).encode()))

    def _learn(self, out: list[Instruction]) -> None:
        """Learn what came out, rows that follow each other at once: the same to the bit."""
        self.stalls += sum(isinstance(it, Stalled) for it in out)
        examples = [it for it in out if isinstance(it, EmitExample) and it.early == self.early]
        rows = [int(it.impression_id) for it in examples]
        labels = [LATE if it.correction else float(it.label) for it in examples]
        begin = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or rows[end] != rows[end - 1] + 1:
                hashed = self.market.hashed.part(rows[begin], rows[end - 1] + 1)
                self.learner.learn_hashed(hashed, np.array(labels[begin:end]))
                begin = end


def _figures(market: Market, p: F64) -> dict[str, float]:
    q, rows = market.truth, len(p)
    excess = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    half, sixty = slice(rows // 2, rows), slice(6 * rows // 10, rows)
    after = slice(rows // 2, rows // 2 + 20_000)
    return {
        "excess": 1e4 * excess.mean(),
        "after": 1e4 * excess[after].mean(),
        "last_half": 1e4 * excess[half].mean(),
        "last_40": 1e4 * excess[sixty].mean(),
        "ratio": p[half].sum() / q[half].sum(),
        "ratio_clicks": p[half].sum() / market.labels[half].sum(),
    }


LABELS = (0.0, 30.0, JOIN_S)
SCENARIOS = {
    "abrupt": "abrupt",
    "campaign": "campaign",
    "abrupt+slow": "delays triple half-way",
    "abrupt+outage": "300 s without clicks",
}


def means(name: str, after_s: float, events: int, seeds: int) -> dict[str, float]:
    """Figures of a scenario, and perhaps a fault, in the mean of some markets."""
    scenario, _, fault = name.partition("+")
    found = [play(Market.simulated(scenario, n, events, fault), after_s) for n in range(seeds)]
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


def delays(bench: Bench) -> Section:
    """What late labels cost."""
    rows, events = [], bench.sizes.market
    for name, said in SCENARIOS.items():
        for after_s in LABELS:
            bench.say(f"labels after {after_s:g} s: {said}")
            of = means(name, after_s, events, bench.sizes.markets)
            label = f"{after_s:g} s" if after_s else "at once"
            figures = f"{of['excess']:.0f}", f"{of['after']:.0f}", f"{of['ratio']:.3f}"
            rows.append((said, label, *figures))
    return Section(
        "Labels within seconds",
        f"The joiner and the default learner on the simulated market, {events:,} impressions, "
        f"means of {bench.sizes.markets} seeds, click delays as simulated. KL divergence of the "
        "prediction from the true probability in .0001: of all events, and of the 20,000 after the "
        "change half-way; predicted over true probability in the last half. "
        f"{JOIN_S:g} s: the join window alone.",
        [Table(("", "label", "KL", "after the change", "predicted / true"), rows)],
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--label-after", default="0,30,600")
    asked = parser.parse_args()
    print("KL to the true probability, in .0001; predicted / true in the last half")
    for name in asked.scenarios.split(","):
        for after in map(float, asked.label_after.split(",")):
            of = means(name, after, asked.events, asked.seeds)
            text = " ".join(f"{key} {value:8.4g}" for key, value in of.items())
            print(f"{name:16} {after:5g} s  {text}", flush=True)


if __name__ == "__main__":
    main()
