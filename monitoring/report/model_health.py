"""What else a report's data tell: field drift, labels, freshness, model versions."""

from __future__ import annotations

import msgspec

__all__ = [
    "Drift",
    "Freshness",
    "LabelHealth",
    "LabelWindow",
    "Share",
    "Version",
]


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
