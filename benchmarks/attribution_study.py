"""How often a fault planted in a log of predictions is named at its level, and dated rightly.

``python -m benchmarks.attribution_study --seeds 100``: 60,000 impressions of 40 campaigns (of ten
advertisers), 15 sites, 900 users and 3 devices at a click rate of 6 %; something is wrong from some
row between 30 and 70 % of the log on. Prints a table.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.report.attribution import faults_in
from monitoring.report.row_sample import Rows

ROWS, FIELDS = 60_000, {"advertiser": 10, "campaign": 40, "site": 15, "user": 900, "device": 3}


class Planted(NamedTuple):
    """What goes wrong: where, the odds of a click over the predicted ones, and from when."""

    where: dict[str, int]
    odds: float
    all_along: bool = False


CASES = {
    "nothing": Planted({}, 1.0),
    "one campaign's clicks halve": Planted({"campaign": 3}, 0.5),
    "one site's clicks up by 80 %": Planted({"site": 3}, 1.8),
    "one advertiser's clicks halve": Planted({"advertiser": 0}, 0.5),
    "clicks double for an advertiser on a device": Planted({"advertiser": 1, "device": 1}, 2.0),
    "one site's clicks halve, all along": Planted({"site": 3}, 0.5, all_along=True),
    "everywhere 15 % fewer clicks": Planted({}, 0.85),
}


def log_with(planted: Planted, seed: int) -> tuple[Rows, int]:
    """A log, and the row from which it is off."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(2, 42) ** 0.7
    campaign = rng.choice(40, ROWS, p=share / share.sum()).astype(np.int32)
    codes: dict[str, NDArray[np.int32]] = {"advertiser": campaign // 4, "campaign": campaign}
    for name in ("site", "user", "device"):
        codes[name] = rng.integers(0, FIELDS[name], ROWS, np.int32)
    logit = -3.0 + rng.normal(0, 0.4, 40)[campaign] + rng.normal(0, 0.5, ROWS)
    start = 0 if planted.all_along else int(ROWS * rng.uniform(0.3, 0.7))
    off = np.arange(ROWS) >= start
    for name, value in planted.where.items():
        off &= codes[name] == value
    true = 1 / (1 + np.exp(-logit) / np.where(off, planted.odds, 1.0))
    words = {name: [str(value) for value in range(many)] for name, many in FIELDS.items()}
    click = (rng.random(ROWS) < true).astype(float)
    nothing, one = np.full(ROWS, np.nan), np.ones(ROWS)
    return Rows(np.arange(ROWS), 1 / (1 + np.exp(-logit)), click, nothing, one, codes, words), start


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = parser.parse_args().seeds
    print("| what is wrong | logs | named | dated | interval holds | something else named |")
    print("|---|---|---|---|---|---|")
    for name, planted in CASES.items():
        due = tuple((field, str(value)) for field, value in planted.where.items())
        named = dated = covered = besides = 0
        for seed in range(seeds):
            rows, start = log_with(planted, seed)
            faults = faults_in(rows)
            found = [f for f in faults if f.slices == due and planted.odds != 1.0]
            besides += len(faults) > len(found)
            named += bool(found)
            for fault in found[:1]:
                low, high = fault.start_low, fault.start_high
                dated += fault.start is not None
                covered += low is not None and high is not None and low <= start <= high
        print(f"| {name} | {seeds} | {named} | {dated} | {covered} | {besides} |", flush=True)


if __name__ == "__main__":
    main()
