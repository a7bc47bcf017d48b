"""Alarms: read as the monitor keeps them, and said in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec.structs import replace

from monitoring.report import words
from monitoring.report.model import Alarm, SliceRow, Total

__all__ = ["alarms_of", "by", "headline_of", "priced", "side_of", "sign_of", "size_said"]

Side = Literal["over", "under", "mixed"]


def alarms_of(records: Iterable[Mapping[str, Any]]) -> list[Alarm]:
    """Read alarm records; a later telling of the same alarm replaces the earlier.

    Parameters
    ----------
    records
        :class:`monitoring.watch.detect.alarm.Alarm` as plain data, oldest first.

    Examples
    --------
    >>> record = {"id": "a1", "what": "calibration", "since_ms": 5, "detected_ms": 9, "size": 1.5}
    >>> [alarm] = alarms_of([record, {**record, "closed_ms": 20}])
    >>> alarm.ended_at, alarm.size
    (20, 1.5)
    """
    newest: dict[object, Mapping[str, Any]] = {}
    for number, record in enumerate(records):
        newest[record.get("id", number)] = record
    return [_alarm(record) for record in newest.values()]


def _alarm(record: Mapping[str, Any]) -> Alarm:
    get = record.get
    return Alarm(
        what=str(get("what", "calibration")),
        since=int(get("since_ms", 0)),
        detected_at=int(get("detected_ms", get("since_ms", 0))),
        ended_at=get("closed_ms"),
        field=str(get("field", "")),
        value=str(get("value", "")),
        size=_finite(get("size")),
        low=_finite(get("size_low")),
        high=_finite(get("size_high")),
        cost_clicks=get("clicks_over_promised"),
        cost_money=get("money_over_promised"),
        cause=str(get("cause", "")),
        action=str(get("action", "")),
        since_low=get("since_low_ms"),
        since_high=get("since_high_ms"),
    )


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: without a click the ratio is not known, but for its lower end."""
    return value if value is not None and math.isfinite(value) else None


def priced(alarm: Alarm, total: Total, rows: Iterable[SliceRow]) -> Alarm:
    """The alarm with its cost up to now, where the windows have counted on since it was raised.

    A detector prices a shift when it raises the alarm, and again when it closes it.
    """
    if alarm.ended_at is not None or alarm.what != "calibration":
        return alarm
    cost, money = total.cost_since if total.since is not None else None, None
    for row in rows:
        if alarm.field and (row.field, row.value) == (alarm.field, alarm.value):
            cost, money = row.cost_since, row.money_since
            break
    else:
        if alarm.field:
            return alarm
    if cost is None or abs(cost) < abs(alarm.cost_clicks or 0.0):
        return alarm
    return replace(alarm, cost_clicks=cost, cost_money=money or alarm.cost_money)


def side_of(alarm: Alarm) -> Side:
    """Whether more clicks are promised than come, fewer, or it is about neither."""
    size = alarm.low if alarm.size is None else alarm.size
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
    >>> size_said(Alarm("missing", 0, 0, size=0.31, low=0.3, high=0.33))
    'missing in 31 % of impressions (30 % to 33 %)'
    """
    if alarm.size is None and alarm.low is None:
        return "size not known"
    if alarm.what == "missing":
        bounds = f"{words.percent(alarm.low)} to {words.percent(alarm.high)}"
        return f"missing in {words.percent(alarm.size)} of impressions ({bounds})"
    said = {
        "click_rate": "clicks over those predicted at first",
        "click_delay": "median click delay over what it was",
    }.get(alarm.what, "calibration ratio")
    return f"{said} {words.ratio(alarm.size)} ({words.interval(alarm.low, alarm.high)})"


def headline_of(alarm: Alarm) -> str:
    """What has happened, in a few words, without when.

    Examples
    --------
    >>> headline_of(Alarm("click_rate", 0, 0, field="ad", value="x", size=0.5))
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
