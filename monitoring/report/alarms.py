"""Alarms in words, and what they cost up to now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from monitoring.report import words
from monitoring.report.model import SliceRow, Total
from monitoring.watch.detect.alarm import Alarm

__all__ = ["by", "headline_of", "priced", "side_of", "sign_of", "size_said"]

Side = Literal["over", "under", "mixed"]


def priced(alarm: Alarm, total: Total, rows: Iterable[SliceRow]) -> Alarm:
    """The alarm with its cost up to now, where the windows have counted on since it was raised.

    A detector prices a shift when it raises the alarm, and again when it closes it.
    """
    if alarm.closed_ms is not None or alarm.what != "calibration":
        return alarm
    since = total.since
    if alarm.field:
        place = alarm.field, alarm.value
        since = next((row.since for row in rows if (row.field, row.value) == place), None)
    if since is None or abs(since.over_promised) < abs(alarm.clicks_over_promised or 0.0):
        return alarm
    money = since.money if alarm.field else None
    return replace(
        alarm,
        clicks_over_promised=since.over_promised,
        money_over_promised=money or alarm.money_over_promised,
    )


def side_of(alarm: Alarm) -> Side:
    """Whether more clicks are promised than come, fewer, or it is about neither."""
    size = alarm.size_low if alarm.size is None else alarm.size
    if size is None or alarm.what not in ("calibration", "click_rate"):
        return "mixed"
    more = size > 1 if alarm.what == "calibration" else size < 1
    return "over" if more else "under"


def sign_of(alarm: Alarm) -> str:
    """The sign that goes with the colour."""
    return {"over": "▲", "under": "▼", "mixed": "◆"}[side_of(alarm)]


def size_said(alarm: Alarm) -> str:
    """How large it is.

    Examples
    --------
    >>> size_said(Alarm(what="missing", since_ms=0, detected_ms=0, size=0.31, size_low=0.3,
    ...                 size_high=0.33))
    'missing in 31 % of impressions (30 % to 33 %)'
    """
    if alarm.size is None and alarm.size_low is None:
        return "size not known"
    if alarm.what == "missing":
        bounds = f"{words.percent(alarm.size_low)} to {words.percent(alarm.size_high)}"
        return f"missing in {words.percent(alarm.size)} of impressions ({bounds})"
    said = {
        "click_rate": "clicks over those predicted at first",
        "click_delay": "median click delay over what it was",
    }.get(alarm.what, "calibration ratio")
    return f"{said} {words.ratio(alarm.size)} ({words.interval(alarm.size_low, alarm.size_high)})"


def headline_of(alarm: Alarm) -> str:
    """What has happened, in a few words, without when.

    Examples
    --------
    >>> headline_of(Alarm(what="click_rate", since_ms=0, detected_ms=0, field="ad", value="x",
    ...                   size=0.5))
    'the click rate of ad x fell by 50 %, and the model follows'
    """
    place = words.place(alarm.field, alarm.value)
    size = alarm.size or 1.0
    if alarm.what == "missing":
        return f"the field {alarm.field} is missing in {words.percent(alarm.size)} of impressions"
    if alarm.what == "click_delay":
        much = f"{size:.1f} times as late" if size > 1 else f"{1 / size:.1f} times as soon"
        return f"clicks come {much}{f' in {place}' if alarm.field else ''}"
    if alarm.what == "click_rate":
        moved = "fell" if size < 1 else "rose"
        of = f" of {place}" if alarm.field else ""
        return f"the click rate{of} {moved}{by(size)}, and the model follows"
    where = f" in {place}" if alarm.field else ""
    return f"it {side_of(alarm)}-predicts{by(size)}{where}"


def by(ratio: float | None) -> str:
    """How far from 1, for a headline."""
    if ratio is None or ratio <= 0:
        return ""
    return f" by {words.percent(abs(ratio - 1))}" if ratio < 2 else f" {ratio:.1f}-fold"
