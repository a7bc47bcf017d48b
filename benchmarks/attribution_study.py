"""How often ``clicktide report --from`` names a planted fault: its slice, start, direction, price.

``python -m benchmarks.attribution_study --seeds 30``: for each case and seed a log of its own is
written (100,000 to 500,000 impressions, four to nine skewed fields, click rates of 0.5 to 30 %,
some form of time), the command runs on it with ``--json``, and what it says is held against what
was planted. Prints a table; ``--wrong`` also says what was wrong in which log.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

_FIRST_MS = 1_790_812_800_000  # 1 October 2026
_EVIDENCE = 25.0
"""Nats of the planted fault, its place and start known, below which nobody could be sure of it."""
_PRICE = 0.2
"""How far, relatively, a price may be from the planted one."""
_NAMES = (
    ("advertiser", "campaign", "creative", "site", "device", "country", "user", "hour", "position"),
    ("brand", "Flight ID", "line-item", "publisher.domain", "os", "geo", "cookie", "h", "slot"),
)
_TIMES = ("iso", "spaced", "s", "ms", "compact", "none")
_COLUMNS = ("day", "prediction", "clicked", "price")


class Fault(NamedTuple):
    """What is planted: clicks of some values' rows are multiplied, from a row on."""

    slices: tuple[tuple[str, str], ...]
    start: int
    factor: float
    end: int | None = None


class Log(NamedTuple):
    """A log before anything is wrong."""

    time: I64
    fields: dict[str, NDArray[Any]]
    prediction: F64
    bid: F64


class Trial(NamedTuple):
    """A log with its faults, by case and seed, and how it is written."""

    log: Log
    click: F64
    faults: Sequence[Fault]
    time_form: str
    zeros: int = 0
    has_bids: bool = False


def _skewed(rng: np.random.Generator, rows: int, values: int, power: float) -> I64:
    share = 1 / np.arange(1, values + 1) ** power
    return rng.choice(values, rows, p=share / share.sum())


def log_of(rng: np.random.Generator, rows: int) -> Log:
    """Skewed fields, of which three are nested, and predictions that differ by them."""
    names = _NAMES[rng.integers(len(_NAMES))]
    campaign = _skewed(rng, rows, 60, 0.9)
    advertiser = (np.arange(60) * 7 % 11)[campaign]
    device = _skewed(rng, rows, 4, 1.0)
    codes = [
        advertiser, campaign, campaign * 3 + rng.integers(0, 3, rows), _skewed(rng, rows, 300, 1.0),
        device, _skewed(rng, rows, 40, 1.3), _skewed(rng, rows, 30_000, 0.8),
        rng.integers(0, 24, rows), _skewed(rng, rows, 3, 0.8),
    ]  # fmt: skip
    kept = sorted({0, 1, 3, 4, *rng.choice(9, rng.integers(1, 6), replace=False).tolist()})
    fields = {names[i]: np.char.add(f"{names[i][:2]}", codes[i].astype(str)) for i in kept}
    logit = np.log(np.exp(rng.uniform(np.log(0.005), np.log(0.3)))) + rng.normal(0, 0.3, rows)
    for code, spread in ((campaign, 0.4), (codes[3], 0.4), (device, 0.3)):
        logit = logit + rng.normal(0, spread, int(code.max()) + 1)[code]
    clock = np.sort(rng.beta(1.5, 1.2, rows)) * rng.choice([0.5, 2.0, 14.0]) * 86_400_000
    prediction = np.clip(1 / (1 + np.exp(-logit)), 1e-6, 0.45)
    bid = np.round(np.exp(rng.normal(0, 0.5, rows)), 2)
    return Log(_FIRST_MS + clock.astype(np.int64), fields, prediction, bid)


def _rows_of(log: Log, fault: Fault) -> Mask:
    inside = np.zeros(len(log.time), np.bool_)
    inside[fault.start : fault.end] = True
    for name, value in fault.slices:
        inside &= log.fields[name] == value
    return inside


def _value(rng: np.random.Generator, log: Log, name: str, low: float, high: float) -> str:
    """One whose share of the rows is between these, or the nearest to them."""
    values, counts = np.unique(log.fields[name], return_counts=True)
    share = counts / len(log.time)
    good = np.flatnonzero((share >= low) & (share <= high))
    if not len(good):
        good = np.array([np.abs(np.log(share / low)).argmin()])
    return str(values[rng.choice(good)])


def _one(rng: np.random.Generator, log: Log, at: float, names: Sequence[str] = ()) -> Fault:
    name = str(rng.choice(names or list(log.fields)))
    share = np.exp(rng.uniform(np.log(0.01), np.log(0.5)))
    factor = float(rng.choice([0.5, 0.7, 1.3, 2.0]))
    value = _value(rng, log, name, share / 1.5, share * 1.5)
    return Fault(((name, value),), int(at * len(log.time)), factor)


def _pair(rng: np.random.Generator, log: Log) -> Fault:
    """Of fields that are not nested, with a hundredth of the rows or more."""
    a, b = rng.choice([name for name in list(log.fields)[1:5] if name[:2] not in ("cr", "li")], 2,
                      replace=False)  # fmt: skip
    fault = Fault(
        ((a, _value(rng, log, a, 0.1, 0.5)), (b, _value(rng, log, b, 0.1, 0.5))),
        int(rng.uniform(0.3, 0.7) * len(log.time)), float(rng.choice([0.5, 0.7, 1.3, 2.0])),
    )  # fmt: skip
    return fault


def faults_for(case: str, rng: np.random.Generator, log: Log) -> list[Fault]:
    """What a case plants."""
    names, rows, middle = list(log.fields), len(log.time), rng.uniform(0.3, 0.7)
    few = [name for name in names if name not in ("user", "cookie")]
    if case == "nothing":
        return []
    if case == "a pair of values":
        return [_pair(rng, log)]
    if case == "from the start":
        return [_one(rng, log, 0.0, few)]
    if case == "two at once":
        return [_one(rng, log, middle, few[:1]), _one(rng, log, rng.uniform(0.3, 0.7), few[2:3])]
    if case == "nested: an advertiser":
        return [_one(rng, log, middle, names[:1])]
    if case == "nested: a campaign":
        return [_one(rng, log, middle, names[1:2])]
    if case == "everywhere":
        start = int(middle * rows) if rng.random() < 0.7 else 0
        return [Fault((), start, float(rng.choice([0.5, 0.7, 1.3, 2.0])))]
    if case == "near the end":
        return [_one(rng, log, rng.uniform(0.9, 0.97), few)]
    if case == "ended":
        fault = _one(rng, log, rng.uniform(0.2, 0.5), few)
        return [fault._replace(end=int(rng.uniform(0.6, 0.9) * rows))]
    if case == "of very many values":
        name = next((name for name in names if name not in few), names[2])
        value = _value(rng, log, name, 0.005, 0.05)
        return [Fault(((name, value),), int(middle * rows), float(rng.choice([0.5, 2.0])))]
    return [_one(rng, log, middle, few)]


CASES = (
    "one value", "a pair of values", "from the start", "two at once", "a time column with zeros",
    "with bids", "nested: an advertiser", "nested: a campaign", "everywhere", "near the end",
    "of very many values", "ended", "nothing",
)  # fmt: skip


def trial_of(case: str, seed: int) -> Trial:
    """The log of a case and a seed."""
    rng = np.random.default_rng([CASES.index(case), seed])
    log = log_of(rng, int(rng.choice([100_000, 200_000, 500_000])))
    for _ in range(20):  # of shares and sizes that chance cannot hide
        faults = faults_for(case, rng, log)
        if all(_expected(log, fault) > _EVIDENCE for fault in faults):
            break
    true = log.prediction.copy()
    for fault in faults:
        true[_rows_of(log, fault)] *= fault.factor
    click = (rng.random(len(true)) < true).astype(np.float64)
    form = str(rng.choice(_TIMES))
    zeros = 0
    if case == "a time column with zeros":
        form, zeros = str(rng.choice(["s", "ms"])), int(rng.choice([3, 200, 2000]))
    return Trial(log, click, faults, form, zeros, case == "with bids" or rng.random() < 0.3)


def _time_column(trial: Trial, rng: np.random.Generator) -> pa.Array:
    times = trial.log.time
    if trial.time_form in ("s", "ms"):
        column = times // (1000 if trial.time_form == "s" else 1)
        column[rng.choice(len(column), trial.zeros, replace=False)] = 0
        return pa.array(column)
    form = {"iso": "%Y-%m-%dT%H:%M:%SZ", "spaced": "%Y-%m-%d %H:%M:%S", "compact": "%Y%m%d%H"}
    seconds = pa.array(times // 1000).cast(pa.timestamp("s"))
    return pa.compute.strftime(seconds, form[trial.time_form])


def write(trial: Trial, path: Path, seed: int) -> list[str]:
    """Write the log; what the command is to be told of it."""
    rng = np.random.default_rng(seed)
    log, (time, prediction, label, bid) = trial.log, _COLUMNS
    columns: dict[str, Any] = {} if trial.time_form == "none" else {time: _time_column(trial, rng)}
    columns |= {name: pa.array(values) for name, values in log.fields.items()}
    columns |= {prediction: np.round(log.prediction, 6), label: trial.click.astype(np.int8)}
    options = ["--label", label, "--prediction", prediction, "--slices", ",".join(log.fields)]
    if trial.time_form != "none":
        options += ["--time", time]
    if trial.has_bids:
        columns[bid] = log.bid
        options += ["--bid", bid]
    if rng.random() < 0.3:
        columns[label] = pa.array(np.where(trial.click == 1, "yes", "no"))
    table = pa.table(columns)
    if trial.time_form != "none" and rng.random() < 0.3:  # rows of a log are in any order
        table = table.take(pa.array(rng.permutation(table.num_rows)))
    pyarrow.csv.write_csv(table, path)
    return options


def report_of(trial: Trial, seed: int, folder: Path) -> dict[str, Any]:
    """What the command says."""
    path = folder / "log.csv"
    options = write(trial, path, seed)
    command = [sys.executable, "-m", "clicktide", "report", "--from", str(path), *options]
    run = subprocess.run(
        [*command, "--json", "--out", str(folder / "report.html")], capture_output=True, text=True
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    report: dict[str, Any] = json.loads(run.stdout)
    return report


class Judgement(NamedTuple):
    """Of one log: what was right of each planted fault that could be seen, what else was said."""

    due: int
    slice: int
    start: int
    direction: int
    price: int
    besides: int
    said: str


def _expected(log: Log, fault: Fault) -> float:
    due = float(log.prediction[_rows_of(log, fault)].sum())
    return due * (fault.factor * np.log(fault.factor) - fault.factor + 1)


def _evidence(trial: Trial, fault: Fault) -> float:
    inside = _rows_of(trial.log, fault)
    clicks, due = trial.click[inside].sum(), trial.log.prediction[inside].sum()
    return float(clicks * np.log(clicks / due) - (clicks - due)) if clicks else float(due)


def judged(trial: Trial, report: dict[str, Any]) -> Judgement:
    """Hold what a report says against what was planted."""
    said = {tuple(sorted(map(tuple, f["slices"]))): f for f in report["faults"]}
    due = slice_ = start = direction = price = 0
    for fault in trial.faults:
        found = said.pop(tuple(sorted(fault.slices)), None)
        if _evidence(trial, fault) < _EVIDENCE:
            continue
        due += 1
        if found is None:
            continue
        slice_ += 1
        start += _starts(trial, fault, found)
        over = found["over_promised"]
        direction += (over < 0) == (fault.factor > 1)
        price += _priced(trial, fault, found)
    shown = "; ".join(f"{fault.slices} x{fault.factor} at {fault.start}" for fault in trial.faults)
    text = f"planted {shown or 'nothing'} in {len(trial.click)} rows; said {report['verdict']}"
    return Judgement(due, slice_, start, direction, price, len(said), text)


def _starts(trial: Trial, fault: Fault, found: dict[str, Any]) -> bool:
    if (fault.end is None) != (found["end"] is None):
        return False
    if fault.start == 0 or found["start"] is None:
        return fault.start == 0 and found["start"] is None
    at = fault.start if trial.time_form == "none" else int(trial.log.time[fault.start])
    room = {"compact": 3_600_000, "none": 0, "ms": 0}.get(trial.time_form, 1000)
    return bool(found["start_low"] - room <= at <= found["start_high"] + room)


def _priced(trial: Trial, fault: Fault, found: dict[str, Any]) -> bool:
    inside = _rows_of(trial.log, fault)
    excess = (trial.log.prediction - trial.click)[inside]
    due = [(found["over_promised"], excess.sum())]
    if trial.has_bids:
        due.append((found["money"], (trial.log.bid[inside] * excess).sum()))
    return all(abs(one - other) <= _PRICE * abs(other) for one, other in due)


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", default="")
    parser.add_argument("--wrong", action="store_true")
    given = parser.parse_args()
    print("| what is wrong | logs | faults to be seen | slice | start | direction | price | else |")
    print("|---|---|---|---|---|---|---|---|")
    cases = [case for case in CASES if given.cases in case]
    for case in cases:
        sums, wrong = Counter[str](), []

        def one(seed: int, case: str = case) -> tuple[int, Judgement]:
            with tempfile.TemporaryDirectory() as folder:
                trial = trial_of(case, seed)
                return seed, judged(trial, report_of(trial, seed, Path(folder)))

        with ThreadPoolExecutor(2) as pool:
            for seed, result in pool.map(one, range(given.first, given.first + given.seeds)):
                figures = result._asdict()
                text = figures.pop("said")
                sums.update(figures)
                if result.besides or min(result[1:5]) < result.due:
                    wrong.append(f"seed {seed}: {figures} {text}")
        shown = " | ".join(
            str(sums[name]) for name in ("due", "slice", "start", "direction", "price", "besides")
        )
        print(f"| {case} | {given.seeds} | {shown} |", flush=True)
        if given.wrong:
            print("\n".join(wrong), flush=True)


if __name__ == "__main__":
    main()
