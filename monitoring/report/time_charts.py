"""Charts over time: the calibration ratio with its alarms, and one figure in a small chart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from markupsafe import Markup

from monitoring.report.model import ReportData, ReportWindow
from monitoring.report.svg import (
    Frame,
    Scale,
    drawing,
    el,
    hits,
    line,
    linear_ticks,
    path,
    ratio_ticks,
    text,
    time_axis,
    version_marks,
)
from monitoring.watch import formatting
from monitoring.watch.detect.alarm import Alarm
from monitoring.watch.formatting import side_of, sign_of, size_text

__all__ = [
    "calibration_chart", "loss_charts",
]  # fmt: skip

_LANE, _LANES = 17.0, 5
_VOLUME = 34.0
_DOTS = 90


def calibration_chart(data: ReportData, width: float) -> Markup:
    """Draw it; windows without clicks leave a gap in the line, and a band open above."""
    windows = data.windows
    lanes = min(len(data.alarms), _LANES)
    top = 12.0 + lanes * _LANE
    height = top + (270.0 if width > 500 else 230.0)
    frame = Frame.over(windows, data.axis, width, top, height - 30 - _VOLUME)
    y = _scale(windows, frame)
    parts = [
        _spans(data.alarms[:lanes], frame),
        _ratio_axis(y, frame),
        _band(windows, frame, y),
        version_marks(frame, data.version_changes),
        _line(windows, frame, y),
        _volume(windows, frame, height - 26),
        time_axis(frame, height - 26),
        hits(frame, windows),
        _lanes(data.alarms[:lanes], frame),
    ]
    label = f"Calibration ratio of {len(windows)} windows; {data.verdict.headline}"
    return drawing(width, height, parts, label, "chart")


def _scale(windows: Sequence[ReportWindow], frame: Frame) -> Scale:
    """A log axis that holds every ratio but those of windows with next to no clicks."""
    sure = [w for w in windows if w.calibration_ratio]
    sure = [w for w in sure if w.clicks >= 5] or sure
    ratios = [w.calibration_ratio or 1.0 for w in sure]
    bounds = [(w.calibration_low, w.calibration_high) for w in sure if w.clicks >= 20]
    ends = [bound for both in bounds for bound in both if bound]
    low = min([0.85, *ratios, *ends]) / 1.03
    high = max([1.18, *ratios, *ends]) * 1.03
    return Scale(max(low, 0.02), min(high, 50.0), frame.bottom, frame.top, log=True)


def _ratio_axis(y: Scale, frame: Frame) -> Markup:
    parts = []
    for tick in ratio_ticks(y):
        at = y(tick)
        parts.append(line(frame.left, at, frame.right, at, "one" if tick == 1 else "grid"))
        parts.append(text(frame.left - 6, at + 4, f"{tick:g}", "tick", "end"))
    parts.append(text(frame.left + 6, frame.top + 13, "▲ over-predicts", "small over"))
    parts.append(text(frame.left + 6, frame.bottom - 8, "▼ under-predicts", "small under"))
    return Markup("").join(parts)


def _runs(windows: Sequence[ReportWindow]) -> Iterator[list[ReportWindow]]:
    """Stretches in which every window has a ratio."""
    for known, run in groupby(windows, lambda w: w.calibration_ratio is not None):
        if known:
            yield list(run)


def _band(windows: Sequence[ReportWindow], frame: Frame, y: Scale) -> Markup:
    parts = []
    for run in _runs(windows):
        edges = [frame.x(run[0].start), *map(frame.middle, run), frame.x(run[-1].end)]
        run = [run[0], *run, run[-1]]
        above = [(x, y(w.calibration_high or y.high)) for x, w in zip(edges, run, strict=True)]
        below = [(x, y(w.calibration_low or y.low)) for x, w in zip(edges, run, strict=True)]
        parts.append(path([*above, *reversed(below)], "band", closed=True))
    return Markup("").join(parts)


def _line(windows: Sequence[ReportWindow], frame: Frame, y: Scale) -> Markup:
    parts = []
    for run in _runs(windows):
        parts.append(path([(frame.middle(w), y(w.calibration_ratio or 1.0)) for w in run], "line"))
    for window in windows:
        if window.calibration_ratio is not None:
            at = y(window.calibration_ratio)
            parts.append(_point(window, frame.middle(window), at, len(windows)))
    return Markup("").join(parts)


def _point(window: ReportWindow, x: float, y: float, windows: int) -> Markup:
    """A triangle up or down where the interval leaves 1 out: shape says what colour says."""
    size = 5 if windows <= _DOTS else 3.5
    if (window.calibration_low or 0.0) > 1:
        return el(
            "path", d=f"M{x:.1f} {y - size:.1f}l{size} {2 * size}h-{2 * size}Z", class_="over"
        )
    if window.calibration_high is not None and window.calibration_high < 1:
        return el(
            "path", d=f"M{x:.1f} {y + size:.1f}l{size} -{2 * size}h-{2 * size}Z", class_="under"
        )
    return el("circle", cx=x, cy=y, r=2.2 if windows <= _DOTS else 1.2, class_="dot")


def _volume(windows: Sequence[ReportWindow], frame: Frame, base: float) -> Markup:
    most = max(w.count for w in windows) or 1
    parts = [text(frame.left - 6, base - 4, "volume", "tick", "end")]
    for window in windows:
        start, end = frame.x(window.start), frame.x(window.end)
        height = (_VOLUME - 10) * window.count / most
        parts.append(
            el(
                "rect",
                x=start,
                y=base - height,
                width=max(0.5, end - start - (0.8 if end - start > 4 else 0)),
                height=height,
                class_="volume",
            )
        )
    return Markup("").join(parts)


def _spans(alarms: Sequence[Alarm], frame: Frame) -> Markup:
    """Shade the plot while an alarm that is about everything goes on."""
    parts = []
    for alarm in alarms:
        x = frame.x(alarm.since_ms)
        if not alarm.field:
            end = frame.x(frame.x.high if alarm.closed_ms is None else alarm.closed_ms)
            size = {"width": max(2.0, end - x), "height": frame.bottom - frame.top}
            parts.append(el("rect", x=x, y=frame.top, class_="span", **size))
        parts.append(line(x, frame.top - 4, x, frame.bottom, "since"))
    return Markup("").join(parts)


def _lanes(alarms: Sequence[Alarm], frame: Frame) -> Markup:
    return Markup("").join(
        _lane(alarm, frame, 4 + number * _LANE) for number, alarm in enumerate(alarms)
    )


def _lane(alarm: Alarm, frame: Frame, y: float) -> Markup:
    start = frame.x(alarm.since_ms)
    end = frame.x(frame.x.high if alarm.closed_ms is None else alarm.closed_ms)
    side, place = side_of(alarm), alarm.where
    named = f"{sign_of(alarm)} #{alarm.opening}"
    if frame.right > 500:
        named += f"  {place if len(place) <= 36 else place[:35] + '…'}"
    tip = (
        f"Alarm {alarm.opening}: {place}\n"
        f"since {formatting.when(alarm.since_ms, frame.axis)}\n"
        f"found {formatting.when(alarm.detected_ms, frame.axis)}\n"
        f"{size_text(alarm)}"
    )
    found = frame.x(alarm.detected_ms)
    bar = el(
        "rect", x=start, y=y + 9, width=max(3.0, end - start), height=4, class_=f"bar {side}",
        data_tip=tip,
    )  # fmt: skip
    mark = el("circle", cx=found, cy=y + 11, r=4, class_=f"found {side}", data_tip=tip)
    room = end - start if start > (frame.left + frame.right) / 2 else 0
    label = (
        text(start - 5, y + 14, named, f"small {side}", "end")
        if room or start > (frame.left + frame.right) / 2
        else text(end + 7 if end < frame.right - 160 else start, y + 6, named, f"small {side}")
    )
    return Markup("").join([bar, mark, label])


Figure = Callable[[ReportWindow], float | None]


def loss_charts(data: ReportData, width: float) -> Markup:
    """Normalised entropy above log loss, on one time axis each."""
    figures: tuple[tuple[str, Figure, float | None], ...] = (
        ("normalised entropy (below 1: better than the base rate)",
         lambda w: w.normalised_entropy, data.total.normalised_entropy),
        ("log loss, nats an impression", lambda w: w.log_loss, data.total.log_loss),
    )  # fmt: skip
    return Markup("").join(
        _series_chart(data, name, figure, overall, width) for name, figure, overall in figures
    )


def _series_chart(
    data: ReportData, name: str, figure: Figure, overall: float | None, width: float
) -> Markup:
    """One figure of each window as a line; ``overall`` as a dashed line across."""
    height, windows = 150.0, data.windows
    frame = Frame.over(windows, data.axis, width, 26.0, height - 28)
    known = [value for window in windows if (value := figure(window)) is not None]
    if not known:
        return Markup("")
    low, high = _room(min(known), max(known))
    y = Scale(low, high, frame.bottom, frame.top)
    ticks = linear_ticks(low, high, 3)
    shown = name if width > 500 else name.split(" (")[0]
    parts = [text(frame.left - 36, 14, shown, "name")]
    for tick in ticks:
        parts.append(line(frame.left, y(tick), frame.right, y(tick), "grid"))
        parts.append(text(frame.left - 6, y(tick) + 4, f"{tick:.5g}", "tick", "end"))
    if overall is not None:
        parts.append(line(frame.left, y(overall), frame.right, y(overall), "overall"))
    parts.append(version_marks(frame, data.version_changes))
    for there, run in groupby(windows, lambda w: figure(w) is not None):
        if there:
            parts.append(path([(frame.middle(w), y(figure(w) or 0.0)) for w in run], "line"))
    parts.append(time_axis(frame, frame.bottom))
    parts.append(hits(frame, windows))
    return drawing(width, height, parts, f"{name} over time", "chart")


def _room(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis, a little beyond the figures."""
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room
