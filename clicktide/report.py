"""The command ``clicktide report``: is the model calibrated, and since when and where not."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from clicktide.options import DirOption, MlflowOption, PageOption, SlicesOption
from clicktide.report_log import report_log, window_of
from features.errors import ClicktideError
from features.labels import parse_label_values
from features.whole_file import whole_file
from monitoring.registry.client import open_registry
from monitoring.registry.versions import RegistryError, Version
from monitoring.report.build import report_of
from monitoring.report.checks import Check, Outcome, junit, outcome_of, parse_check
from monitoring.report.log_columns import LogColumns
from monitoring.report.model import ReportData
from monitoring.report.page import write_report
from monitoring.report.slice_grid import read_challengers
from monitoring.report.stream import stream_counts
from monitoring.report.verdict import DRIFTED
from monitoring.watch.monitor_files import read_monitor
from streaming.signals import Stopped
from streaming.time_text import now_ms

__all__ = ["check_out", "fields_of", "report", "report_stream", "show_report"]

_DRIFTED = 3


LogOption = Annotated[
    str,
    typer.Option(
        "--from",
        help="A log of predictions and clicks of any model: CSV, TSV, JSON Lines or Parquet, "
        "a folder of these, or - for standard input",
    ),
]
LabelOption = Annotated[
    str,
    typer.Option("--label", help="Column that says whether it was clicked [default: by its name]"),
]
LabelValuesOption = Annotated[
    str,
    typer.Option(
        "--label-values",
        metavar="VALUE=0,VALUE=1",
        help="What the label's values mean, such as -1=0,1=1; by default as they look",
    ),
]
PredictionOption = Annotated[
    str,
    typer.Option(
        "--prediction",
        help="Column of the predicted probability, 0 to 1 [default: by its name, such as "
        "probability, as clicktide predict writes it]",
    ),
]
ConversionsOption = Annotated[
    str,
    typer.Option(
        "--conversions",
        metavar="COLUMN",
        help="Report on conversions: whether a row converted, or when (empty: it did not). With "
        "--label too, only rows that were clicked are judged",
    ),
]
ConversionWindowOption = Annotated[
    str,
    typer.Option(
        "--conversion-window",
        help="How long after its time a row's conversion counts: 24h, 7d; rows for which that is "
        "not over when the log ends are left out, counted",
    ),
]
SpecOption = Annotated[
    str | None,
    typer.Option("--spec", help="Spec that names the label, its values and the time"),
]
TimeColumnOption = Annotated[
    str,
    typer.Option(
        "--time",
        help="Column of the time [default: by its name, unless --label is given]; without one, "
        "windows are of rows",
    ),
]
TimeFormatOption = Annotated[
    str,
    typer.Option(
        "--time-format",
        help="iso, s, ms, us (since 1970) or a pattern such as '%y%m%d%H'; default: as the "
        "first value looks",
    ),
]
BidOption = Annotated[
    str, typer.Option("--bid", help="Column of what a click is worth: errors in money too")
]
VersionOption = Annotated[
    str, typer.Option("--version", help="Column of the model version that predicted")
]
WindowOption = Annotated[
    str,
    typer.Option("--window", help="Length of a window: 15min, 1h, 1d, or rows; default: fits"),
]
ReferenceOption = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="LOG|TIME",
        help="What fields are compared with: another log of the same columns, or a time such as "
        "2026-10-01, whose earlier rows are, and the report is of the later ones [default: the "
        "first third with the last]",
    ),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad rows out, counted, rather than stop")
]
AlarmsOption = Annotated[
    bool,
    typer.Option(
        "--alarms",
        help="Look for shifts row by row too, as clicktide monitor does: exact starts, causes, "
        "shifts that came and went; takes several times as long",
    ),
]
AsJsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON too")]
FailIfDriftOption = Annotated[
    bool,
    typer.Option("--fail-if-drift", help="Exit with 3 if it is not calibrated, for CI"),
]
FailIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="CHECK",
        help="Exit with 3 if it is so: ratio>1.1 or log_loss>0.5, of each value of a field "
        "ratio>1.1,slice=campaign, or of one ratio<0.9,slice=site=news; figures: ratio (surely "
        "beyond), log_loss, ne, auc, ece, over_promised, money; may be repeated",
    ),
]
JUnitOption = Annotated[
    Path | None,
    typer.Option("--junit", help="Write what became of the checks as a JUnit XML file, for CI"),
]


def report(
    log: LogOption = "",
    label: LabelOption = "",
    label_values: LabelValuesOption = "",
    conversions: ConversionsOption = "",
    conversion_window: ConversionWindowOption = "",
    prediction: PredictionOption = "",
    spec: SpecOption = None,
    time_column: TimeColumnOption = "",
    time_format: TimeFormatOption = "",
    slices: SlicesOption = "",
    bid: BidOption = "",
    version: VersionOption = "",
    window: WindowOption = "",
    reference: ReferenceOption = "",
    skip_bad: SkipBadOption = False,
    alarms: AlarmsOption = False,
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    out: PageOption = Path("report.html"),
    as_json: AsJsonOption = False,
    fail_if_drift: FailIfDriftOption = False,
    fail_if: FailIfOption = None,
    junit_file: JUnitOption = None,
) -> None:
    """Write a calibration report: one HTML page that needs no network, and JSON beside it.

    Of the running stream:

    clicktide report

    Of any log of predictions and clicks, by any model:

    clicktide report --from scored.csv

    clicktide report --from log.parquet --label click --prediction p --time ts --slices site,ad

    As a check of a build:

    clicktide report --from scored.csv --slices site --fail-if 'ratio>1.1,slice=site' --junit ci.xml
    """
    check_out(out)
    checks = [parse_check(text) for text in fail_if or ()]
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    if log:
        named = LogColumns(
            label, prediction, time_column, time_format, fields_of(slices), bid, version,
            cast(Any, parse_label_values(label_values)) if label_values else {},
            conversions, window_of(conversion_window, "time", "--conversion-window") or 0,
        )  # fmt: skip
        try:
            data = report_log(
                log, named, spec, window=window, reference=reference, skip_bad=skip_bad,
                alarms=alarms, console=console,
            )  # fmt: skip
        except Stopped:
            console.print("stopped: nothing was written")
            raise typer.Exit(130) from None
    else:
        data = report_stream(folder or Path("run"), now_ms(), mlflow)
    write_report(data, out)
    show_report(data, out, console, as_json=as_json, seconds=time.monotonic() - started)
    outcomes = _outcomes(checks, data, console, junit_file, fail_if_drift=fail_if_drift)
    if any(outcome.faults for outcome in outcomes):
        raise typer.Exit(_DRIFTED)


def report_stream(folder: Path, now_ms: int, mlflow: str | None = None) -> ReportData:
    """Report on the stream that runs in a folder.

    Parameters
    ----------
    folder
        Where ``clicktide up`` runs (its monitor's folder is in it), or a monitor's own.
    now_ms
        When the report is made.
    mlflow
        URL of the registry; by default the folder's own, if there is one.

    Raises
    ------
    ClicktideError
        Its monitor has counted nothing.
    """
    monitor = folder if (folder / "now.json").exists() else folder / "monitor"
    if not (monitor / "now.json").exists():
        raise ClicktideError(
            f"{monitor}: no monitor has run here. Fix: start one with clicktide up or "
            "clicktide monitor, or give a log with --from FILE --label COLUMN --prediction COLUMN"
        )
    run = monitor.parent
    gathered = stream_counts(
        read_monitor(monitor),
        f"the stream in {run}",
        versions=_registered(run, mlflow),
        challengers=read_challengers(run / "challengers"),
    )
    return report_of(gathered, now_ms)


def _registered(run: Path, mlflow: str | None) -> list[Version]:
    """The registry's versions, if there is a registry; MLflow is slow to load, and not needed."""
    if mlflow is None and not (run / "mlflow.db").exists():
        return []
    try:
        return open_registry(mlflow, run).versions()
    except RegistryError as error:
        print(f"report: without model versions: {error}", file=sys.stderr)
        return []


def check_out(out: Path) -> None:
    """Refuse a place where no page can be written, before any work is done for it.

    Raises
    ------
    ClicktideError
        It does not end in .html, or is a folder.
    """
    if out.suffix not in (".html", ".htm"):
        raise ClicktideError(f"{out}: not a page. Fix: give a name that ends in .html")
    if out.is_dir():
        raise ClicktideError(f"{out}: it is a folder. Fix: name a file in it, {out}/report.html")


def _outcomes(
    checks: Sequence[Check],
    data: ReportData,
    console: Console,
    junit_file: Path | None,
    *,
    fail_if_drift: bool,
) -> list[Outcome]:
    """What becomes of each check; those that fail are told, and all written for CI."""
    outcomes = [outcome_of(check, data) for check in checks]
    for outcome in outcomes:
        if outcome.faults:
            faults = escape("; ".join(outcome.faults))
            console.print(f"[bold red]{escape(outcome.check)}:[/] {faults}", soft_wrap=True)
    if fail_if_drift:  # which the verdict has told
        drifted = data.verdict.state in DRIFTED
        outcomes.append(Outcome("drift", (data.verdict.headline,) if drifted else ()))
    if junit_file is not None:
        with whole_file(junit_file) as file:
            file.write(junit(outcomes, data.source).encode() + b"\n")
    return outcomes


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
    rows = "rows" if data.outcome == "conversion" else "impressions"
    rate = data.total.count / max(seconds, 1e-9)
    console.print(
        f"{data.total.count:,} {rows} in {seconds:.1f} s ({rate:,.0f}/s). "
        f"Report: {escape(str(out))}, {escape(str(out.with_suffix('.json')))}",
        soft_wrap=True,
    )
