"""The measures of speed: who runs against whom, and the ratio that is asked of us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks import peers_vw
from benchmarks.logs import Log
from benchmarks.ours import (
    PLAIN,
    PLAIN_PAIRS,
    hash_file,
    learn_dicts,
    learn_file,
    learn_hashed,
)
from benchmarks.peers_river import learn_river
from benchmarks.peers_vw import learn_vw
from benchmarks.processes import clicktide_process, measure_process, vw_process
from benchmarks.report import Section, Table, said_loss, said_ratio, said_speed, speed_table
from benchmarks.timing import Contestant, Mark, Run, Timed, interleave, rate_between, ratio
from features.spec_file import load_spec

__all__ = [
    "Bench",
    "Sizes",
    "default",
    "events",
    "files",
    "growth",
    "kernel",
    "memory",
    "pairs",
    "processes",
]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Parameters
    ----------
    rows
        Of each log at most; ``None``: all.
    river_rows
        River's and the event-by-event runs are over so many: their rate does not depend on it.
    copies
        How often the log is repeated where whole processes are timed.
    growth, stretch
        Simulated events, and how many of the first and last are compared.
    memory
        Simulated events of the short and of the long replay.
    market, markets
        Simulated events where the truth is compared with, and of how many seeds.
    """

    rows: int | None = None
    river_rows: int = 10_000
    copies: int = 10
    growth: int = 2_000_000
    stretch: int = 500_000
    memory: tuple[int, int] = (1_000_000, 5_000_000)
    market: int = 100_000
    markets: int = 3


QUICK = Sizes(2_000, 300, 2, 100_000, 20_000, (200_000, 1_000_000), 20_000, 1)


@dataclass
class Bench:
    """What every measure is given.

    Parameters
    ----------
    logs
        The first is the main one.
    runs
        Counted runs of each contestant.
    sizes
        How much is measured.
    say
        Called with what is being run.
    """

    logs: list[Log]
    runs: int = 5
    sizes: Sizes = field(default_factory=Sizes)
    say: Callable[[str], None] = print
    _losses: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def main(self) -> Log:
        """The log of the speed measures."""
        return self.logs[0]

    def race(self, contestants: dict[str, Contestant], runs: int = 0) -> list[Timed]:
        """Run them in turns."""
        return list(interleave(contestants, runs or self.runs, self.say).values())

    def vw(self, log: Log, settings: str) -> Contestant:
        """Vowpal Wabbit over a log."""
        return partial(learn_vw, log.file("vw"), settings, len(log.rows))

    def vw_log_loss(self, log: Log, settings: str) -> float:
        """Its progressive log loss, learned once."""
        key = log.name, settings
        if key not in self._losses:
            self.say(f"VW {settings} on {log.name}")
            self._losses[key] = self.vw(log, settings)().log_loss or 0.0
        return self._losses[key]

    def vw_best(self, log: Log) -> str:
        """The settings that predict a log best."""
        return min(peers_vw.SETTINGS, key=lambda settings: self.vw_log_loss(log, settings))


def kernel(bench: Bench) -> Section:
    """Already hashed events against River."""
    log, spec = bench.main, bench.main.spec(*PLAIN)
    parts = hash_file(log.file("tsv"), spec)
    ours, river = bench.race(
        {
            "Clicktide's kernel": lambda: learn_hashed(parts, spec),
            "River, hashing included": _river(bench),
        }
    )
    return Section(
        "Kernel alone, against River",
        "Plain FTRL, alpha .1, beta 1, l2 1. Clicktide: predicting and learning all rows of "
        f"{log.name}, hashed beforehand, from empty tables. River: `FeatureHasher(2**22) | "
        "LogisticRegression(FTRLProximal)`, `predict_proba_one` then `learn_one` on dicts of "
        f"bucketed texts, {bench.sizes.river_rows:,} rows.",
        [speed_table([ours, river]), _ratios([("kernel ÷ River", ratio(ours, river), "≥ 120×")])],
        [ours, river],
    )


def events(bench: Bench) -> Section:
    """River's API on dicts, both sides."""
    log, spec, rows = bench.main, bench.main.spec(*PLAIN), bench.sizes.river_rows
    ours, river = bench.race(
        {
            "Clicktide": lambda: learn_dicts(log.rows[:rows], log.labels[:rows], spec),
            "River": _river(bench),
        }
    )
    return Section(
        "Event by event through River's API",
        f"Plain FTRL, {rows:,} rows of {log.name}: `predict_proba_one` then `learn_one`. "
        "Clicktide gets the raw texts and buckets them itself, River gets them bucketed.",
        [speed_table([ours, river]), _ratios([("Clicktide ÷ River", ratio(ours, river), "≥ 5×")])],
        [ours, river],
    )


def _river(bench: Bench) -> Contestant:
    rows = bench.sizes.river_rows
    return partial(learn_river, bench.main.events[:rows], bench.main.labels[:rows])


FORMS = {
    "TSV": ("tsv", "≥ 3×"),
    "JSON Lines": ("jsonl", "≥ 2×"),
    "JSON Lines, all values texts": ("text.jsonl", "≥ 2×"),
    "JSON Lines, text among numbers": ("mixed.jsonl", ""),
    "Parquet": ("parquet", "≥ 5×"),
}


def files(bench: Bench) -> Section:
    """File to learned model, plain FTRL."""
    log, spec = bench.main, bench.main.spec(*PLAIN)
    forms = {form: partial(learn_file, log.file(file), spec) for form, (file, _) in FORMS.items()}
    settings = (peers_vw.PLAIN, peers_vw.DEFAULT)
    peers = {f"VW `{said}`": bench.vw(log, said) for said in settings}
    timed = bench.race({**forms, **peers})
    ours, vw = timed[: len(forms)], timed[len(forms) :]
    lines = [(f"{one.name} ÷ VW", ratio(one, *vw), FORMS[one.name][1]) for one in ours]
    return Section(
        "File to learned model, plain FTRL",
        f"All rows of {log.name}, no crosses, files plain and in the page cache, in one process. "
        "Clicktide: from opening the file to its last event learned and scored, kernels compiled "
        "and tables not yet made when the clock starts. VW: its own driver on its own text "
        "format, from the making of the workspace to its end, no cache file. Ratios are to the "
        "faster VW. In JSON Lines and Parquet counts are numbers and what is missing is null; "
        "*text among numbers* keeps the log's hashed counts (`#a1b2c`) as texts in the same "
        "column. Parquet as pyarrow writes it (snappy).",
        [speed_table(timed), _ratios(lines)],
        timed,
    )


def pairs(bench: Bench) -> Section:
    """All pairs crossed, single FTRL."""
    log = bench.main
    spec = log.spec(*PLAIN_PAIRS)
    timed = bench.race(
        {
            "Clicktide, TSV": partial(learn_file, log.file("tsv"), spec),
            f"VW `{peers_vw.PAIRS_FTRL}`": bench.vw(log, peers_vw.PAIRS_FTRL),
            f"VW `{peers_vw.PAIRS}`": bench.vw(log, peers_vw.PAIRS),
        }
    )
    return Section(
        "All pairs crossed, one plain FTRL",
        f"As above, alpha .005, all rows of {log.name} with every pair of fields crossed.",
        [speed_table(timed), _ratios([("Clicktide ÷ VW", ratio(*timed), "≥ 4×")])],
        timed,
    )


def default(bench: Bench) -> Section:
    """What ships against VW's best, on every log."""
    rows, lines, everyone = [], [], []
    for log in bench.logs:
        best = bench.vw_best(log)
        ours, vw = timed = bench.race(
            {
                f"{log.name}: Clicktide": partial(learn_file, log.file("tsv"), log.spec()),
                f"{log.name}: VW `{best}`": bench.vw(log, best),
            }
        )
        rows += [(one.name, said_speed(one), said_loss(one.log_loss)) for one in timed]
        lines.append((f"{log.name}: Clicktide ÷ VW", ratio(ours, vw), "≥ 1×"))
        everyone += timed
    return Section(
        "The shipped default",
        "`stack` with all pairs, one set of learner settings for all logs, from TSV; VW at "
        f"the most accurate of {len(peers_vw.SETTINGS)} settings on that very log.",
        [Table(("", "events/s", "log loss"), rows), _ratios(lines)],
        everyone,
    )


def growth(bench: Bench) -> Section:
    """Whether an event costs more later."""
    sizes = bench.sizes
    source, spec = f"sim:stationary?events={sizes.growth}", load_spec("sim")
    first, last = Timed("first"), Timed("last")
    for _ in range(min(bench.runs, 3)):
        bench.say(f"{sizes.growth:,} simulated events")
        marks: list[Mark] = [(0, 0.0)]
        learn_file(source, spec, marks.append)
        first.runs.append(rate_between(marks, 0, sizes.stretch))
        last.runs.append(rate_between(marks, sizes.growth - sizes.stretch, sizes.growth))
    table = Table(("", "events/s"), [(one.name, said_speed(one)) for one in (first, last)])
    return Section(
        "Cost per event as events come in",
        f"The shipped default on `{source}`, simulation included: the first and the last "
        f"{sizes.stretch:,} events of {len(first.runs)} runs.",
        [table, _ratios([("last ÷ first", ratio(last, first), "≥ 1×")])],
        [first, last],
    )


def processes(bench: Bench) -> Section:
    """Start to exit, everything included."""
    log, copies = bench.main, bench.sizes.copies
    events = copies * len(log.rows)
    tsv, vw = log.file("tsv", copies), log.file("vw", copies)
    commands = {
        "`clicktide replay`, plain FTRL, TSV": clicktide_process(str(tsv), log.spec_name, PLAIN),
        f"VW `{peers_vw.PLAIN}`": vw_process(vw, peers_vw.PLAIN),
        f"VW `{peers_vw.DEFAULT}`": vw_process(vw, peers_vw.DEFAULT),
    }
    timed = bench.race({name: partial(_process, events, one) for name, one in commands.items()})
    return Section(
        "Whole processes",
        f"{log.name} {copies} times over ({events:,} events), from the start of the process to "
        "its exit: starting Python and importing is included for both, for VW only its native "
        "module. Compiled kernels are on disk.",
        [speed_table(timed), _ratios([("Clicktide ÷ VW", ratio(*timed), "")])],
        timed,
    )


def _process(events: int, command: list[str]) -> Run:
    return Run(events, measure_process(command).seconds)


def memory(bench: Bench) -> Section:
    """Peak memory of a short and of a long replay."""
    rows, peaks = [], []
    for events in bench.sizes.memory:
        bench.say(f"memory of {events:,} simulated events")
        usage = measure_process(clicktide_process(f"sim:stationary?events={events}", "sim"))
        peaks.append(usage.peak_bytes)
        rows.append((f"{events:,} events", f"{usage.peak_bytes / 2**20:,.0f}"))
    return Section(
        "Memory",
        "Peak resident memory of `clicktide replay sim:stationary`, the shipped default.",
        [
            Table(("", "MiB"), rows),
            _ratios([("long ÷ short", peaks[1] / peaks[0], "≤ 1.1×")]),
        ],
    )


def _ratios(lines: list[tuple[str, float, str]]) -> Table:
    """What, how much, and what is asked."""
    rows = [(what, said_ratio(value), target) for what, value, target in lines]
    return Table(("", "ratio", "asked"), rows)
