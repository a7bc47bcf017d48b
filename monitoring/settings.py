"""What ``clicktide monitor`` can be told: a TOML file with a table ``[monitor]``, and changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from features.errors import ClicktideError
from monitoring.detect.settings import DetectSettings
from monitoring.windows.settings import WindowSettings
from streaming.settings_file import load_settings

__all__ = ["MonitorSettings", "fixed_settings", "load_monitor_settings"]


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
    webhook
        URL to which each alarm is sent as JSON. Empty: none.
    windows
        Length and bounds of the windows.
    detect
        How much evidence raises an alarm, and of what.
    """

    slices: tuple[str, ...] = ()
    bid: str = ""
    predict: Literal["auto", "served", "own"] = "auto"
    save_every_s: float = 30.0
    tell_every_s: float = 5.0
    keep_windows: int = 500
    keep_alarms: int = 1000
    webhook: str = ""
    windows: WindowSettings = WindowSettings()
    detect: DetectSettings = DetectSettings()

    def __post_init__(self) -> None:
        for name in ("keep_windows", "keep_alarms"):
            if getattr(self, name) < 1:
                raise ClicktideError(f"monitor settings, {name}: Fix: give at least 1")
        for name in ("save_every_s", "tell_every_s"):
            if not getattr(self, name) > 0:
                raise ClicktideError(f"monitor settings, {name}: Fix: give a number above 0")
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ClicktideError("monitor settings, webhook: Fix: give an http or https URL")


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


def load_monitor_settings(
    file: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()
) -> MonitorSettings:
    """Read the table ``[monitor]`` of a TOML file, if there is one, and ``key=value`` changes.

    Parameters
    ----------
    file
        TOML with the names of :class:`MonitorSettings` in ``[monitor]``; ``[monitor.windows]``
        holds those of :class:`monitoring.windows.WindowSettings`, ``[monitor.detect]`` those of
        :class:`monitoring.detect.DetectSettings`.
    overrides
        Such as ``bid=bid_price``, ``slices=site,device`` or ``windows.window_s=300``.

    Raises
    ------
    ClicktideError
        The file cannot be read, or a name or value in it is wrong.

    Examples
    --------
    >>> load_monitor_settings(None, ["windows.window_s=300", "slices=site,hour"]).slices
    ('site', 'hour')
    """
    return load_settings(
        MonitorSettings, file, overrides, name="monitor", example="save_every_s=5",
        page="docs/monitor.md",
        sections=("windows", "detect"), lists=("slices",), table="monitor",
    )  # fmt: skip
