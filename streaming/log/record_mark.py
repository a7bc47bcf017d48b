"""How a reader knows the last record that it read again: by its offset and its bytes."""

from __future__ import annotations

import zlib

from streaming.log.base import EventLog, TopicPartition
from streaming.log.errors import OffsetError

__all__ = ["RecordMark", "is_there", "mark_of"]

RecordMark = tuple[int, int]


def mark_of(offset: int, value: bytes) -> RecordMark:
    """Give the mark of a record."""
    return offset, zlib.crc32(value)


def is_there(log: EventLog, at: TopicPartition, mark: RecordMark | None) -> bool:
    """Whether the record still stands where it stood, if it can be told: else it is another log."""
    if mark is None or mark[0] < log.start_offsets(at.topic)[at.partition]:
        return True
    try:
        found = log.read(at, mark[0], 1)
    except OffsetError:
        return False
    return bool(found) and mark_of(found[0].offset, found[0].value) == mark
