"""A report of the running stream, from what its monitor has counted."""

from __future__ import annotations

import sys
from pathlib import Path

from features.errors import ClicktideError
from monitoring.registry.client import open_registry
from monitoring.registry.versions import RegistryError, Version
from monitoring.report import ReportData
from monitoring.report.build import report_of
from monitoring.report.slice_grid import read_challengers
from monitoring.report.stream import stream_counts
from monitoring.watch.monitor_files import read_monitor

__all__ = ["check_out", "report_stream"]


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
