"""SVG elements as safe text: every value is escaped, numbers are short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

__all__ = ["drawing", "el", "line", "path", "text"]

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


def text(x: float, y: float, said: str, class_: str, anchor: str = "start") -> Markup:
    """A text at a place; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return el("text", said, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, *, closed: bool = False) -> Markup:
    """A line through points."""
    steps = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
    return el("path", d=f"M{steps}{'Z' if closed else ''}", class_=class_)


def drawing(width: float, height: float, parts: Iterable[str], label: str, class_: str) -> Markup:
    """A whole picture, with what it shows in words for those who do not see it."""
    return el(
        "svg",
        *parts,
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_=class_,
    )


def _short(value: Attribute) -> str:
    """One digit after the point is a tenth of a pixel."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)
