"""SVG: elements as safe text, scales and ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from streaming.time_text import time_text

__all__ = [
    "Picture", "Scale", "el", "linear_ticks", "log_ticks", "ratio_ticks", "time_ticks",
]  # fmt: skip

Attribute = str | float | int | None


def el(tag: str, *children: str, **attributes: Attribute) -> Markup:
    """An element; ``class_`` is ``class``, ``x_y`` is ``x-y``, and ``None`` leaves one out.

    Examples
    --------
    >>> str(el("text", "<b>", x=1.234, class_="label", data_tip=None))
    '<text x="1.2" class="label">&lt;b&gt;</text>'
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _short(value))
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inside)


class Picture:
    """A picture that is drawn shape by shape, each above those before it."""

    def __init__(self) -> None:
        self._shapes: list[Markup] = []

    def add(self, tag: str, *children: str, **attributes: Attribute) -> None:
        """Any element, see :func:`el`."""
        self._shapes.append(el(tag, *children, **attributes))

    def text(self, x: float, y: float, label: str, class_: str, anchor: str = "start") -> None:
        """A text at a place; ``anchor`` is ``start``, ``middle`` or ``end``."""
        self.add("text", label, x=x, y=y, class_=class_, text_anchor=anchor)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def path(self, points: Iterable[tuple[float, float]], class_: str, end: str = "") -> None:
        """A line through points; ``Z`` at its end closes it."""
        steps = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
        self.add("path", d=f"M{steps}{end}", class_=class_)

    def svg(self, width: float, height: float, label: str, class_: str = "chart") -> Markup:
        """The whole of it, with what it shows in words for those who do not see it."""
        return el(
            "svg", *self._shapes, viewBox=f"0 0 {_short(width)} {_short(height)}", width=width,
            height=height, role="img", aria_label=label, class_=class_,
        )  # fmt: skip


def _short(value: Attribute) -> str:
    """One digit after the point is a tenth of a pixel."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)


_TIME_STEPS_S = (
    1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200,
    86_400, 172_800, 604_800, 1_209_600, 2_419_200, 7_257_600, 31_536_000,
)  # fmt: skip
_RATIOS = (
    1, 2, 0.5, 1.5, 0.67, 1.25, 0.8, 4, 0.25, 10, 0.1, 1.1, 0.9, 1.05, 0.95, 3, 0.33, 20, 0.05,
    1.02, 0.98, 0.02, 50,
)  # fmt: skip
_APART = 22.0
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Scale:
    """A figure from ``low`` to ``high`` becomes a pixel from ``start`` to ``end``.

    Examples
    --------
    >>> Scale(1, 100, 0, 200, log=True)(10)
    100.0
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel; beyond the ends, the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def ratio_ticks(scale: Scale) -> list[float]:
    """Ticks of a calibration ratio on a log axis: 1, and others as there is room.

    Examples
    --------
    >>> sorted(ratio_ticks(Scale(0.6, 2.2, 200, 0, log=True)))
    [0.67, 0.8, 1, 1.25, 1.5, 2]
    """
    chosen: list[float] = []
    for tick in _RATIOS:
        inside = scale.low <= tick <= scale.high
        if inside and all(abs(scale(tick) - scale(other)) >= _APART for other in chosen):
            chosen.append(tick)
    return chosen


def log_ticks(low: float, high: float, most: int = 12) -> list[float]:
    """1, 2 and 5 of each power of ten; fewer of them if that is more than ``most``.

    Examples
    --------
    >>> log_ticks(0.009, 0.11)
    [0.01, 0.02, 0.05, 0.1]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = (float(f"{step}e{power}") for power in powers for step in steps)
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= most:
            break
    return inside


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round figures, at most so many or one more.

    Examples
    --------
    >>> linear_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def time_ticks(start: int, end: int, axis: str, most: int = 8) -> list[tuple[int, str]]:
    """Where a time axis has ticks, and what they say.

    Examples
    --------
    >>> time_ticks(0, 4 * 3_600_000, "time", 4)
    [(0, '1 Jan'), (3600000, '01:00'), (7200000, '02:00'), (10800000, '03:00'), (14400000, '04:00')]
    >>> time_ticks(0, 5_000_000, "row", 5)[1]
    (1000000, '1M')
    """
    if axis == "row":
        return [(int(tick), _short_count(tick)) for tick in linear_ticks(start, end, most)]
    rough = max(1, end - start) / 1000 / most
    step = next((s for s in _TIME_STEPS_S if s >= rough), _TIME_STEPS_S[-1]) * 1000
    times = range(-(-start // step) * step, end + 1, step)
    days, hours = "{0.day} {0:%b}", "{0:%H:%M:%S}" if step < 60_000 else "{0:%H:%M}"
    return [
        (at, time_text(at, days if step >= _DAY_MS or at % _DAY_MS < 1000 else hours))
        for at in times
    ]


def _short_count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
