"""Alarms as the monitor keeps them, for a report: one record a shift, the newest state of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from monitoring.report.model import Alarm

__all__ = ["alarms_of"]


def alarms_of(records: Iterable[Mapping[str, Any]]) -> list[Alarm]:
    """Read alarm records; a later one of the same alarm replaces the earlier.

    Examples
    --------
    >>> record = {"id": "a1", "kind": "calibration", "since": 5, "detected_at": 9, "ratio": 1.5}
    >>> [alarm] = alarms_of([record, {**record, "ended_at": 20}])
    >>> alarm.ended_at, alarm.ratio
    (20, 1.5)
    """
    newest: dict[object, Mapping[str, Any]] = {}
    for number, record in enumerate(records):
        newest[record.get("id", number)] = record
    return [_alarm(record) for record in newest.values()]


def _alarm(record: Mapping[str, Any]) -> Alarm:
    return Alarm(
        what=str(record.get("kind", "calibration")),
        since=int(record.get("since", 0)),
        detected_at=int(record.get("detected_at", record.get("since", 0))),
        ended_at=record.get("ended_at"),
        ratio=record.get("ratio"),
    )
