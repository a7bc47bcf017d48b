"""What more evidence costs: power and false alarms of ``click_rate`` by ``moved_margin``.

``python -m benchmarks.drift_power [--seeds 100-104] [--draws 8] [--cache DIR]``: the streams of
:mod:`benchmarks.drift_study` with their clicks drawn anew from the simulator's truth, with one
campaign's click rate changed from event 500,000 on, or not. Only the tests of click rates are on.
``--past``: instead, drawn clicks of one slice alone, by how many it had before its rate fell.
``--limit``: instead, in how many of the study's streams (``--seeds 0-23``) who knew the slice, the
start and the true click rates would have as much evidence in time as is asked for.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.drift_judge import Verdict, judge
from benchmarks.drift_study import (
    CHANGE,
    EVENTS,
    FIELDS,
    LAST,
    RATIOS,
    Stream,
    detect,
    streams,
)
from monitoring.watch.settings import DetectSettings

PASTS = (250, 500, 1_000, 2_000, 5_000, 20_000)


def drawn(stream: Stream, name: str, rng: np.random.Generator) -> Stream:
    """The stream with other clicks."""
    truth, later = stream["truth"].astype(float), np.arange(EVENTS) >= CHANGE
    changed = later & (stream["campaign"] == stream.campaign)
    p = np.where(changed, RATIOS.get(name, 1.0) * truth, truth)
    end = CHANGE + LAST.get(name, EVENTS - CHANGE)
    columns = {name: column[:end] for name, column in stream.columns.items()}
    return Stream(columns | {"y": (rng.random(EVENTS) < p)[:end]}, stream.campaign)


def verdicts(
    seeds: range, draws: int, margins: list[float], cache: Path
) -> Iterator[tuple[float, str, Verdict]]:
    """Of every margin, scenario and draw."""
    rng = np.random.default_rng(11)
    for seed in seeds:
        _, stream = next(streams(seed, ["none"], cache))
        for name in ("none", "down50", "down30") * draws:
            one = drawn(stream, name, rng)
            for margin in margins:
                settings = DetectSettings(overall_share=0, slices_share=0, moved_margin=margin)
                yield margin, name, judge(name, one, detect(one, settings), CHANGE)


def in_time(past: int, ratio: float, rows: int, rng: np.random.Generator) -> bool:
    """Whether a fall is found in clicks alone, in panes of five expected clicks, at a rate of 2 %.

    Twenty campaigns and nine fields, as in the study.
    """
    settings = DetectSettings()
    panes = rng.poisson(5.0 * ratio, int(rows * 0.02 / 5.0))
    since, wanted = np.cumsum(panes[::-1])[::-1], settings.false_alarm_clicks * 9 / 0.4
    before = float(rng.poisson(past))
    for end in range(1, len(panes) + 1):
        n2 = since[:end] - (since[end] if end < len(panes) else 0)
        e2 = 5.0 * np.arange(end, 0, -1)
        n1, e1 = before + n2[0] - n2, past + e2[0] - e2
        n, e = n1 + n2, e1 + e2
        gain = n1 * np.log(n1 / e1) - n * np.log(n / e) + n2 * np.log(np.maximum(n2, 1) / e2)
        usual = e2 * n1 / e1
        need = math.log(wanted) - np.log(usual) + settings.moved_margin
        wide = np.abs(np.log(np.maximum(n2, 0.5) / usual)) > settings.moved_band
        if (wide & (usual >= settings.least_clicks) & (gain > need)).any():
            return True
    return False


def by_past() -> None:
    """Print the share that is found in time, by clicks before the fall."""
    rng = np.random.default_rng(1)
    print("| clicks before | 50 % in 8,000 rows | 30 % in 20,000 rows |\n|---|---|---|")
    for past in PASTS:
        half, third = (
            np.mean([in_time(past, ratio, rows, rng) for _ in range(1000)])
            for ratio, rows in ((0.5, 8_000), (0.7, 20_000))
        )
        print(f"| {past:,} | {half:.0%} | {third:.0%} |")


def most_evidence(stream: Stream, rows: int, settings: DetectSettings) -> tuple[float, float]:
    """The most nats beyond the budget that the changed campaign's clicks ever hold, in some rows.

    Two rates against one, by the true click rates, from the true start on: with its rate of before
    known from its clicks, as by :mod:`monitoring.watch.detect.rates`; and with that known, too.
    """
    of = np.flatnonzero(stream["campaign"] == stream.campaign)
    y, due = stream["y"][of].astype(float), stream["truth"][of].astype(float)
    start = int(np.searchsorted(of, CHANGE))
    known = int(np.searchsorted(np.cumsum(stream["truth"])[of[:start]], settings.warmup_clicks / 4))
    n1, e1 = y[known:start].sum(), due[known:start].sum()
    n2, e2 = (np.cumsum(column[start : start + rows]) for column in (y, due))
    gain = n2 * np.log(np.maximum(n2, 1.0) / e2)
    n, e = n1 + n2, e1 + e2
    estimated = n1 * math.log(n1 / e1) + gain - n * np.log(n / e)
    needed = np.log(settings.false_alarm_clicks * len(FIELDS) / settings.moved_share / e2)
    seen = e2 >= settings.least_clicks
    exact = gain - (n2 - e2)
    most = [float((nats - needed)[seen].max()) for nats in (estimated, exact)]
    return most[0], most[1]


def limits(seeds: range, cache: Path) -> None:
    """Print in how many streams there is evidence enough."""
    settings = DetectSettings()
    print("| | streams | its past estimated | its past known |\n|---|---|---|---|")
    for name, rows in (("down50", 8_000), ("down30", 20_000), ("up50", 8_000), ("up100", 8_000)):
        most = []
        for seed in seeds:
            (_, ordinary), (_, changed) = streams(seed, ["none", name], cache)
            truth = ordinary["truth"][: len(changed["p"])]  # without the change
            most.append(most_evidence(changed.changed(truth=truth), rows, settings))
        estimated, exact = (np.array(most) >= settings.moved_margin).sum(axis=0)
        print(f"| {name} | {len(seeds)} | {estimated} | {exact} |", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="100-104")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--margins", type=float, nargs="+", default=[1.0, 2.0, 3.0, 4.0])
    parser.add_argument("--cache", type=Path, default=Path("run/drift_study"))
    parser.add_argument("--past", action="store_true")
    parser.add_argument("--limit", action="store_true")
    asked = parser.parse_args()
    first, _, last = asked.seeds.partition("-")
    if asked.past or asked.limit:
        by_past() if asked.past else limits(range(int(first), int(last) + 1), asked.cache)
        return
    found: dict[tuple[float, str], list[Verdict]] = {}
    seeds = range(int(first), int(last or first) + 1)
    for margin, name, verdict in verdicts(seeds, asked.draws, asked.margins, asked.cache):
        found.setdefault((margin, name), []).append(verdict)
    print("| moved_margin | streams with a false alarm | 50 % in time | 30 % in time |")
    print("|---" * 4 + "|")
    for margin in asked.margins:
        false = np.mean([v.false + v.true > 0 for v in found[margin, "none"]])
        half, third = (
            np.mean([v.in_time for v in found[margin, name]]) for name in ("down50", "down30")
        )
        print(f"| {margin:g} | {false:.1%} | {half:.0%} | {third:.0%} |")


if __name__ == "__main__":
    main()
