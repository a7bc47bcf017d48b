"""Numbers, times and spans in words that people read."""

from __future__ import annotations

from monitoring.watch.slices import slice_name as place
from streaming.event_time import span, stamp, time_text

__all__ = [
    "clicks", "count", "day_and_time", "interval", "money", "percent", "place", "ratio", "span",
    "stamp", "when",
]  # fmt: skip


def count(value: float | None) -> str:
    """A count.

    Examples
    --------
    >>> count(1234567), count(None)
    ('1,234,567', '–')
    """
    return "–" if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """A calibration ratio, or another figure near 1.

    Examples
    --------
    >>> ratio(1.2345), ratio(12.3), ratio(None)
    ('1.23', '12.3', '–')
    """
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.3g}"


def interval(low: float | None, high: float | None) -> str:
    """Bounds of an interval; an open one shows the sign of infinity.

    Examples
    --------
    >>> interval(0.9, None)
    '0.90 to ∞'
    """
    if low is None and high is None:
        return "–"
    return f"{ratio(low or 0.0)} to {'∞' if high is None else ratio(high)}"


def percent(value: float | None) -> str:
    """A share.

    Examples
    --------
    >>> percent(0.0213), percent(0.5), percent(0.00012)
    ('2.1 %', '50 %', '0.012 %')
    """
    if value is None:
        return "–"
    of_100 = 100 * value
    if abs(of_100) >= 10 or of_100 == 0:
        return f"{of_100:.0f} %"
    return f"{of_100:.2g} %" if abs(of_100) < 1 else f"{of_100:.1f} %"


def clicks(value: float) -> str:
    """A number of clicks, whole from 10 on.

    Examples
    --------
    >>> clicks(1234.4), clicks(3.21)
    ('1,234', '3.2')
    """
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}"


def money(value: float) -> str:
    """An amount in the currency of the bids."""
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def day_and_time(ms: int) -> str:
    """A time for people: no seconds.

    Examples
    --------
    >>> day_and_time(1_413_849_600_000)
    '21 Oct 2014, 00:00'
    """
    return time_text(ms, "{0.day} {0:%b %Y, %H:%M}")


def when(at: int, axis: str) -> str:
    """Where on the axis of a report."""
    return f"row {at:,}" if axis == "row" else f"{day_and_time(at)} UTC"
