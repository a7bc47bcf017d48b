"""What a report says, as data: the JSON beside the HTML, and all that the page is drawn from.

Every time is event time in ms since 1970, UTC; where a log has no times, it is the number of
the row, and ``axis`` is ``"row"``. A share is between 0 and 1. ``None``: it is not known. Figures,
alarms, label health, skew and freshness are the records of :mod:`monitoring.watch`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from monitoring.watch.alarm_actions import AlarmAction
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.figures import SliceFigures
from monitoring.watch.monitor_files import LabelHealth
from monitoring.watch.repair.state_machine import RepairedSlice
from monitoring.watch.skew import Skew

__all__ = [
    "FORMAT", "Bin", "FieldDrift", "Grid", "GridCell", "GridColumn", "GridRow", "ReportData",
    "ReportWindow", "Share", "Since", "SliceRow", "Total", "Verdict", "VersionChange", "VersionRow",
    "with_figures",
]  # fmt: skip

FORMAT = 2
"""Format number of the JSON; a reader refuses others."""


class ReportWindow(SliceFigures, frozen=True, kw_only=True):
    """Figures of the events of ``start <= time < end``."""

    start: int
    end: int


class Since(SliceFigures, frozen=True, kw_only=True):
    """Figures since the start of the window, or period, in which the calibration has changed."""

    start: int


class Total(SliceFigures, frozen=True, kw_only=True):
    """Figures of everything the report is about, and since its calibration changed, if it did."""

    since: Since | None = None


class SliceRow(SliceFigures, frozen=True, kw_only=True):
    """One slice: the events with one value of one field.

    Parameters
    ----------
    drifted
        Its ratio differs from 1, over all or since a change, by more than chance explains, with
        all slices looked at.
    since
        Figures since its calibration changed, if it did.
    """

    field: str
    value: str
    drifted: bool = False
    since: Since | None = None


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose predictions are off by one ratio: :mod:`monitoring.report.attribution`.

    Parameters
    ----------
    slices
        (field, value): none for everything, two for a pair of slices.
    start, start_low, start_high
        When it began, with a 95 % interval; ``None``: before the log does.
    end
        When it ended; ``None``: it goes on.
    is_new
        Its slice first came then.
    ratio
        Predicted over observed clicks since then; ``None``: there was no click.
    clicks, over_promised
        Observed since then, and what was predicted beyond.
    money
        Sum of worth x (prediction - click); ``None``: no worth is known.
    share
        Of the excess of the whole log since then, how much is in it; above 1 where others make up
        for some; ``None``: the whole has none beyond chance.
    """

    slices: tuple[tuple[str, str], ...]
    start: int | None
    start_low: int | None
    start_high: int | None
    end: int | None = None
    is_new: bool
    ratio: float | None
    clicks: float
    over_promised: float
    money: float | None
    share: float | None


class GridColumn(msgspec.Struct, frozen=True):
    """One slice of the grid; its width is the count."""

    field: str
    value: str
    count: int


class GridCell(SliceFigures, frozen=True, kw_only=True):
    """One row's figures in one slice.

    Parameters
    ----------
    shade
        What colours the cell: the relative change of the normalised entropy against the
        champion (below 0: better), or the logarithm of the calibration ratio (see
        ``Grid.measure``).
    sure
        It differs from 0 by more than chance explains.
    """

    shade: float | None = None
    sure: bool = False


class GridRow(msgspec.Struct, frozen=True):
    """A version, a challenger or a period; a cell for every column."""

    name: str
    cells: tuple[GridCell | None, ...]


class Grid(msgspec.Struct, frozen=True):
    """Rows against slices (McMahan et al. 2013, section 8: GridViz).

    Parameters
    ----------
    rows_are
        What a row is.
    measure
        What the colour is: ``change`` against the champion, or ``calibration``.
    """

    rows_are: Literal["versions", "periods"]
    measure: Literal["change", "calibration"]
    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]


class Share(msgspec.Struct, frozen=True):
    """A value's share of the events before and after."""

    value: str
    before: float
    after: float


class FieldDrift(msgspec.Struct, frozen=True):
    """How far a field's values (or the predictions) have moved from the reference.

    Parameters
    ----------
    psi, js
        Population stability index, and Jensen-Shannon distance (0 to 1).
    before_count, after_count
        Events compared.
    shares
        Values that moved most.
    """

    field: str
    psi: float
    js: float
    before_count: int | None = None
    after_count: int | None = None
    shares: tuple[Share, ...] = ()


class VersionRow(SliceFigures, frozen=True, kw_only=True):
    """A model version, or a challenger, and how it did.

    Parameters
    ----------
    created
        Wall clock (ms).
    events
        That it has learned.
    """

    name: str
    created: int | None = None
    alias: str = ""
    events: int | None = None
    note: str = ""


class VersionChange(msgspec.Struct, frozen=True):
    """Another model version served from then on."""

    at: int
    version: str
    before: str = ""


class Bin(msgspec.Struct, frozen=True):
    """One bin of the reliability diagram: mean prediction, click rate with 95 % interval."""

    predicted: float
    observed: float
    low: float
    high: float
    count: float


class Verdict(msgspec.Struct, frozen=True):
    """The first screen, in plain words.

    Parameters
    ----------
    state
        ``calibrated``, ``over``, ``under``, ``mixed`` (parts do not cancel out), ``ended`` (a
        shift that is over), ``unknown`` (too few clicks to say) or ``stale`` (nothing is wrong in
        what was watched, but that is not the newest).
    headline
        The answer in one sentence.
    calibrated, since, where, cost, action
        The answers to the five questions.
    handled
        Who is on what the headline says, in words; empty: it is new.
    """

    state: Literal["calibrated", "over", "under", "mixed", "ended", "unknown", "stale"]
    headline: str
    calibrated: str
    since: str
    where: str
    cost: str
    action: str
    handled: str = ""


class ReportData(msgspec.Struct, frozen=True):
    """A whole report; all but the windows may be absent.

    Parameters
    ----------
    source
        What was looked at, for the title.
    made_at
        Wall clock (ms) when the report was made.
    axis
        ``time``, or ``row`` for a log without times.
    windows
        Oldest first.
    alarm_actions
        What people have done about alarms, oldest first.
    compared_with
        What the fields are compared with, where it is not the log's own first third.
    labels, skew
        What became of the clicks; whether served counters are those that are recomputed.
    freshness
        Seconds, by what they are of.
    repairs, repairs_on
        Slices of a stream that are repaired, and whether serving is told.
    faults
        What explains the excess of clicks of a log; ``None``: only a log's rows can tell.
    challengers
        Challengers against the champion, period by period.
    notes
        How to read it: the false-alarm rate, what was left out.
    """

    source: str
    made_at: int
    windows: tuple[ReportWindow, ...]
    total: Total
    verdict: Verdict
    axis: Literal["time", "row"] = "time"
    format: int = FORMAT
    alarms: tuple[Alarm, ...] = ()
    alarm_actions: tuple[AlarmAction, ...] = ()
    faults: tuple[Fault, ...] | None = None
    version_changes: tuple[VersionChange, ...] = ()
    reliability: tuple[Bin, ...] = ()
    slices: tuple[SliceRow, ...] = ()
    slices_left_out: int = 0
    grid: Grid | None = None
    drift: tuple[FieldDrift, ...] = ()
    compared_with: str = ""
    labels: LabelHealth | None = None
    skew: Skew | None = None
    freshness: dict[str, float] = {}
    repairs: tuple[RepairedSlice, ...] = ()
    repairs_on: bool = True
    versions: tuple[VersionRow, ...] = ()
    challengers: Grid | None = None
    notes: tuple[str, ...] = ()
    outcome: Literal["click", "conversion"] = "click"


_Kind = TypeVar("_Kind", bound=SliceFigures)


def with_figures(kind: type[_Kind], figures: SliceFigures, **more: Any) -> _Kind:
    """A record that has some figures among its own.

    Examples
    --------
    >>> with_figures(ReportWindow, SliceFigures(7, 2), start=0, end=9).clicks
    2
    """
    return kind(**msgspec.structs.asdict(figures), **more)
