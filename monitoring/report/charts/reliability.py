"""Reliability diagram: click rate against prediction, both on log axes, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from monitoring.report import words
from monitoring.report.charts.scale import Scale, log_ticks
from monitoring.report.charts.svg import drawing, el, line, text
from monitoring.report.model import Bin

__all__ = ["off_diagonal", "reliability_chart"]


def off_diagonal(one: Bin) -> str:
    """Tell a bin whose interval leaves the diagonal out: ``over``, ``under`` or nothing."""
    if one.predicted > one.high:
        return "over"
    return "under" if one.predicted < one.low else ""


def reliability_chart(bins: Sequence[Bin], width: float) -> Markup:
    """Draw it; points under the diagonal are over-predicted."""
    side = min(width, 470.0)
    low, high = _ends(bins)
    left, bottom = 54.0, side - 42
    x = Scale(low, high, left, side - 12, log=True)
    y = Scale(low, high, bottom, 12, log=True)
    parts = [_axes(x, y, side)]
    parts += [_bin(one, x, y) for one in bins]
    said = "Reliability diagram: observed click rate of groups of equal size by their prediction"
    return drawing(side, side, parts, said, "chart")


def _ends(bins: Sequence[Bin]) -> tuple[float, float]:
    figures = [f for b in bins for f in (b.predicted, b.observed, b.low, b.high) if f > 0]
    least = min(b.predicted for b in bins if b.predicted > 0) / 4
    low = max(min(figures, default=0.001), least, 1e-7) / 1.2
    return low, min(1.0, max(figures, default=1.0) * 1.2)


def _axes(x: Scale, y: Scale, side: float) -> Markup:
    parts = []
    for tick in log_ticks(x.low, x.high, 9 if side > 400 else 6):
        said = f"{100 * tick:g} %"
        parts.append(line(x(tick), y.end, x(tick), y.start, "grid"))
        parts.append(line(x.start, y(tick), x.end, y(tick), "grid"))
        parts.append(text(x(tick), y.start + 17, said, "tick", "middle"))
        parts.append(text(x.start - 6, y(tick) + 4, said, "tick", "end"))
    parts.append(line(x.start, y.start, x.end, y.end, "one"))
    parts.append(text((x.start + x.end) / 2, side - 6, "mean prediction", "name", "middle"))
    middle = (y.start + y.end) / 2
    parts.append(
        el(
            "text", "click rate", x=12, y=middle, class_="name", text_anchor="middle",
            transform=f"rotate(-90 12 {middle:.0f})",
        )
    )  # fmt: skip
    parts.append(text(x.end - 6, y.start - 10, "▲ over-predicts", "small over", "end"))
    parts.append(text(x.start + 8, y.end + 16, "▼ under-predicts", "small under"))
    return Markup("").join(parts)


def _bin(one: Bin, x: Scale, y: Scale) -> Markup:
    if one.predicted <= 0:
        return Markup("")
    at, height = x(one.predicted), y(one.observed)
    off = off_diagonal(one)
    tip = (
        f"predicted {words.percent(one.predicted)}, clicked {words.percent(one.observed)}\n"
        f"95 % interval {words.percent(one.low)} to {words.percent(one.high)}\n"
        f"{words.count(one.count)} impressions"
    )
    shape = {
        "over": el("path", d=f"M{at:.1f} {height - 6:.1f}l6 11h-12Z", class_="over"),
        "under": el("path", d=f"M{at:.1f} {height + 6:.1f}l6 -11h-12Z", class_="under"),
        "": el("circle", cx=at, cy=height, r=3.8, class_="dot"),
    }[off]
    return Markup("").join(
        [
            line(at, y(max(one.low, y.low)), at, y(one.high), f"whisker {off}"),
            shape,
            el("circle", cx=at, cy=height, r=13, class_="hit", data_tip=tip),
        ]
    )
