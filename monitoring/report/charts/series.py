"""One figure over time in a small chart: log loss, normalised entropy, join rate, delays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from monitoring.report.charts.frame import Frame, hits, time_axis, version_marks
from monitoring.report.charts.scale import Scale, linear_ticks
from monitoring.report.charts.svg import drawing, line, path, text
from monitoring.report.model import LabelHealth, ReportData

__all__ = ["label_charts", "loss_charts", "series_chart"]

Figure = Callable[[Any], float | None]


def loss_charts(data: ReportData, width: float) -> Markup:
    """Normalised entropy above log loss, on one time axis each."""
    figures: tuple[tuple[str, Figure, float | None], ...] = (
        ("normalised entropy (below 1: better than the base rate)",
         lambda w: w.normalised_entropy, data.total.normalised_entropy),
        ("log loss, nats an impression", lambda w: w.log_loss, data.total.log_loss),
    )  # fmt: skip
    return Markup("").join(
        series_chart(data, data.windows, name, figure, width, overall=overall)
        for name, figure, overall in figures
    )


def label_charts(data: ReportData, labels: LabelHealth, width: float) -> Markup:
    """Join rate and click delays over time, where they are known."""
    figures: tuple[tuple[str, Figure], ...] = (
        ("clicks that found their impression, %", lambda w: _times(w.join_rate, 100)),
        ("median click delay, s", lambda w: w.delay_p50_s),
        ("90 % of clicks came within, s", lambda w: w.delay_p90_s),
    )
    known = [(n, f) for n, f in figures if any(f(w) is not None for w in labels.windows)]
    return Markup("").join(series_chart(data, labels.windows, n, f, width) for n, f in known)


def series_chart(
    data: ReportData,
    windows: Sequence[Any],
    name: str,
    figure: Figure,
    width: float,
    *,
    overall: float | None = None,
) -> Markup:
    """One figure of each window as a line; ``overall`` as a dashed line across."""
    height = 150.0
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
    if windows is data.windows:
        parts.append(hits(frame, data.windows))
    return drawing(width, height, parts, f"{name} over time", "chart")


def _room(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis, a little beyond the figures."""
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def _times(value: float | None, by: float) -> float | None:
    return None if value is None else value * by
