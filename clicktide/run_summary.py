"""What a run shows: a progress line, a final table, one JSON object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table

from features.spec import Spec
from learning.touched import occupancy
from streaming.replay import Replay
from streaming.status import too_full

__all__ = ["figures_table", "learning_text", "number", "progress_bar", "summary_json"]


@contextmanager
def progress_bar(
    console: Console, total: int | None, name: str
) -> Iterator[Callable[[int, Callable[[], str]], None]]:
    """Show how far a command is, where the console is a terminal.

    Parameters
    ----------
    console
        Where to show it.
    total
        Of the rows, if known.
    name
        What is done with them.

    Yields
    ------
    callable
        Takes the rows done, and what makes the text beside the bar where there is one.
    """
    columns = (
        SpinnerColumn(), BarColumn(bar_width=20), MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, text="")

        def show(done: int, text: Callable[[], str]) -> None:
            if console.is_terminal:
                bar.update(task, completed=done, text=text())

        yield show


def learning_text(replay: Replay, learned: int, seconds: float) -> str:
    """How a replay stands: events/s, log loss and calibration so far."""
    figures = replay.progress.overall.figures()
    text = (
        f"{learned / max(seconds, 1e-9):,.0f}/s  log loss {number(figures.log_loss)}  "
        f"calibration {number(figures.calibration_ratio, 3)}"
    )
    rejected = sum(replay.rejected.values())
    return f"{text}  rejected {rejected:,}" if rejected else text


def summary_json(
    replay: Replay, *, log: str, spec: Spec, learned: int, seconds: float
) -> dict[str, Any]:
    """The figures of a run as plain data.

    ``events`` are all that the model has learned, those before a resume included;
    ``events_per_second`` is of this run.
    """
    figures = msgspec.to_builtins(replay.progress.overall.figures())
    rejected = dict(sorted(replay.rejected.items()))
    weights = replay.learner.weights
    assert weights is not None  # it has a spec
    return {
        "source": log,
        "spec": spec.name,
        **figures,
        "rejected": sum(rejected.values()),
        "rejected_by_reason": rejected,
        "events_this_run": learned,
        "seconds": round(seconds, 4),
        "events_per_second": round(learned / seconds, 1) if seconds > 0 else None,
        "mixture": weights.mixture,
        "occupancy": occupancy(weights),
        "bits": {"fields": spec.hash.bits, "crosses": spec.hash.cross_bits},
    }


def number(value: float | None, digits: int = 5) -> str:
    """A figure for people."""
    return "-" if value is None else f"{value:.{digits}f}"


def figures_table(summary: dict[str, Any], *, save: Path | None, plot: Path | None) -> Table:
    """The final table of a run."""
    table = Table(title=f"{summary['source']}  (spec {summary['spec']})", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("meaning", style="dim")
    for row in _rows(summary):
        table.add_row(*row)
    if save is not None:
        table.add_row("model", str(save), "for clicktide predict, explain, replay --resume")
    if plot is not None:
        table.add_row("plot", str(plot), "learning and reliability curves")
    return table


def _rows(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    low, high = summary["calibration_low"], summary["calibration_high"]
    rows = [
        ("events", f"{summary['events']:,}", f"{summary['clicks']:,.0f} clicks"),
        ("base rate", number(summary["base_rate"]), "clicks / events"),
        ("log loss", number(summary["log_loss"]), "progressive: scored before learned"),
        (
            "normalised entropy",
            number(summary["normalised_entropy"]),
            "log loss / entropy of the base rate; below 1 is better than it",
        ),
        ("AUC", number(summary["auc"]), f"+- {number(summary['auc_error'])}"),
        (
            "calibration ratio",
            number(summary["calibration_ratio"], 4),
            f"predicted / observed; 95 % interval {number(low, 4)} to {number(high, 4)}",
        ),
        ("ECE", number(summary["ece"]), "calibration error, 20 bins of equal mass"),
    ]
    if summary["excess_log_loss"] is not None:
        meaning = "log loss above that of a perfect predictor"
        rows.append(("excess log loss", number(summary["excess_log_loss"]), meaning))
    speed = f"{summary['events_per_second'] or 0:,.0f}"
    rows.append(("events/s", speed, f"{summary['seconds']:.2f} s from first read to last learned"))
    rows.append(_tables(summary["occupancy"], summary["bits"]))
    rows.append(("rejected", f"{summary['rejected']:,}", _reasons(summary["rejected_by_reason"])))
    return rows


def _tables(occupancy: dict[str, float], bits: dict[str, int]) -> tuple[str, str, str]:
    """How full the tables are, and what to do about it."""
    shares = " / ".join(f"{share:.0%}" for share in occupancy.values())
    meaning = f"of {' / '.join(occupancy)}: how probably one shares its bucket"
    if full := too_full(occupancy):
        changes = " ".join(f"--set {key}={bits[name] + 1}" for name, key in full.items())
        meaning = f"of {' / '.join(occupancy)}: one bit more is better: {changes}"
    return "tables in use", shares, meaning


def _reasons(rejected: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in rejected.items()) or "none"
