"""The command ``clicktide predict``: a log scored by a saved model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from clicktide.interrupts import Stopped, stop_request
from clicktide.logs import estimated_rows
from clicktide.rejects import RejectSink
from clicktide.score import Scoring, open_to_score
from clicktide.scored_file import STDOUT, check_out, written
from clicktide.show import number
from features.counters.names import COLUMN_PREFIX
from features.spec import Spec
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot

__all__ = ["predict"]


def predict(
    log: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file or folder (CSV, TSV, JSON Lines, Parquet; plain, gzip or zstd), - for "
            "standard input, or sim:NAME",
        ),
    ],
    model: Annotated[Path, typer.Option("--model", help="Folder given to clicktide replay --save")],
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .csv or .parquet; - for CSV on stdout")
    ],
    spec: Annotated[
        str | None,
        typer.Option("--spec", help="Where this log keeps its columns, if not as the model's log"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists")] = False,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", help="Keep every bad row, with its reason, as JSON Lines"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object")
    ] = False,
) -> None:
    """Score a log by a saved model: a click probability for every event.

    Written are the event's id (its row number where the spec names none or
    the log lacks it), the probability and, where the log has it, the label.
    With labels, the figures of the predictions are shown.

    clicktide predict tomorrow.csv --model model --out scored.parquet

    zcat log.jsonl.gz | clicktide predict - --model model --out - > scored.csv
    """
    check_out(out, log, force=force)
    layout = load_spec(spec) if spec else None
    learner = load_snapshot(model, layout).learner
    sink = RejectSink(rejects, strict=strict, append=False)
    try:
        summary = _scored(log, layout, learner, sink, out)
    except (Stopped, KeyboardInterrupt):
        said = f"Stopped; {out} is not complete and was not kept."
        Console(stderr=True).print(said, markup=False)
        raise typer.Exit(130) from None
    _show(summary, out, as_json)


def _served(model: Vectoriser) -> list[str]:
    """Columns in which a log may say what counter values were served."""
    names = () if model.counters is None else model.counters.value_names
    return [COLUMN_PREFIX + name for name in names]


def _scored(
    log: str, layout: Spec | None, learner: ClickLearner, sink: RejectSink, out: Path
) -> dict[str, Any]:
    """Score a log into a file; what ``--json`` prints."""
    assert learner.vectoriser is not None  # a learner without a spec cannot be saved
    model = learner.vectoriser
    with stop_request() as request, sink:
        batches, source = open_to_score(log, layout or model.spec, model.columns, _served(model))
        scoring, start = Scoring(learner, source), perf_counter()
        with written(out, scoring.schema) as write, _bar(estimated_rows(log)) as advance:

            def on_batch() -> None:
                advance(scoring.events, perf_counter() - start)
                request.check()

            scoring.run(batches, on_reject=sink, write=write, on_batch=on_batch)
    seconds = perf_counter() - start
    return scoring.figures() | {
        "source": log,
        "seconds": round(seconds, 4),
        "events_per_second": round(scoring.events / seconds, 1),
    }


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int, float], None]]:
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=total, rate="")

        def advance(events: int, seconds: float) -> None:
            bar.update(task, completed=events, rate=f"{events / seconds:,.0f} events/s")

        yield advance


def _show(summary: dict[str, Any], out: Path, as_json: bool) -> None:
    """On standard error where the rows went to standard output."""
    aside = str(out) == STDOUT
    if as_json:
        typer.echo(msgspec.json.encode(summary).decode(), err=aside)
    else:
        Console(stderr=aside).print(_table(summary, out))


def _table(summary: dict[str, Any], out: Path) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right", overflow="fold")
    table.add_row("source", Text(summary["source"]))
    table.add_row("events", f"{summary['events']:,}")
    table.add_row("mean prediction", number(summary["mean_prediction"]))
    if summary["clicks"] is not None:
        low, high = number(summary["calibration_low"], 4), number(summary["calibration_high"], 4)
        table.add_row("clicks", f"{summary['clicks']:,.0f}")
        table.add_row("log loss", number(summary["log_loss"]))
        table.add_row("normalised entropy", number(summary["normalised_entropy"]))
        table.add_row("AUC", number(summary["auc"]))
        table.add_row("calibration ratio", number(summary["calibration_ratio"], 4))
        table.add_row("  its 95 % interval", f"{low} to {high}")
    if summary["excess_log_loss"] is not None:
        table.add_row("excess log loss", number(summary["excess_log_loss"]))
    table.add_row("events/s", f"{summary['events_per_second'] or 0:,.0f}")
    table.add_row("rejected", f"{summary['rejected']:,}")
    for reason, count in summary["rejected_by_reason"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    if str(out) != STDOUT:
        table.add_row("written", Text(str(out)))
    return table
