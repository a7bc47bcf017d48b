"""What the windows can be told."""

from __future__ import annotations

import math

import msgspec

from features.errors import ClicktideError

__all__ = ["WindowSettings"]

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
            raise ClicktideError(f"monitor settings, {name}: {value}. Fix: give a number {what}")
