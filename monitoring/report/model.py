"""What a report says, as data: the JSON beside the HTML, and all that the page is drawn from.

Every time is event time in ms since 1970, UTC; where a log has no times, it is the number of
the row, and ``axis`` is ``"row"``. A share is between 0 and 1. ``None``: it is not known.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from monitoring.report.model_health import (
    Drift,
    Freshness,
    LabelHealth,
    LabelWindow,
    Share,
    Version,
)
from monitoring.report.model_slices import Grid, GridCell, GridColumn, GridRow, SliceRow

__all__ = [
    "FORMAT",
    "Alarm",
    "Bin",
    "Drift",
    "Freshness",
    "Grid",
    "GridCell",
    "GridColumn",
    "GridRow",
    "LabelHealth",
    "LabelWindow",
    "ReportData",
    "Share",
    "SliceRow",
    "Total",
    "Verdict",
    "Version",
    "VersionChange",
    "Window",
]

FORMAT = 1
"""Format number of the JSON; a reader refuses others."""


class Window(msgspec.Struct, frozen=True):
    """Figures of one window of event time.

    Parameters
    ----------
    start, end
        The window holds the events of ``start <= time < end``.
    count, clicks
        Impressions, and those clicked.
    mean_prediction
        Mean pCTR.
    ratio, low, high
        Calibration ratio with its 95 % interval; a bound may be missing where clicks are few.
    log_loss, normalised_entropy
        As everywhere.
    """

    start: int
    end: int
    count: int
    clicks: float
    mean_prediction: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    log_loss: float | None = None
    normalised_entropy: float | None = None


class Total(msgspec.Struct, frozen=True):
    """Figures of everything the report is about; see :class:`Window` and :class:`SliceRow`.

    Parameters
    ----------
    auc, auc_error
        Area under the ROC curve, and a bound on its error.
    ece
        Expected calibration error on 20 bins of equal mass.
    """

    count: int
    clicks: float
    mean_prediction: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    log_loss: float | None = None
    normalised_entropy: float | None = None
    auc: float | None = None
    auc_error: float | None = None
    ece: float | None = None
    since: int | None = None
    ratio_since: float | None = None
    low_since: float | None = None
    high_since: float | None = None
    cost_since: float | None = None
    cost_money: float | None = None


class Alarm(msgspec.Struct, frozen=True):
    """One shift.

    Parameters
    ----------
    what
        ``calibration``, ``click_rate``, ``missing`` or ``click_delay``; see
        :class:`monitoring.detect.alarm.Alarm`.
    since, detected_at, ended_at
        Event times; ``ended_at`` is missing while it goes on.
    field, value
        The slice; empty: everywhere.
    size, low, high
        With 95 % interval: the calibration ratio since then; clicks over those predicted at
        first; the share of rows without the field; the median click delay over what it was.
    cost_clicks
        Clicks that were promised and did not come (below 0: came without being promised).
    cost_money
        The same weighed by the bids; missing where no bids are logged.
    cause
        Probable cause, in words.
    action
        What to do, in words.
    since_low, since_high
        99 % interval of ``since``.
    """

    what: str
    since: int
    detected_at: int
    ended_at: int | None = None
    field: str = ""
    value: str = ""
    size: float | None = None
    low: float | None = None
    high: float | None = None
    cost_clicks: float | None = None
    cost_money: float | None = None
    cause: str = ""
    action: str = ""
    since_low: int | None = None
    since_high: int | None = None


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
    """

    state: Literal["calibrated", "over", "under", "mixed", "ended", "unknown", "stale"]
    headline: str
    calibrated: str
    since: str
    where: str
    cost: str
    action: str


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
    challengers
        Challengers against the champion, period by period.
    notes
        How to read it: the false-alarm rate, what was left out.
    """

    source: str
    made_at: int
    windows: tuple[Window, ...]
    total: Total
    verdict: Verdict
    axis: Literal["time", "row"] = "time"
    format: int = FORMAT
    alarms: tuple[Alarm, ...] = ()
    version_changes: tuple[VersionChange, ...] = ()
    reliability: tuple[Bin, ...] = ()
    slices: tuple[SliceRow, ...] = ()
    slices_left_out: int = 0
    grid: Grid | None = None
    drift: tuple[Drift, ...] = ()
    labels: LabelHealth | None = None
    freshness: tuple[Freshness, ...] = ()
    versions: tuple[Version, ...] = ()
    challengers: Grid | None = None
    notes: tuple[str, ...] = ()
