"""A report of any log of predictions and clicks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from features.errors import ClicktideError
from monitoring.report.build import report_of
from monitoring.report.log_columns import LogColumns
from monitoring.report.log_counts import LogCounts
from monitoring.report.log_reader import LogReader, read_log
from monitoring.report.model import ReportData
from monitoring.watch.scored import Scored

if TYPE_CHECKING:
    from monitoring.report.log_alarms import LogDetector

__all__ = ["report_log", "window_of"]

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
    with _progress(console) as bar, closing(batches):
        task = bar.add_task("reading", total=None, rows=0)
        for scored, rows in batches:
            tally.update(scored)
            done += rows
            bar.update(task, rows=done)
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


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
