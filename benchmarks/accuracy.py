"""The measure of accuracy: progressive log loss of everybody on every log."""

from __future__ import annotations

import math

from benchmarks import peers_vw
from benchmarks.logs import Log
from benchmarks.measures import Bench
from benchmarks.ours import PLAIN, learn_file
from benchmarks.peers_river import river_log_loss
from benchmarks.report import Section, Table, said_loss

__all__ = ["accuracy", "base_rate_log_loss"]


def accuracy(bench: Bench) -> Section:
    """Log losses, a column a log."""
    columns = [_column(bench, log) for log in bench.logs]
    rows = [(name, *(said_loss(column[name]) for column in columns)) for name in columns[0]]
    best = "; ".join(f"{log.name} `{bench.vw_best(log)}`" for log in bench.logs)
    return Section(
        "Progressive log loss",
        "One pass, every event predicted before it is learned, nats an event; lower is better. "
        "The base rate is the whole log's, known in hindsight. Plain FTRL: alpha .1, beta 1, "
        f"l2 1, no crosses. VW's best of {len(peers_vw.SETTINGS)} settings: {best}.",
        [Table(("", *(log.name for log in bench.logs)), rows)],
    )


def _column(bench: Bench, log: Log) -> dict[str, float | None]:
    bench.say(f"log loss on {log.name}: Clicktide")
    plain, shipped = (learn_file(log.file("tsv"), log.spec(*over)) for over in (PLAIN, ()))
    bench.say(f"log loss on {log.name}: River")
    return {
        "base rate only": base_rate_log_loss(sum(log.labels), len(log.labels)),
        "River, FTRL": river_log_loss(log.events, log.labels),
        "VW, plain FTRL": bench.vw_log_loss(log, peers_vw.PLAIN),
        "VW, its best": bench.vw_log_loss(log, bench.vw_best(log)),
        "Clicktide, plain FTRL": plain.log_loss,
        "Clicktide, shipped default": shipped.log_loss,
    }


def base_rate_log_loss(clicks: int, events: int) -> float:
    """Entropy of the base rate, in nats.

    Examples
    --------
    >>> round(base_rate_log_loss(1, 2), 4)
    0.6931
    """
    rate = clicks / events
    return -sum(p * math.log(p) for p in (rate, 1.0 - rate) if p > 0.0)
