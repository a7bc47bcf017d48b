"""How soon, and how rightly, the detectors find what goes wrong while the model keeps learning.

``python -m benchmarks.drift_study [--seeds 0-19] [--scenarios ...] [--cache DIR]``: streams of a
million simulated impressions at a click rate of 2 % through the real learner; one thing goes
wrong at event 500,000. Predictions are kept in the cache, so detectors are tuned without
learning again. About two minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.drift_judge import Verdict, judge, table
from benchmarks.drift_scenarios import NewAdvertiser, Shift, with_new_advertiser
from features.spec_file import load_spec
from learning.click_learner import ClickLearner, probabilities
from market import MarketSettings, Scenario, simulate
from market.impressions import BLOCK
from market.scenarios import Bots, CampaignShift
from monitoring.watch.categorical import MISSING, Categorical
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.detect.detector import SequentialDetector
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import DetectSettings

EVENTS, CHANGE = 1_000_000, 500_000
BRANCH = CHANGE // BLOCK * BLOCK
LAST = {
    "down50": 300_000, "down30": 450_000, "up50": 300_000, "up100": 300_000, "bots": 150_000,
    "newadv": 300_000, "stale": 120_000,
}  # fmt: skip
"""Events after the change that are simulated, where it is not all."""
PUBLISHED = 500
"""Events between two versions of the live weights."""
LIVE = "live-0a1b2c3d-{}"
HOUR_MS = 3_600_000

# Twenty campaigns with 5 % of the traffic each; the one nearest to 2 % changes. Days of 86,400
# impressions: the change comes on the sixth.
MARKET = MarketSettings(
    click_rate=0.02, impressions_per_s=1.0, campaigns=20, campaign_zipf=0.0,
    ads_per_campaign=20, advertisers=8, categories=6,
)  # fmt: skip
FIELDS = (
    "segment", "ad", "campaign", "advertiser", "ad_category", "site", "placement", "device", "hour",
)  # fmt: skip
# An hour of it is some 75,000 impressions at the time of the change.
FAST = msgspec.structs.replace(MARKET, impressions_per_s=48.0)
LEARNED = (*FIELDS[:-1], "user", "interests", "timestamp", "click", "click_delay_ms", "p_true")
SCENARIOS = (
    "none", "down50", "down30", "up50", "up100", "newadv", "over10", "version", "stale", "missing",
    "delay3", "bots",
)  # fmt: skip
RATIOS = {"down50": 0.5, "down30": 0.7, "up50": 1.5, "up100": 2.0}


@dataclass
class Stream:
    """Predictions with their outcomes, and the truth."""

    columns: dict[str, np.ndarray]
    campaign: int

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def changed(self, **columns: np.ndarray) -> Stream:
        """The same, as long as the new columns, with these."""
        rows = len(next(iter(columns.values())))
        return Stream({k: v[:rows] for k, v in self.columns.items()} | columns, self.campaign)


def learn(learner: ClickLearner, batch: pa.RecordBatch) -> np.ndarray:
    """Predict and learn, event by event."""
    hashed, _ = learner.vectoriser.hash_batch(batch, learn=True)
    return probabilities(learner.learn_hashed(hashed, batch["click"].to_numpy().astype(float)))


def predict(learner: ClickLearner, batch: pa.RecordBatch) -> np.ndarray:
    """Predict without learning."""
    hashed, _ = learner.vectoriser.hash_batch(batch, learn=False)
    return probabilities(learner.predict_hashed(hashed))


def codes(column: pa.Array) -> np.ndarray:
    """Numbers at the ends of names."""
    if pa.types.is_dictionary(column.type):
        return column.indices.to_numpy(zero_copy_only=False)
    return np.array([int(name.lstrip("ad")) for name in column.to_pylist()], np.int32)


def numbers(batch: pa.RecordBatch, p: np.ndarray) -> dict[str, np.ndarray]:
    """What is kept of a batch."""
    return {name: codes(batch[name]) for name in FIELDS[:-1]} | {
        "p": p,
        "y": batch["click"].to_numpy(),
        "time": batch["timestamp"].to_numpy(),
        "delay": batch["click_delay_ms"].to_numpy(),
        "truth": batch["p_true"].to_numpy(),
    }


def stream_of(parts: list[dict[str, np.ndarray]]) -> Stream:
    """The stream of all batches."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["hour"] = columns["time"] // HOUR_MS % 24
    rates = [columns["truth"][columns["campaign"] == c].mean() for c in range(MARKET.campaigns)]
    return Stream(columns, int(np.abs(np.array(rates) - MARKET.click_rate).argmin()))


def ordinary(seed: int) -> tuple[Stream, ClickLearner]:
    """A stream in which nothing happens, and the learner as it is before the change."""
    learner, before, parts = ClickLearner(load_spec("sim")), None, []
    for batch in simulate("stationary", seed=seed, events=EVENTS, market=MARKET, columns=LEARNED):
        if len(parts) * BLOCK == BRANCH:
            before = copy.deepcopy(learner)
        parts.append(numbers(batch, learn(learner, batch)))
    return stream_of(parts), before


def before_change(seed: int) -> ClickLearner:
    """The learner as it is before the change, where the rest of its stream is known."""
    learner = ClickLearner(load_spec("sim"))
    for batch in simulate("stationary", seed=seed, events=BRANCH, market=MARKET, columns=LEARNED):
        learn(learner, batch)
    return learner


def stale(seed: int) -> Stream:
    """All click rates rise by a third, and for an hour the trainer stands: old weights predict.

    A fast market, so that an hour has clicks enough.
    """
    learner, parts, stopped = ClickLearner(load_spec("sim")), [], math.inf
    shift = Shift(change_at=CHANGE, factor=1.35)
    for batch in simulate(
        shift, seed=seed, events=CHANGE + LAST["stale"], market=FAST, columns=LEARNED
    ):
        first, time = len(parts) * BLOCK, batch["timestamp"].to_numpy()
        if first <= CHANGE < first + BLOCK:
            stopped = time[CHANGE - first]
        old = (time >= stopped) & (time < stopped + HOUR_MS)
        p = np.empty(len(old))
        for part, how in ((~old, learn), (old, predict)):
            if part.any():
                p[part] = how(learner, batch.filter(pa.array(part)))
        parts.append(numbers(batch, p))
    found = stream_of(parts)
    learned = np.arange(len(found["p"])) // PUBLISHED * PUBLISHED
    idle = (found["time"] >= stopped) & (found["time"] < stopped + HOUR_MS)
    learned[idle] = CHANGE // PUBLISHED * PUBLISHED
    return found.changed(learned=learned)


def odds_for(ratio: float, truth: np.ndarray) -> float:
    """By which to multiply the odds so that the click rate is multiplied by ``ratio``."""
    low, high, logit = -5.0, 5.0, np.log(truth / (1 - truth))
    for _ in range(60):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-logit - middle))).mean() < ratio * truth.mean():
            low = middle
        else:
            high = middle
    return math.exp(low)


def scenario(name: str, stream: Stream) -> Scenario:
    """What the simulator is to do."""
    if name == "bots":
        return Bots(change_at=CHANGE)
    if name == "newadv":
        return NewAdvertiser(change_at=CHANGE, factor=6.0)
    truth = stream["truth"][CHANGE:][stream["campaign"][CHANGE:] == stream.campaign]
    factor = odds_for(RATIOS[name], truth)
    return CampaignShift(change_at=CHANGE, number=stream.campaign, factor=factor)


def branch(name: str, seed: int, stream: Stream, before: ClickLearner) -> Stream:
    """The stream with something gone wrong, learned from the change on."""
    learner, parts = copy.deepcopy(before), []
    for batch in simulate(
        scenario(name, stream), seed=seed, events=CHANGE + LAST[name], start=BRANCH,
        market=MARKET, columns=LEARNED,
    ):  # fmt: skip
        if name == "newadv":
            batch = with_new_advertiser(batch, BRANCH + len(parts) * BLOCK, CHANGE)
        parts.append(numbers(batch, learn(learner, batch)))
    since = stream_of(parts)
    return stream.changed(
        **{name: np.concatenate([stream[name][:BRANCH], since[name]]) for name in BRANCHED}
    )


BRANCHED = ("p", "y", "ad", "campaign", "advertiser")
"""Columns that are not those of the ordinary stream."""


def altered(name: str, stream: Stream) -> Stream:
    """Faults of what is recorded, which the model need not learn again for."""
    late = np.arange(EVENTS) >= CHANGE
    if name == "over10":
        return stream.changed(p=np.where(late, np.minimum(1.1 * stream["p"], 1), stream["p"]))
    if name == "version":
        p = np.where(late, np.minimum(1.15 * stream["p"], 1), stream["p"])
        return stream.changed(p=p, model=np.where(late, 8, 7))
    if name == "missing":
        return stream.changed(site=np.where(late, -1, stream["site"]))
    if name == "delay3":
        return stream.changed(delay=np.where(late, 3 * stream["delay"], stream["delay"]))
    return stream


def streams(seed: int, names: list[str], cache: Path) -> Iterator[tuple[str, Stream]]:
    """The stream of every scenario, from the cache if it is there."""
    files = {name: cache / f"{name}-{seed}.npz" for name in ["none", *names]}
    before = None
    if files["none"].exists():
        stream = load(files["none"])
    else:
        stream, before = ordinary(seed)
        save(files["none"], stream)
    for name in names:
        if name not in LAST:
            yield name, altered(name, stream)
            continue
        if not files[name].exists() and name == "stale":
            save(files[name], stale(seed))
        elif not files[name].exists():
            before = before or before_change(seed)
            save(files[name], branch(name, seed, stream, before), BRANCHED)
        kept = load(files[name])
        yield name, kept if name == "stale" else stream.changed(**kept.columns)


def save(file: Path, stream: Stream, names: tuple[str, ...] = ()) -> None:
    """Write some columns, or all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: stream[name] for name in names or stream.columns}
    np.savez(file, who=stream.campaign, **kept)


def load(file: Path) -> Stream:
    """Read a whole stream."""
    kept = np.load(file)
    return Stream({name: kept[name] for name in kept.files if name != "who"}, int(kept["who"]))


def scored(stream: Stream) -> Scored:
    """As the monitor sees it."""
    slices = {}
    for name in FIELDS:
        words = [f"{name}-{i}" for i in range(int(stream[name].max()) + 1)] + [MISSING]
        at = np.where(stream[name] < 0, len(words) - 1, stream[name]).astype(np.int32)
        slices[name] = Categorical(at, pa.array(words))
    rows, y = len(stream["p"]), stream["y"].astype(float)
    number = stream.columns.get("learned", np.arange(rows) // PUBLISHED * PUBLISHED)
    number, form = stream.columns.get("model", number), "{}" if "model" in stream.columns else LIVE
    known, code = np.unique(number, return_inverse=True)
    version = Categorical(code.astype(np.int32), pa.array([form.format(n) for n in known]))
    delay = np.where(y > 0, stream["delay"], np.nan).astype(float)
    return Scored(
        stream["time"], stream["p"].astype(float), y, np.full(rows, 2.0), delay,
        np.zeros(rows, np.bool_), slices, version,
    )  # fmt: skip


def detect(stream: Stream, settings: DetectSettings) -> list[Alarm]:
    """All alarms of a stream, as they were raised."""
    detector, rows = SequentialDetector(settings), scored(stream)
    alarms: list[Alarm] = []
    for start in range(0, len(rows), BLOCK):
        stop = min(start + BLOCK, len(rows))
        alarms += detector.update(rows.take(np.arange(start, stop)))
    return [alarm for alarm in alarms if alarm.status == "open"]


def main() -> None:
    """Print a line per stream, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0-19")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--cache", type=Path, default=Path("run/drift_study"))
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    verdicts: dict[str, list[Verdict]] = {name: [] for name in options.scenarios}
    for seed in range(int(first), int(last or first) + 1):
        for name, stream in streams(seed, options.scenarios, options.cache):
            verdict = judge(name, stream, detect(stream, DetectSettings()), CHANGE)
            verdicts[name].append(verdict)
            print(f"{name} seed {seed}: {verdict}", flush=True)
    print(table(verdicts))
    print(Counter(v.found for each in verdicts.values() for v in each))


if __name__ == "__main__":
    main()
