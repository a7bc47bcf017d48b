"""The command ``clicktide report``: is the model calibrated, and since when and where not."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer
from rich.console import Console

from clicktide.interrupts import Stopped, stop_request
from clicktide.logs import rereadable
from clicktide.options import DirOption
from clicktide.report_log import report_log
from clicktide.report_out import check_out, write_report
from clicktide.report_stream import report_stream
from features.labels import parse_label_values
from features.spec_file import load_spec
from monitoring.report.log_columns import LogColumns
from monitoring.report.model import ReportData
from monitoring.report.verdict import DRIFTED

__all__ = ["fields_of", "report", "show_report"]

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
    slices: Annotated[
        str, typer.Option("--slices", help="Columns to slice by, such as campaign,site")
    ] = "",
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
    out: Annotated[
        Path, typer.Option("--out", help="The page; the same as JSON is written beside it")
    ] = Path("report.html"),
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
                    check=request.check, now_ms=_now_ms(),
                )  # fmt: skip
            except Stopped:
                console.print("stopped: nothing was written")
                raise typer.Exit(130) from None
    else:
        data = report_stream(folder or Path("run"), _now_ms(), mlflow)
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
    console.print(f"[bold]{_plain(verdict.headline)}[/]", soft_wrap=True)
    for name in ("calibrated", "since", "where", "cost", "action"):
        console.print(f"  [dim]{name:<11}[/]{_plain(getattr(verdict, name))}", soft_wrap=True)
    rate = data.total.count / max(seconds, 1e-9)
    console.print(
        f"{data.total.count:,} impressions in {seconds:.1f} s ({rate:,.0f}/s). "
        f"Report: {_plain(str(out))}, {_plain(str(out.with_suffix('.json')))}",
        soft_wrap=True,
    )


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
