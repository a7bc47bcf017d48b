"""The report: what was found, as data (:class:`ReportData`) and as one page (:func:`render`)."""

from monitoring.report.model import ReportData
from monitoring.report.page import render

__all__ = ["ReportData", "render"]
