"""Settings of ``clicktide monitor``: what is watched, the windows, the detectors."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec

from features.errors import ClicktideError

__all__ = [
    "DetectSettings", "MonitorSettings", "RepairSettings", "WindowSettings", "fixed_settings",
]  # fmt: skip

_MOST_OPEN = 100
"""Windows that may wait for late clicks at a time: each holds up to some megabytes."""


class WindowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the stream is cut into windows, and how much is kept.

    Parameters
    ----------
    window_s
        Seconds of event time in a window. Longer: narrower intervals, later to show a change.
        0: begins at a minute and doubles until a window has ``least_clicks``, up to 17 hours.
    least_clicks
        Clicks that a window is to have on average if its length is chosen.
    lateness_s
        A window is closed when event time is this far past its end: until then late clicks
        still count in it. It must be above the joiner's ``late_window_s``.
    values_per_field
        Values of a field that have figures of their own; the others share ``(other)``. More:
        smaller slices are seen, and memory grows with it.
    reference_windows
        Closed windows that make the reference which fields and predictions are compared with.
        More: less noise in it.
    """

    window_s: float = 0.0
    least_clicks: int = 100
    lateness_s: float = 1860.0
    values_per_field: int = 100
    reference_windows: int = 10

    def __post_init__(self) -> None:
        self._require("window_s", self.window_s >= 0, "above 0, or 0 to let it be chosen")
        self._require("least_clicks", self.least_clicks >= 1, "of at least 1")
        self._require("lateness_s", self.lateness_s >= 0, "of at least 0")
        self._require("values_per_field", 1 <= self.values_per_field <= 10_000, "in 1..10,000")
        open_windows = self.lateness_s / self.window_s if self.window_s else 0.0
        self._require(
            "window_s", open_windows <= _MOST_OPEN, f"of at least lateness_s / {_MOST_OPEN}"
        )
        self._require("reference_windows", self.reference_windows >= 1, "of at least 1")

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds or not math.isfinite(getattr(self, name)):
            value = getattr(self, name)
            raise ClicktideError(f"monitor.windows.{name}: {value}. Fix: give a number {what}")


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
    new_share
        A value that was never seen before is told if it has this share of the rows since; 0: none
        is. In a field where such values keep coming, at most one in ``false_alarm_clicks``.
    confirm
        After evidence that a prediction is wrong is enough, this share of the time since the
        start is waited before the alarm is raised: it dates the start and names the slice better.
        0: raised at once, as one of a click rate always is.
    closing_evidence
        How much evidence closes an alarm; higher: later, and seldom too early.
    history_rows
        Rows kept to date alarms and find causes; about 120 bytes each at 20 fields.
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
    new_share: _Share = 0.01
    confirm: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    closing_evidence: _Positive = 10_000.0
    history_rows: _Rows = 524_288
    max_values: Annotated[int, msgspec.Meta(ge=64)] = 131_072


class RepairSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How slices that are predicted wrongly are repaired.

    Parameters
    ----------
    on
        Whether repairs are published for serving. Off: they are followed and shown only.
    change_clicks
        Once in so many expected clicks of a slice it is thought to change. More: fewer slices are
        repaired for nothing, and true changes later.
    fade_clicks
        Expected clicks in which an error is thought to shrink by a step as the model learns it.
    warmup_clicks
        Expected clicks of the stream before the first repair: the model is still learning.
    values_per_field
        A field with more values is not repaired.
    """

    on: bool = True
    change_clicks: float = 5_000.0
    fade_clicks: float = 100.0
    warmup_clicks: float = 2_000.0
    values_per_field: int = 512

    def __post_init__(self) -> None:
        for name in ("change_clicks", "fade_clicks"):
            if not getattr(self, name) >= 1.0:
                raise ClicktideError(f"monitor.repair.{name}: Fix: give a number of at least 1")
        if not self.warmup_clicks >= 0.0:
            raise ClicktideError("monitor.repair.warmup_clicks: Fix: give a number of at least 0")
        if not 1 <= self.values_per_field <= 100_000:
            raise ClicktideError("monitor.repair.values_per_field: Fix: give 1 to 100,000")


class MonitorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a stream is watched.

    Parameters
    ----------
    slices
        Fields to slice by: of the spec, any other column of the impressions, ``hour``,
        ``weekday``, ``new:FIELD`` (``new:ad``: first seen less than a day ago). None: the
        spec's first twenty and the hour.
    bid
        Column of the impressions that says what a click is worth, to price what is
        over-promised. Empty: none.
    predict
        Whose predictions are watched: ``served`` (an impression without one is not counted),
        ``own`` (a learner of the spec inside the monitor predicts each example, then learns
        it), or ``auto``: own, if the first examples were served without one.
    save_every_s
        Wall-clock seconds between saves; a new alarm is saved, and sent, within 2. Shorter: less
        to read again after a crash, more writing.
    tell_every_s
        Wall-clock seconds between figures for dashboards (``now.json``).
    keep_windows
        Closed windows kept on disk.
    keep_alarms
        Alarms kept in the state, and in ``alarms.jsonl``.
    skew_one_in
        One impression in so many, chosen by its time, has its served counters compared with the
        same ones recounted. 1: all; each is more work than counting it is.
    webhook
        URL to which each alarm is sent. Empty: none, or PagerDuty's own.
    webhook_format
        ``json``: the alarm's record; ``slack``: a message of an incoming web hook; ``pagerduty``:
        an event of its Events API v2, whose routing key the environment has.
    public_url
        Of the server whose ``/reports/latest`` tells the alarms, for links to them. Empty: links
        are anchors alone.
    windows
        Length and bounds of the windows.
    detect
        How much evidence raises an alarm, and of what.
    repair
        When a slice that is predicted wrongly is repaired.
    """

    slices: tuple[str, ...] = ()
    bid: str = ""
    predict: Literal["auto", "served", "own"] = "auto"
    save_every_s: float = 30.0
    tell_every_s: float = 5.0
    keep_windows: int = 500
    keep_alarms: int = 1000
    skew_one_in: int = 8
    webhook: str = ""
    webhook_format: Literal["json", "slack", "pagerduty"] = "json"
    public_url: str = ""
    windows: WindowSettings = WindowSettings()
    detect: DetectSettings = DetectSettings()
    repair: RepairSettings = RepairSettings()

    def __post_init__(self) -> None:
        for name in ("keep_windows", "keep_alarms", "skew_one_in"):
            if getattr(self, name) < 1:
                raise ClicktideError(f"monitor.{name}: Fix: give at least 1")
        for name in ("save_every_s", "tell_every_s"):
            if not getattr(self, name) > 0:
                raise ClicktideError(f"monitor.{name}: Fix: give a number above 0")
        for name in ("webhook", "public_url"):
            url = getattr(self, name)
            if url and not url.startswith(("http://", "https://")):
                raise ClicktideError(f"monitor.{name}: Fix: give an http or https URL")
        if self.webhook_format == "slack" and not self.webhook:
            raise ClicktideError("monitor.webhook: Fix: give the URL of Slack's incoming web hook")


def fixed_settings(settings: MonitorSettings) -> dict[str, Any]:
    """Settings that a state is bound to, by name: it means nothing under others.

    Examples
    --------
    >>> fixed_settings(MonitorSettings())["windows.least_clicks"]
    100
    """
    return {
        f"{section}.{name}": list(value) if isinstance(value, tuple) else value
        for section in ("windows", "detect")
        for name, value in msgspec.structs.asdict(getattr(settings, section)).items()
    }
