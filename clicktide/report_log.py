"""A report of a log of predictions and clicks, by any model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace
from rich.console import Console

from clicktide.click_log import rereadable
from clicktide.run_summary import progress_bar
from features.errors import ClicktideError
from features.spec_file import load_spec
from features.times import NO_TIME, time_ms
from monitoring.report.build import report_of
from monitoring.report.conversions import closed_until, of_conversions
from monitoring.report.log_columns import LogColumns
from monitoring.report.log_counts import LogCounts
from monitoring.report.log_reader import LogReader, read_log
from monitoring.report.model import ReportData
from monitoring.watch.scored_batch import Scored
from streaming.signals import stop_request
from streaming.time_text import now_ms

if TYPE_CHECKING:
    from monitoring.report.log_alarms import LogDetector

__all__ = ["report_columns", "report_log", "window_of"]

_UNITS_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def report_log(
    log: str,
    named: LogColumns,
    spec: str | None,
    *,
    window: str,
    reference: str,
    skip_bad: bool,
    alarms: bool,
    console: Console,
) -> ReportData:
    """Report on a log; its columns are those named, the others by the spec or its own names.

    Raises
    ------
    Stopped
        The user asked for it.
    """
    looked_at = bool(named.conversions) or not (named.label and named.prediction)
    with stop_request() as request, rereadable(log, looked_at) as path:
        return report_columns(
            path, _columns(path, named, spec), window=window, reference=reference,
            skip_bad=skip_bad, alarms=alarms, console=console, check=request.check,
            now_ms=now_ms(),
        )  # fmt: skip


def _columns(log: str, named: LogColumns, spec: str | None) -> LogColumns:
    """The columns named, the others by the spec or the log's own names."""
    if named.label and named.prediction and spec is None and not named.conversions:
        return named
    from monitoring.report.log_columns import with_defaults  # looks at the log

    return with_defaults(log, named, load_spec(spec).source if spec else None)


def report_columns(
    log: str,
    columns: LogColumns,
    *,
    window: str,
    reference: str = "",
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
    reference
        What fields are compared with: another log, or a time, whose earlier rows are.
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
    axis: Literal["time", "row"] = "time" if columns.time else "row"
    closed = _closed_until(log, columns, skip_bad, check)
    reader = LogReader(columns, skip_bad=skip_bad, closed_until=closed)
    tally = LogCounts(columns.slices, axis, window=window_of(window, axis))
    detector = _detector() if alarms else None
    read = read_log(log, reader)
    if detector is not None:
        read = detector.beside(read)
    before = LogCounts(columns.slices, axis) if reference else None
    if before is not None:
        start = _time_of(reference, axis)
        if start is None:
            closed = _closed_until(reference, columns, skip_bad, check)
            other = LogReader(columns, skip_bad=skip_bad, closed_until=closed)
            _count(read_log(reference, other), before, console, check)
        else:
            read = _from(read, start, before)
    _count(read, tally, console, check)
    if before is not None and before.is_empty:
        raise ClicktideError(
            f"--reference {reference}: no row of it can be used. Fix: a later time"
        )
    notes = [
        f"{count:,} rows were left out: {what}." for what, count in reader.skipped.items() if count
    ]
    if tally.is_empty and notes:
        raise ClicktideError(f"{log}: no row is left. Fix: look at why. {' '.join(notes)}")
    gathered = tally.gathered("standard input" if log == "-" else log, before)
    if reader.label_values:
        meant = ", ".join(f"{word} as {value}" for word, value in reader.label_values.items())
        notes.append(f"The label's values were read so: {meant}.")
    if detector is not None:
        notes.append(detector.note())
        gathered = dataclasses.replace(gathered, alarms=detector.alarms())
    data = report_of(gathered, now_ms)
    data = replace(data, notes=(*notes, *data.notes))
    if not columns.conversions:
        return data
    return of_conversions(data, are_complete=closed is not None)


def _closed_until(
    log: str, columns: LogColumns, skip_bad: bool, check: Callable[[], None]
) -> int | None:
    """From when on rows may still convert: the log is read once more to tell."""
    if not columns.conversion_window_ms:
        return None
    if not columns.time:
        raise ClicktideError("--conversion-window: rows have no times. Fix: --time COLUMN")
    return closed_until(
        read_log(log, LogReader(columns, skip_bad=skip_bad)), columns.conversion_window_ms, check
    )


def _time_of(reference: str, axis: str) -> int | None:
    """The time that is meant, in ms; ``None``: it is a log."""
    if Path(reference).exists():
        return None
    try:
        time = time_ms(reference, "iso")
    except ValueError:
        time = NO_TIME
    if time == NO_TIME or axis != "time":
        raise ClicktideError(
            f"--reference: {reference!r} is no log"
            + (", and without --time rows have no times" if axis != "time" else " and no time")
            + ". Fix: give the path of a log, or a time such as 2026-10-01 or 2026-10-01T12:00"
        )
    return time


def _from(
    batches: Generator[tuple[Scored, int]], start: int, before: LogCounts
) -> Generator[tuple[Scored, int]]:
    """The rows from a time on; those before it are counted apart."""
    with closing(batches):
        for scored, rows in batches:
            earlier = scored.time_ms < start
            before.update(scored.take(earlier))
            yield scored.take(~earlier), rows


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


def window_of(text: str, axis: str, option: str = "--window") -> int | None:
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
    raise ClicktideError(f"{option}: {text!r} cannot be used{why}. Fix: give {good}")
