"""The command ``clicktide predict``: a log scored by a saved model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicktide.click_log import RejectSink, estimated_rows, rereadable
from clicktide.options import ForceOption, JsonOption, RejectsOption, StrictOption, print_json
from clicktide.run_summary import number, progress_bar
from clicktide.score import Scoring, columns_to_keep, list_separators, open_to_score
from clicktide.table_file import STDOUT, check_out, table_writer
from features.batch import FileMark, Position
from features.counters.names import COLUMN_PREFIX
from features.spec import Spec
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot
from market import PREFIX, parse_sim
from streaming.examples import EXAMPLES_PREFIXES
from streaming.signals import Stopped, stop_request
from streaming.sources import Batch
from streaming.sources.files import list_files, mark_of
from streaming.sources.streams import STDIN

__all__ = ["figures_table", "learned_warning", "predict", "score_log"]


LogArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A file or folder (CSV, TSV, JSON Lines, Parquet; plain, gzip or zstd), - for "
        "standard input, or sim:NAME",
    ),
]
ModelOption = Annotated[
    Path, typer.Option("--model", help="Folder given to clicktide replay --save")
]
OutOption = Annotated[
    Path,
    typer.Option("--out", help="File to write: .csv, .jsonl or .parquet; - for CSV on stdout"),
]
SpecOption = Annotated[
    str | None,
    typer.Option("--spec", help="Where this log keeps its columns, if not as the model's log"),
]
KeepOption = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="COLUMNS",
        help="Columns of the log to write too, such as campaign,site; all: every one",
    ),
]


def predict(
    log: LogArgument,
    model: ModelOption,
    out: OutOption,
    spec: SpecOption = None,
    keep: KeepOption = "",
    force: ForceOption = False,
    rejects: RejectsOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a log by a saved model: a click probability for every event.

    Written are the event's id (its row number where the spec names none or
    the log lacks it), the probability and, where the log has them, the label
    (0 or 1) and the time, under their own names. With labels, the figures of
    the predictions are shown; clicktide report --from FILE says more of them.

    clicktide predict tomorrow.csv --model model --out scored.parquet --keep site,ad

    zcat log.jsonl.gz | clicktide predict - --model model --out - > scored.csv
    """
    check_out(out, log, force=force)
    layout = load_spec(spec) if spec else None
    snapshot = load_snapshot(model, layout)
    warning = learned_warning(log, snapshot.extra)
    if warning:
        Console(stderr=True).print(warning, style="yellow", markup=False, soft_wrap=True)
    sink = RejectSink(rejects, strict=strict, append=False)
    try:
        with stop_request() as request, rereadable(log, keep.strip() == "all") as readable:
            summary = score_log(
                readable, layout, snapshot.learner, sink, out, keep=keep, check=request.check
            )
    except (Stopped, KeyboardInterrupt):
        message = f"Stopped; {out} is not complete and was not kept."
        Console(stderr=True).print(message, markup=False)
        raise typer.Exit(130) from None
    _show(summary | {"source": log, "warning": warning}, out, as_json)


def _served(model: Vectoriser) -> list[str]:
    """Columns in which a log may say what counter values were served."""
    names = () if model.counters is None else model.counters.value_names
    return [COLUMN_PREFIX + name for name in names]


def score_log(
    log: str,
    layout: Spec | None,
    learner: ClickLearner,
    sink: RejectSink,
    out: Path,
    *,
    keep: str,
    check: Callable[[], None],
    part: Callable[[Generator[Batch]], Generator[Batch]] = lambda batches: batches,
) -> dict[str, Any]:
    """Score a log, or a part of it, into a file.

    Returns
    -------
    dict
        What ``--json`` prints.
    """
    assert learner.vectoriser is not None  # a learner without a spec cannot be saved
    model = learner.vectoriser
    own = layout or model.spec
    kept = columns_to_keep(log, keep, own)
    with sink:
        batches, source = open_to_score(log, own, (*model.columns, *kept), _served(model))
        scoring, start = Scoring(learner, source, kept), perf_counter()
        file = table_writer(out, scoring.names, list_separators(model.spec))
        rows, console = estimated_rows(log), Console(stderr=True)
        with file as write, progress_bar(console, rows, "scoring") as show:

            def on_batch() -> None:
                rate = scoring.events / (perf_counter() - start)
                show(scoring.events, lambda: f"{rate:,.0f} events/s")
                check()

            scoring.run(part(batches), on_reject=sink, write=write, on_batch=on_batch)
    seconds = perf_counter() - start
    return scoring.figures() | {
        "source": log,
        "seconds": round(seconds, 4),
        "events_per_second": round(scoring.events / seconds, 1),
    }


def _show(summary: dict[str, Any], out: Path, as_json: bool) -> None:
    """On standard error where the rows went to standard output."""
    aside = str(out) == STDOUT
    if as_json:
        print_json(summary, err=aside)
    else:
        Console(stderr=aside).print(figures_table(summary, out))


def figures_table(summary: dict[str, Any], out: Path) -> Table:
    """Figures of predictions, for people."""
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


def learned_warning(log: str, extra: Mapping[str, Any]) -> str | None:
    """What to say of a log that a model has learned, wholly or in part.

    Files are known again by their bytes, whatever they are called now; standard input is not.

    Parameters
    ----------
    log
        To be scored.
    extra
        Of the model's snapshot: where its learning ended.

    Examples
    --------
    >>> extra = {"source": "sim:abrupt", "position": {"file": "sim:abrupt", "row": 5000}}
    >>> print(learned_warning("sim:abrupt", extra))
    warning: sim:abrupt: this model has learned its first 5,000 rows: their figures are \
better than those of new events. Fix: score a later log, or see `clicktide evaluate`
    >>> learned_warning("sim:abrupt?seed=2", extra)
    """
    try:
        position = msgspec.convert(extra.get("position"), Position)
    except msgspec.ValidationError:
        return None  # none, or one of an earlier format
    what = _learned(log, str(extra.get("source", "")), position)
    if not what:
        return None
    return (
        f"warning: {log}: this model has learned {what}: their figures are better than those of "
        "new events. Fix: score a later log, or see `clicktide evaluate`"
    )


def _learned(log: str, source: str, position: Position) -> str:
    if log.startswith(PREFIX):
        same = source.startswith(PREFIX) and _market(log) == _market(source)
        return f"its first {position.row:,} rows" if same else ""
    if log == STDIN or log.startswith(EXAMPLES_PREFIXES):
        return ""
    files = list_files(log, "auto")
    learned = [file.path for file in files if _is_learned(file.path, position.marks)]
    if not learned:
        return ""
    return "rows of it" if len(files) == 1 else f"rows of {len(learned)} of its {len(files)} files"


def _market(log: str) -> Any:
    return msgspec.structs.replace(parse_sim(log), events=1)


def _is_learned(path: str, marks: Mapping[str, FileMark]) -> bool:
    return any(
        mark.size > 0 and mark_of(path, mark.rows, mark.size) == mark for mark in marks.values()
    )
