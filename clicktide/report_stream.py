"""A report of the running stream, from what its monitor has counted."""

from __future__ import annotations

from pathlib import Path

from features.errors import ClicktideError
from monitoring.report.model import ReportData

__all__ = ["report_stream"]


def report_stream(folder: Path, now_ms: int) -> ReportData:
    """Report on the stream that runs in a folder.

    Raises
    ------
    ClicktideError
        Its monitor has counted nothing.
    """
    raise ClicktideError(
        f"{folder / 'monitor'}: no monitor has run here. Fix: start one with clicktide up or "
        "clicktide monitor, or give a log with --from FILE --label COLUMN --prediction COLUMN"
    )
