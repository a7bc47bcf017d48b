"""A field's values before and after: hollow circle, line, full circle."""

from __future__ import annotations

from markupsafe import Markup

from monitoring.report import words
from monitoring.report.charts.scale import Scale
from monitoring.report.charts.svg import drawing, el, line, text
from monitoring.report.model import Drift, Share

__all__ = ["shares_chart"]

_ROW = 21.0


def shares_chart(drift: Drift, width: float) -> Markup:
    """Draw the values that moved most."""
    most = max(max(share.before, share.after) for share in drift.shares) or 1.0
    x = Scale(0.0, most, 96.0, width - 84)
    height = _ROW * len(drift.shares) + 6
    parts = [_row(share, x, 4 + _ROW * number, width) for number, share in enumerate(drift.shares)]
    said = f"Shares of the values of {drift.field} before and after"
    return drawing(width, height, parts, said, "chart")


def _row(share: Share, x: Scale, y: float, width: float) -> Markup:
    name = share.value or "(empty)"
    name = name if len(name) <= 14 else f"{name[:13]}…"
    middle = y + 9
    rose = share.after >= share.before
    change = words.percent(abs(share.after - share.before)).replace(" %", "")
    tip = (
        f"{share.value or '(empty)'}\nbefore {words.percent(share.before)}, "
        f"after {words.percent(share.after)}"
    )
    return Markup("").join(
        [
            text(0, y + 13, name, "row"),
            line(x.start, middle, x.end, middle, "grid"),
            line(x(share.before), middle, x(share.after), middle, "moved"),
            el("circle", cx=x(share.before), cy=middle, r=4, class_="before"),
            el("circle", cx=x(share.after), cy=middle, r=4, class_="after"),
            text(width, y + 13, f"{'+' if rose else '−'}{change} points", "tick", "end"),
            el("rect", x=0, y=y, width=width, height=_ROW, class_="hit", data_tip=tip),
        ]
    )
