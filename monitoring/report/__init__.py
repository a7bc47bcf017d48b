"""The report: what was found, as data (:class:`ReportData`) and as one page (:func:`render`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitoring.report.model import ReportData
from monitoring.report.page import render

if TYPE_CHECKING:
    from monitoring.report.frame import CalibrationReport, calibration_report

__all__ = ["CalibrationReport", "ReportData", "calibration_report", "render"]


def __getattr__(name: str) -> Any:
    """Import what reads logs when it is first asked for: a server only shows reports."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from monitoring.report import frame

    return getattr(frame, name)
