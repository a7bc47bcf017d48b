"""A calibration report of a data frame: in a notebook, or a test."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from features.batch import Batch, Position
from features.errors import ClicktideError
from features.spec_problem import suggest
from monitoring.report.build import report_of
from monitoring.report.checks import Outcome, outcome_of, parse_check
from monitoring.report.log_columns import LogColumns
from monitoring.report.log_counts import LogCounts
from monitoring.report.log_reader import LogReader
from monitoring.report.model import ReportData
from monitoring.report.page import render, write_report
from streaming.time_text import now_ms

__all__ = ["CalibrationReport", "calibration_report"]

_HEIGHT = 900


@dataclass(frozen=True)
class CalibrationReport:
    """What ``clicktide report --from`` says, of a frame; a notebook shows it as a page.

    Parameters
    ----------
    data
        All of it as records.
    """

    data: ReportData

    def __str__(self) -> str:
        verdict = self.data.verdict
        names = ("calibrated", "since", "where", "cost", "action")
        lines = (f"  {name:<11}{getattr(verdict, name)}" for name in names)
        return "\n".join((verdict.headline, *lines))

    def _repr_html_(self) -> str:
        page = html.escape(render(self.data), quote=True)
        style = f"width: 100%; height: {_HEIGHT}px; border: 0"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'

    def check(self, *checks: str) -> list[Outcome]:
        """Look whether it passes checks such as ``ratio>1.1,slice=campaign``.

        Raises
        ------
        ClicktideError
            One is no check, or of slices that the report does not have.
        """
        return [outcome_of(parse_check(text), self.data) for text in checks]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page, and its data beside it, ending in ``.json``."""
        write_report(self.data, Path(path))


def calibration_report(
    frame: Any,
    *,
    label: str,
    prediction: str,
    time_column: str = "",
    time_format: str = "",
    slices: Sequence[str] = (),
    bid: str = "",
    version: str = "",
    skip_bad: bool = False,
) -> CalibrationReport:
    """Report on a frame of predictions and clicks, by any model.

    Parameters
    ----------
    frame
        Of pandas, or of a library that Arrow can read; a row an impression.
    label, prediction
        Columns of whether it was clicked, and of the predicted probability, 0 to 1.
    time_column, time_format
        Column of the time, and its form; by default windows are of rows, and the form is as the
        values look.
    slices
        Columns to slice by.
    bid
        Column of what a click is worth.
    version
        Column of the model version that predicted.
    skip_bad
        Leave bad rows out, rather than raise.

    Raises
    ------
    ClicktideError
        A column is not there, or a row is bad: with its number, its value and what to do.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"click": [0, 1] * 500, "p": [0.25] * 1000, "site": ["a", "b"] * 500})
    >>> report = calibration_report(frame, label="click", prediction="p", slices=["site"])
    >>> print(report.data.verdict.where)
    site b (0.25): all of the excess; site a (no click). The rest agrees.
    >>> report.check("ratio<0.9,slice=site=b")[0].faults
    ('site b: 0.25 is below 0.9 (500 impressions)',)
    """
    from features.frames import frame_columns  # pandas, which a server does without
    from learning.inputs import as_frame

    columns = LogColumns(label, prediction, time_column, time_format, tuple(slices), bid, version)
    given = as_frame(frame)
    for name in columns.wanted:
        if name not in given.columns:
            near = suggest(name, [str(column) for column in given.columns])
            raise ClicktideError(f"the frame has no column {name!r}. Fix: {near}")
    rows = frame_columns(given, columns.wanted, {})
    axis: Literal["time", "row"] = "time" if time_column else "row"
    reader, counts = LogReader(columns, skip_bad=skip_bad), LogCounts(columns.slices, axis)
    end = Position("", rows.num_rows)
    batch = Batch(rows, "the frame", lambda _: (0, b""), lambda i: Position("", i), end)
    counts.update(reader(batch))
    return CalibrationReport(report_of(counts.gathered("the frame"), now_ms()))
