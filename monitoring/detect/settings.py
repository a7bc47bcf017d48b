"""Settings of the detectors."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["DetectSettings"]

_Ratios = tuple[Annotated[float, msgspec.Meta(gt=0)], ...]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Rows = Annotated[int, msgspec.Meta(ge=1)]


class DetectSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the detectors watch.

    Parameters
    ----------
    false_alarm_clicks
        All tests of one stream together raise at most one false alarm, on average, in this many
        clicks (at a click rate of 2 %, a million impressions are 20,000). Higher: fewer false
        alarms, later true ones: ten times as many clicks cost 2.3 nats of evidence.
    overall_share, slices_share, moved_share, missing_share, delay_share
        How this budget is split over the kinds of tests; they need not sum to 1. Within a kind
        each field has an equal part, and within a field each value has one as its share of the
        clicks, so that many rare values cost nothing. ``moved_share`` 0 switches the tests of
        the click rate off.
    overall_band, slices_band, moved_band
        Half width of the null band, in log odds: a model that is wrong by less raises no alarm.
        Wider: fewer alarms about small errors; slower, for all. A click rate that has moved by
        less than ``moved_band`` raises none either, but this costs the others no time.
    warmup_clicks
        Nothing is tested before this many clicks: the model is still learning.
    pane_clicks
        Expected clicks of a slice between looks at its click rate.
    least_clicks, longest_clicks
        Expected clicks of a slice since its click rate has moved: a shorter stretch is not looked
        at, a longer one is no shift but what is usual now.
    moved_margin
        Nats of evidence that the click rate of a slice needs beyond what the budget says, because
        its usual one is not known for sure. Higher: fewer false alarms, fewer true ones: see
        docs/detectors.md for how many.
    confirm
        After evidence that a prediction is wrong is enough, this share of the time since the
        start is waited before the alarm is raised: it dates the start and names the slice better.
        0: raised at once, as one of a click rate always is.
    closing_evidence
        How much evidence closes an alarm; higher: later, and seldom too early.
    history_rows
        Rows kept to date alarms and find causes; about 100 bytes each at 20 fields.
    max_values
        Values of all fields that are watched at a time, the most frequent; about 150 bytes each,
        and 1,300 more for each that clicks are expected of. The others of a field are watched as
        one.
    """

    false_alarm_clicks: _Positive = 50_000.0
    overall_share: _Share = 0.1
    slices_share: _Share = 0.4
    moved_share: _Share = 0.4
    missing_share: _Share = 0.05
    delay_share: _Share = 0.05
    overall_ratios: _Ratios = (0.7, 0.8, 0.88, 0.93, 1.07, 1.14, 1.25, 1.5)
    slice_ratios: _Ratios = (0.3, 0.5, 0.65, 0.8, 1.25, 1.5, 2.0, 4.5, 20.0)
    missing_ratios: _Ratios = (8.0, 1e3, 1e6)
    delay_ratios: _Ratios = (0.25, 0.5, 2.0, 4.0)
    delay_quantiles: tuple[float, ...] = (0.5,)
    overall_band: _Positive = 0.02
    slices_band: _Positive = 0.15
    moved_band: Annotated[float, msgspec.Meta(ge=0)] = 0.15
    missing_band: _Positive = 0.7
    delay_band: _Positive = 0.25
    warmup_clicks: Annotated[float, msgspec.Meta(ge=0)] = 6_000.0
    pane_clicks: _Positive = 5.0
    least_clicks: _Positive = 30.0
    longest_clicks: _Positive = 500.0
    moved_margin: float = 3.0
    confirm: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    closing_evidence: _Positive = 10_000.0
    history_rows: _Rows = 524_288
    max_values: Annotated[int, msgspec.Meta(ge=64)] = 131_072
