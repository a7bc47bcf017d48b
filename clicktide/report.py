"""The command ``clicktide report``: is the model calibrated, and since when and where not."""

from __future__ import annotations

import dataclasses
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.markup import escape

from clicktide.logs import rereadable
from clicktide.options import DirOption, PageOption, SlicesOption
from clicktide.report_stream import check_out, report_stream, write_report
from clicktide.show import progress_bar
from features.errors import ClicktideError
from features.labels import parse_label_values
from features.spec_file import load_spec
from monitoring.report.build import report_of
from monitoring.report.log_columns import LogColumns
from monitoring.report.log_counts import LogCounts
from monitoring.report.log_reader import LogReader, read_log
from monitoring.report.model import ReportData
from monitoring.report.verdict import DRIFTED
from monitoring.watch.scored import Scored
from streaming.signals import Stopped, stop_request
from streaming.time_text import now_ms

if TYPE_CHECKING:
    from monitoring.report.log_alarms import LogDetector

__all__ = ["fields_of", "report", "report_log", "show_report", "window_of"]

_DRIFTED = 3


def report(
    log: Annotated[
        str,
        typer.Option(
            "--from",
            help="A log of predictions and clicks of any model: CSV, TSV, JSON Lines or Parquet, "
            "a folder of these, or - for standard input",
        ),
    ] = "",
    label: Annotated[
        str,
        typer.Option(
            "--label", help="Column that says whether it was clicked [default: by its name]"
        ),
    ] = "",
    label_values: Annotated[
        str,
        typer.Option(
            "--label-values",
            metavar="VALUE=0,VALUE=1",
            help="What the label's values mean, such as -1=0,1=1; by default as they look",
        ),
    ] = "",
    prediction: Annotated[
        str,
        typer.Option(
            "--prediction",
            help="Column of the predicted probability, 0 to 1 [default: by its name, such as "
            "probability, as clicktide predict writes it]",
        ),
    ] = "",
    spec: Annotated[
        str | None,
        typer.Option("--spec", help="Spec that names the label, its values and the time"),
    ] = None,
    time_column: Annotated[
        str,
        typer.Option(
            "--time",
            help="Column of the time [default: by its name, unless --label is given]; without one, "
            "windows are of rows",
        ),
    ] = "",
    time_format: Annotated[
        str,
        typer.Option(
            "--time-format",
            help="iso, s, ms, us (since 1970) or a pattern such as '%y%m%d%H'; default: as the "
            "first value looks",
        ),
    ] = "",
    slices: SlicesOption = "",
    bid: Annotated[
        str, typer.Option("--bid", help="Column of what a click is worth: errors in money too")
    ] = "",
    version: Annotated[
        str, typer.Option("--version", help="Column of the model version that predicted")
    ] = "",
    window: Annotated[
        str,
        typer.Option("--window", help="Length of a window: 15min, 1h, 1d, or rows; default: fits"),
    ] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad rows out, counted, rather than stop")
    ] = False,
    alarms: Annotated[
        bool,
        typer.Option(
            "--alarms",
            help="Look for shifts row by row too, as clicktide monitor does: exact starts, causes, "
            "shifts that came and went; takes several times as long",
        ),
    ] = False,
    folder: DirOption = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            "--mlflow",
            envvar="MLFLOW_TRACKING_URI",
            metavar="URL",
            help="Without --from: the registry of model versions [default: DIR/mlflow.db]",
        ),
    ] = None,
    out: PageOption = Path("report.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON too")] = False,
    fail_if_drift: Annotated[
        bool,
        typer.Option("--fail-if-drift", help="Exit with 3 if it is not calibrated, for CI"),
    ] = False,
) -> None:
    """Write a calibration report: one HTML page that needs no network, and JSON beside it.

    Of the running stream:

    clicktide report

    Of any log of predictions and clicks, by any model:

    clicktide report --from scored.csv

    clicktide report --from log.parquet --label click --prediction p --time ts --slices site,ad
    """
    check_out(out)
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    if log:
        named = LogColumns(
            label, prediction, time_column, time_format, fields_of(slices), bid, version,
            cast(Any, parse_label_values(label_values)) if label_values else {},
        )  # fmt: skip
        with stop_request() as request, rereadable(log, not (label and prediction)) as path:
            try:
                columns = _columns(path, named, spec)
                data = report_log(
                    path, columns, window=window, skip_bad=skip_bad, alarms=alarms, console=console,
                    check=request.check, now_ms=now_ms(),
                )  # fmt: skip
            except Stopped:
                console.print("stopped: nothing was written")
                raise typer.Exit(130) from None
    else:
        data = report_stream(folder or Path("run"), now_ms(), mlflow)
    write_report(data, out)
    show_report(data, out, console, as_json=as_json, seconds=time.monotonic() - started)
    if fail_if_drift and data.verdict.state in DRIFTED:
        raise typer.Exit(_DRIFTED)


def _columns(log: str, named: LogColumns, spec: str | None) -> LogColumns:
    """The columns named, the others by the spec or the log's own names."""
    if named.label and named.prediction and spec is None:
        return named
    from monitoring.report.log_columns import with_defaults  # looks at the log

    return with_defaults(log, named, load_spec(spec).source if spec else None)


def fields_of(slices: str) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(dict.fromkeys(name.strip() for name in slices.split(",") if name.strip()))


def show_report(
    data: ReportData, out: Path, console: Console, *, as_json: bool, seconds: float
) -> None:
    """Say on standard error what a report says first; print its data on standard output."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data)).decode() + "\n")
    verdict = data.verdict
    console.print(f"[bold]{escape(verdict.headline)}[/]", soft_wrap=True)
    for name in ("calibrated", "since", "where", "cost", "action"):
        console.print(f"  [dim]{name:<11}[/]{escape(getattr(verdict, name))}", soft_wrap=True)
    rate = data.total.count / max(seconds, 1e-9)
    console.print(
        f"{data.total.count:,} impressions in {seconds:.1f} s ({rate:,.0f}/s). "
        f"Report: {escape(str(out))}, {escape(str(out.with_suffix('.json')))}",
        soft_wrap=True,
    )


_UNITS_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def report_log(
    log: str,
    columns: LogColumns,
    *,
    window: str,
    skip_bad: bool,
    alarms: bool,
    console: Console,
    check: Callable[[], None],
    now_ms: int,
) -> ReportData:
    """Read a log once, in bounded memory, and report on it.

    Parameters
    ----------
    log
        Path, or ``-``.
    columns
        Which column is what.
    window
        Length of a window as written by the user; empty: chosen.
    skip_bad
        Leave bad rows out and count them.
    alarms
        Look for shifts row by row too.
    console
        Where progress is shown.
    check
        Called between batches; may raise to stop.
    now_ms
        When the report is made.
    """
    axis = "time" if columns.time else "row"
    reader = LogReader(columns, skip_bad=skip_bad)
    tally = LogCounts(
        columns.slices, "time" if columns.time else "row", window=window_of(window, axis)
    )
    detector = _detector() if alarms else None
    read = read_log(log, reader)
    _count(read if detector is None else detector.beside(read), tally, console, check)
    gathered = tally.gathered("standard input" if log == "-" else log)
    notes = [f"{count:,} rows were left out: {what}." for what, count in reader.skipped.items()]
    if reader.label_values:
        meant = ", ".join(f"{word} as {value}" for word, value in reader.label_values.items())
        notes.append(f"The label's values were read so: {meant}.")
    if detector is not None:
        notes.append(detector.note())
        gathered = dataclasses.replace(gathered, alarms=detector.alarms())
    data = report_of(gathered, now_ms)
    return replace(data, notes=(*notes, *data.notes))


def _count(
    batches: Generator[tuple[Scored, int]],
    tally: LogCounts,
    console: Console,
    check: Callable[[], None],
) -> None:
    """Count every batch, showing how far it is."""
    done = 0
    with progress_bar(console, None, "reading") as show, closing(batches):
        for scored, rows in batches:
            tally.update(scored)
            done += rows
            show(done, lambda: "rows")
            check()


def _detector() -> LogDetector:
    from monitoring.report.log_alarms import LogDetector  # its kernels take a while to load

    return LogDetector()


def window_of(text: str, axis: str) -> int | None:
    """Length of a window in ms, or in rows.

    Raises
    ------
    ClicktideError
        It is not a length of that kind.

    Examples
    --------
    >>> window_of("15min", "time"), window_of("1000", "row"), window_of("", "time")
    (900000, 1000, None)
    """
    if not text:
        return None
    read = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)?", text.strip())
    number = float(read[1]) if read else 0.0
    unit = read[2] if read else None
    if number > 0 and axis == "row" and unit is None and number == int(number):
        return int(number)
    if number > 0 and axis == "time" and unit is not None:
        return max(1, int(number * _UNITS_MS[unit]))
    good = "a number of rows, such as 10000" if axis == "row" else "a time, such as 15min, 1h or 1d"
    why = ": without --time, windows are of rows" if axis == "row" and unit else ""
    raise ClicktideError(f"--window: {text!r} cannot be used{why}. Fix: give {good}")
