"""The command ``clicktide evaluate``: a model of the first part of a log, judged on the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from clicktide.click_log import RejectSink, open_log, rereadable, spec_for
from clicktide.kernels import warm_up
from clicktide.options import JsonOption, PageOption, SlicesOption, print_json
from clicktide.predict import figures_table, score_log
from clicktide.report import check_out, fields_of, show_report
from clicktide.report_log import report_columns
from clicktide.run_summary import learning_text, progress_bar
from clicktide.score import PROBABILITY
from clicktide.table_file import STDOUT
from features.errors import ClicktideError
from features.spec import Spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from monitoring.report.log_columns import LogColumns
from monitoring.report.model import ReportData
from monitoring.report.page import write_report
from streaming.batch_cuts import LogSplit, split_log
from streaming.prepare import Preparer
from streaming.replay import Replay
from streaming.signals import Stopped, stop_request
from streaming.time_text import now_ms, stamp

__all__ = ["evaluate"]


def evaluate(
    log: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A file, a folder, - for standard input, or sim:NAME"
        ),
    ],
    spec: Annotated[
        str | None,
        typer.Option("--spec", help="Feature spec: a TOML file, or the name of a shipped one"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the spec; may be repeated"),
    ] = None,
    train_share: Annotated[
        float,
        typer.Option("--train-share", help="Share of the log that is learned; the rest is scored"),
    ] = 0.8,
    slices: SlicesOption = "",
    out: PageOption = Path("evaluation.html"),
    as_json: JsonOption = False,
) -> None:
    """Learn the first part of a log, freeze the model, and judge it on the rest.

    The log is cut by its times, where the spec has a time: what is scored is
    later than all that is learned. The report is as that of clicktide report.

    clicktide evaluate clicks.csv --spec my.toml --slices site

    clicktide evaluate 'sim:abrupt?events=200000'
    """
    check_out(out)
    if not 0.0 < train_share < 1.0:
        raise ClicktideError(f"--train-share: {train_share:g}. Fix: give a share such as 0.8")
    chosen = spec_for(log, spec, changes or [])
    _check_spec(chosen)
    console = Console(stderr=True, highlight=False)
    started = time.monotonic()
    try:
        with stop_request() as request, rereadable(log) as path:
            evaluation = Evaluation(path, chosen, slices, console, request.check)
            figures, data = evaluation.run(train_share)
    except (Stopped, KeyboardInterrupt):
        console.print("stopped: nothing was written")
        raise typer.Exit(130) from None
    data = msgspec.structs.replace(data, source=f"{log} ({figures['scored']})")
    write_report(data, out)
    _show(figures | {"source": log, "report": str(out)}, as_json)
    show_report(data, out, console, as_json=False, seconds=time.monotonic() - started)


def _check_spec(spec: Spec) -> None:
    if spec.source.views:
        raise ClicktideError(
            f"spec {spec.name}: a row of {spec.source.views!r} is many impressions, and is scored "
            "as one. Fix: evaluate a log with a row for each impression"
        )


class Evaluation:
    """A log's way through learning, scoring and the report.

    Parameters
    ----------
    log
        Can be read more than once.
    spec
        Of the features.
    slices
        Columns of the report, with commas between.
    console
        Where progress is shown.
    check
        Called between batches; may raise to stop.
    """

    def __init__(
        self, log: str, spec: Spec, slices: str, console: Console, check: Callable[[], None]
    ) -> None:
        self.log, self.spec, self.slices = log, spec, slices
        self.console, self.check = console, check

    def run(self, share: float) -> tuple[dict[str, Any], ReportData]:
        """Figures of both parts, and the report of the second one."""
        split = self._split(share)
        replay = self._learn(split)
        learned = msgspec.to_builtins(replay.progress.overall.figures())
        with TemporaryDirectory(prefix="clicktide-") as folder:
            scored = Path(folder) / "scored.parquet"
            figures = score_log(
                self.log, self.spec, replay.learner, self._rejects(), scored,
                keep=self.slices, check=self.check, part=split.rest,
            )  # fmt: skip
            data = self._report(scored, split)
        cut = (
            f"from {stamp(split.cut)} UTC on" if split.by_time else f"from row {split.cut + 1:,} on"
        )
        return figures | {"scored": cut, "learned": learned}, data

    def _split(self, share: float) -> LogSplit:
        source = self.spec.source
        with closing(
            open_log(self.log, self.spec, [source.timestamp or source.label], None)
        ) as log:
            return split_log(log, source, share)

    def _learn(self, split: LogSplit) -> Replay:
        warm_up(self.spec, self.console)
        replay = Replay(ClickLearner(self.spec))
        preparer = Preparer(Vectoriser(self.spec), self.spec.source)
        start = time.perf_counter()
        with progress_bar(self.console, None, "learning") as show:

            def on_batch(at: Replay) -> None:
                learned = at.progress.overall.events
                seconds = time.perf_counter() - start
                show(learned, lambda: learning_text(at, learned, seconds))
                self.check()

            batches = split.first(open_log(self.log, self.spec, preparer.columns, None))
            replay.run(batches, preparer=preparer, on_reject=self._rejects(), on_batch=on_batch)
        return replay

    def _rejects(self) -> RejectSink:
        return RejectSink(None, strict=False, append=False)

    def _report(self, scored: Path, split: LogSplit) -> ReportData:
        source = split.source
        columns = LogColumns(
            source.label,
            PROBABILITY,
            source.timestamp,
            source.timestamp_format,
            fields_of(self.slices),
        )
        return report_columns(
            str(scored), columns, window="", skip_bad=False, alarms=False,
            console=self.console, check=self.check, now_ms=now_ms(),
        )  # fmt: skip


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(figures)
        return
    learned = figures["learned"]
    table = figures_table(figures, Path(STDOUT))
    table.title = f"scored {figures['scored']}, after {learned['events']:,} events learned"
    Console().print(table)
