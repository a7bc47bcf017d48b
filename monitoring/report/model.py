"""What else a report's data tell: field drift, labels, freshness, model versions."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "FORMAT", "Alarm", "Bin", "Drift", "Freshness", "Grid", "GridCell", "GridColumn", "GridRow",
    "LabelHealth", "LabelWindow", "ReportData", "Share", "SliceRow", "Total", "Verdict",
    "Version", "VersionChange", "Window",
]  # fmt: skip


class Share(msgspec.Struct, frozen=True):
    """A value's share of the events before and after."""

    value: str
    before: float
    after: float


class Drift(msgspec.Struct, frozen=True):
    """How far a field's values (or the predictions) have moved from the reference.

    Parameters
    ----------
    psi, js
        Population stability index, and Jensen-Shannon distance (0 to 1).
    shares
        Values that moved most.
    """

    field: str
    psi: float | None = None
    js: float | None = None
    before_count: int | None = None
    after_count: int | None = None
    shares: tuple[Share, ...] = ()


class LabelWindow(msgspec.Struct, frozen=True):
    """Labels of one window: share of clicks that found their impression, and click delays (s)."""

    start: int
    end: int
    join_rate: float | None = None
    delay_p50_s: float | None = None
    delay_p90_s: float | None = None


class LabelHealth(msgspec.Struct, frozen=True):
    """What became of the clicks.

    Parameters
    ----------
    join_rate
        Clicks that found their impression, of all clicks.
    late_share, orphan_share, duplicate_share
        Clicks after the join window, without an impression, and sent twice.
    delay_p50_s, delay_p90_s, delay_p99_s
        Quantiles of impression to click.
    windows
        The same over time.
    skew_rate
        Impressions whose served counters were not those that are recomputed.
    """

    join_rate: float | None = None
    late_share: float | None = None
    orphan_share: float | None = None
    duplicate_share: float | None = None
    delay_p50_s: float | None = None
    delay_p90_s: float | None = None
    delay_p99_s: float | None = None
    windows: tuple[LabelWindow, ...] = ()
    skew_rate: float | None = None


class Freshness(msgspec.Struct, frozen=True):
    """Seconds on the way from the event; each stage is the median and the 95th percentile."""

    stage: str
    p50_s: float | None = None
    p95_s: float | None = None


class Version(msgspec.Struct, frozen=True):
    """One model version and how it did while it was served (or in shadow)."""

    name: str
    created: int | None = None
    alias: str = ""
    events: int | None = None
    count: int | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    normalised_entropy: float | None = None
    note: str = ""


class SliceRow(msgspec.Struct, frozen=True):
    """One slice: the events with one value of one field.

    Parameters
    ----------
    cost_clicks, cost_money
        Promised less observed, as in :class:`Alarm`.
    drifted
        Its ratio differs from 1, over all or since a change, by more than chance explains, with
        all slices looked at.
    since, ratio_since, low_since, high_since, cost_since, money_since
        Where its calibration has changed once: the start of the period in which it did, and the
        figures since then.
    change
        Log loss against the champion's on the same events, relative (0.01: 1 % worse).
    """

    field: str
    value: str
    count: int
    clicks: float
    mean_prediction: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    log_loss: float | None = None
    normalised_entropy: float | None = None
    cost_clicks: float | None = None
    cost_money: float | None = None
    drifted: bool = False
    change: float | None = None
    since: int | None = None
    ratio_since: float | None = None
    low_since: float | None = None
    high_since: float | None = None
    cost_since: float | None = None
    money_since: float | None = None


class GridColumn(msgspec.Struct, frozen=True):
    """One slice of the grid; its width is the count."""

    field: str
    value: str
    count: int


class GridCell(msgspec.Struct, frozen=True):
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

    count: int
    shade: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    normalised_entropy: float | None = None
    sure: bool = False


class GridRow(msgspec.Struct, frozen=True):
    """A version, a challenger or a period; a cell for every column."""

    name: str
    cells: tuple[GridCell | None, ...]
    note: str = ""


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
        :class:`monitoring.watch.detect.alarm.Alarm`.
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
