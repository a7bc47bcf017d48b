"""What charts over time share: the frame, its axes, version marks, and the places to point at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitoring.report import words
from monitoring.report.charts.scale import Scale, time_ticks
from monitoring.report.charts.svg import el, line, text
from monitoring.report.model import VersionChange, Window

__all__ = ["Frame", "hits", "time_axis", "version_marks", "window_tip"]

_NAMED_VERSIONS = 6


@dataclass(frozen=True)
class Frame:
    """Inside of a chart: its four sides in pixels, and the time axis."""

    left: float
    right: float
    top: float
    bottom: float
    x: Scale
    axis: str

    @classmethod
    def over(
        cls, windows: Sequence[Window], axis: str, width: float, top: float, bottom: float
    ) -> Frame:
        """A frame for these windows."""
        left, right = 46.0, width - 10.0
        x = Scale(windows[0].start, windows[-1].end, left, right)
        return cls(left, right, top, bottom, x, axis)

    def middle(self, window: Window) -> float:
        """Where a window's point stands."""
        return self.x((window.start + window.end) / 2)


def time_axis(frame: Frame, y: float) -> Markup:
    """Ticks of the time axis below ``y``."""
    most = 4 if frame.right < 500 else 9
    ticks = time_ticks(int(frame.x.low), int(frame.x.high), frame.axis, most)
    parts = [line(frame.left, y, frame.right, y, "axis")]
    for at, said in ticks:
        x = frame.x(at)
        parts.append(line(x, y, x, y + 4, "axis"))
        anchor = "end" if x > frame.right - 14 else "start" if x < frame.left + 8 else "middle"
        parts.append(text(x, y + 17, said, "tick", anchor))
    return Markup("").join(parts)


def version_marks(frame: Frame, changes: Sequence[VersionChange]) -> Markup:
    """A dotted line where another version was served; named while there are few."""
    named = len(changes) <= _NAMED_VERSIONS and frame.right > 500
    parts = []
    for change in changes:
        x = frame.x(change.at)
        parts.append(line(x, frame.top, x, frame.bottom, "version"))
        tip = f"Model version {change.version} from {words.when(change.at, frame.axis)}"
        parts.append(
            el(
                "path",
                d=f"M{x:.1f} {frame.bottom - 5:.1f}l5 5l-5 5l-5 -5Z",
                class_="version-mark",
                data_tip=tip,
            )
        )
        if named:
            anchor = "end" if x > frame.right - 80 else "start"
            x += -7 if anchor == "end" else 7
            parts.append(text(x, frame.bottom - 5, change.version, "small", anchor))
    return Markup("").join(parts)


def window_tip(window: Window, axis: str) -> str:
    """What is said of a window where one points at it."""
    first = words.when(window.start, axis)
    return (
        f"{first}\n{words.count(window.count)} impressions, {words.count(window.clicks)} clicks\n"
        f"calibration ratio {words.ratio(window.ratio)} "
        f"({words.interval(window.low, window.high)})\n"
        f"log loss {_five(window.log_loss)}, NE {_five(window.normalised_entropy)}"
    )


def hits(frame: Frame, windows: Sequence[Window]) -> Markup:
    """Unseen areas, one a window, that tell its figures."""
    return Markup("").join(
        el(
            "rect",
            x=frame.x(window.start),
            y=frame.top,
            width=max(1.0, frame.x(window.end) - frame.x(window.start)),
            height=frame.bottom - frame.top,
            class_="hit",
            data_tip=window_tip(window, frame.axis),
        )
        for window in windows
    )


def _five(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
