"""What repairing slices does to served predictions: on drifts, and where nothing happens.

``python -m benchmarks.repair_study [--seeds 0-23] [--scenarios ...] [--cache DIR]``: the streams of
:mod:`benchmarks.drift_study`, a million impressions each, the model learning on. Every 512 rows
the table of then is applied to the next 512, as serving does, once with what the repair layer has
learned by then and once without; the truth is the simulator's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.drift_judge import BOTS_SITE
from benchmarks.drift_study import CHANGE, FIELDS, RATIOS, Stream, odds_for, scored, streams
from monitoring.watch.repair.state_machine import RepairSettings, SliceRepair
from monitoring.watch.repair.table import repaired
from monitoring.watch.slices import SliceField

STEP, BEGIN, ROWS = 512, 100_000, 8_000
SLICES = [SliceField(name, "hour" if name == "hour" else "value", name) for name in FIELDS]


def serve(stream: Stream) -> np.ndarray:
    """Probabilities as they would be served with repairs."""
    repair, rows = SliceRepair(SLICES, RepairSettings()), scored(stream)
    out = rows.probability.copy()
    for start in range(0, len(rows), STEP):
        part = rows.take(slice(start, start + STEP))
        if start >= BEGIN and repair.table.repairs:
            out[start : start + STEP] = repaired(
                part.probability, repair.row_factors(repair.table, part.slices)
            )
        repair.update(part)
    return out


def log_loss(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row, in nats."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return -np.where(y > 0, np.log(p), np.log1p(-p))


def truth_of(name: str, stream: Stream, rows: np.ndarray) -> np.ndarray:
    """True probabilities of rows of the slice that has changed."""
    truth = stream["truth"][rows]
    if name not in RATIOS:
        return truth
    after = stream["truth"][CHANGE:][stream["campaign"][CHANGE:] == stream.campaign]
    odds = truth / (1 - truth) * odds_for(RATIOS[name], after)
    return odds / (1 + odds)


def judge(name: str, stream: Stream, after: np.ndarray) -> dict[str, float]:
    """Figures of one stream."""
    before, y = stream["p"].astype(float), stream["y"]
    changed = log_loss(after, y) - log_loss(before, y)
    if name == "none":
        part = slice(BEGIN, None)
        figures = {"log loss e-5": 1e5 * changed[part].mean()}
    else:
        field, value = ("site", BOTS_SITE) if name == "bots" else ("campaign", stream.campaign)
        is_of = stream[field] == value
        is_of[:CHANGE] = False
        rows, part = np.flatnonzero(is_of)[:ROWS], slice(CHANGE, None)
        others = ~is_of[part]
        figures = {
            "slice nats": changed[rows].sum(),
            "others e-5": 1e5 * changed[part][others].mean(),
        }
        for low, high in ((0, ROWS), (ROWS // 2, ROWS)) if name != "bots" else ():
            some = rows[low:high]
            due = truth_of(name, stream, some).sum()
            figures[f"{low}-{high} off without"] = abs(before[some].sum() / due - 1)
            figures[f"{low}-{high} off with"] = abs(after[some].sum() / due - 1)
    auc = [roc_auc_score(y[part], p[part]) for p in (before, after)]
    return figures | {"auc e-5": 1e5 * (auc[1] - auc[0])}


def main() -> None:
    """Print a line a stream, then means with their standard errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0-23")
    parser.add_argument("--scenarios", nargs="+", default=["none", "down50", "up50", "bots"])
    parser.add_argument("--cache", type=Path, default=Path("run/drift_study"))
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.scenarios}
    for seed in range(int(first), int(last or first) + 1):
        for name, stream in streams(seed, options.scenarios, options.cache):
            found[name].append(judge(name, stream, serve(stream)))
            print(name, seed, {k: round(v, 3) for k, v in found[name][-1].items()}, flush=True)
    for name, each in found.items():
        print(f"{name}, {len(each)} streams: mean (standard error)")
        for key in each[0]:
            values = np.array([one[key] for one in each])
            print(f"  {key}: {values.mean():.3f} ({values.std() / len(values) ** 0.5:.3f})")


if __name__ == "__main__":
    main()
