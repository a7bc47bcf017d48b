"""Reads a topic, all partitions in step by event time, from a position that is kept as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from features.errors import ClicktideError
from streaming.log import EventLog, OffsetError, Record, TopicPartition
from streaming.log.records import RecordMark, mark_of

__all__ = ["TopicReader"]


class TopicReader:
    """How far each partition of a topic has been read.

    Parameters
    ----------
    log, topic
        What to read.
    most
        Records read at a time.
    report
        Takes lines for people.

    Attributes
    ----------
    offsets
        Next offset of each partition.
    lost
        Records that retention removed before they were read.
    """

    def __init__(self, log: EventLog, topic: str, most: int, report: Callable[[str], None]) -> None:
        self.log, self.topic, self.most, self.report = log, topic, most, report
        self.offsets = log.start_offsets(topic)
        self.lost = 0
        self._marks: list[RecordMark | None] = [None] * len(self.offsets)
        self._newest_ms = [0] * len(self.offsets)

    def read(self) -> list[Record]:
        """Give the next records of the partition that is furthest behind and has any."""
        for partition in sorted(range(len(self.offsets)), key=self._newest_ms.__getitem__):
            at = TopicPartition(self.topic, partition)
            try:
                records = self.log.read(at, self.offsets[partition], self.most)
            except OffsetError:
                records = self._after_gap(at)
            if records:
                return records
        return []

    def _after_gap(self, at: TopicPartition) -> list[Record]:
        """Go on after what retention has removed unread."""
        start, offset = self.log.start_offsets(at.topic)[at.partition], self.offsets[at.partition]
        if start <= offset:
            raise ClicktideError(
                f"{at.topic}-{at.partition}: offset {offset} is past the end of the log. "
                "Fix: give the log that the state was made from, or another --dir"
            )
        self.lost += start - offset
        self.report(f"LOST {start - offset:,} records of {at.topic}-{at.partition}: retention")
        self.offsets[at.partition] = start
        return self.log.read(at, start, self.most)

    def done(self, records: list[Record], newest_ms: int) -> int:
        """Note that records of one partition are counted; its newest event time so far."""
        last = records[-1]
        self.offsets[last.partition] = last.offset + 1
        self._marks[last.partition] = mark_of(last.offset, last.value)
        newest = max(self._newest_ms[last.partition], newest_ms)
        self._newest_ms[last.partition] = newest
        return newest

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "offsets": list(self.offsets),
            "marks": self._marks,
            "newest_ms": self._newest_ms,
            "lost": self.lost,
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on from what :meth:`state` gave; whether it was made from this log."""
        marks = list(state["marks"])
        if len(marks) != len(self.offsets) or not self.log.holds(self.topic, marks):
            return False
        self.offsets, self._marks = list(state["offsets"]), marks
        self._newest_ms, self.lost = list(state["newest_ms"]), state["lost"]
        return True
