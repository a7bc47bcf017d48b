"""A report of the running stream, from what its monitor has counted."""

from __future__ import annotations

from pathlib import Path

from features.errors import ClicktideError
from monitoring.report.from_monitor import gather_monitor
from monitoring.report.gathered import report_of
from monitoring.report.model import ReportData
from monitoring.state import read_monitor

__all__ = ["report_stream"]


def report_stream(folder: Path, now_ms: int) -> ReportData:
    """Report on the stream that runs in a folder.

    Parameters
    ----------
    folder
        Where ``clicktide up`` runs (its monitor's folder is in it), or a monitor's own.
    now_ms
        When the report is made.

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
    return report_of(gather_monitor(read_monitor(monitor), f"the stream in {folder}"), now_ms)
