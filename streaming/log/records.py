"""What stands in an event log, and what a reader notes of its place there.

Records, their values as columns, positions, the mark by which a record is known again, and the
metadata beside a committed position: a record as JSON, as text.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.errors import ClicktideError

__all__ = [
    "FORMAT",
    "Headers",
    "NewRecord",
    "Position",
    "Record",
    "RecordMark",
    "TopicPartition",
    "ValueRun",
    "Values",
    "dump_metadata",
    "load_metadata",
    "mark_of",
    "peek_metadata",
]

Headers = tuple[tuple[str, bytes], ...]
I64 = NDArray[np.int64]


class TopicPartition(NamedTuple):
    """One partition of one topic: the unit of order."""

    topic: str
    partition: int


class Position(NamedTuple):
    """How far a group has read a partition.

    Parameters
    ----------
    offset
        The next offset to read (one past the last one done with).
    metadata
        Any text (Kafka's default limit is 4,096 bytes), such as an emitted watermark.
    """

    offset: int
    metadata: str = ""


class Record(NamedTuple):
    """One event as it stands in the log.

    Parameters
    ----------
    topic, partition, offset
        Its place. Offsets grow within a partition; there may be gaps.
    timestamp_ms
        When the log took it (Unix time); event time is in the value.
    key, value
        Bytes, as appended.
    headers
        Name and bytes, in order.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers = ()


class NewRecord(NamedTuple):
    """One event to append.

    Parameters
    ----------
    key
        Chooses the partition (Kafka's own murmur2, so that any Kafka client agrees), unless
        one is stated.
    value
        The event.
    partition
        Where to put it; needed when there is no key.
    headers
        Name and bytes, in order.
    """

    key: bytes | None
    value: bytes
    partition: int | None = None
    headers: Headers = ()


class ValueRun(NamedTuple):
    """Values of records of one partition that follow each other, each as it stands.

    Parameters
    ----------
    topic, partition
        Of all of them.
    offsets
        Rising.
    values
        As many.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    values: Sequence[bytes]


class Values(NamedTuple):
    r"""Values of n records of one partition, in order.

    Parameters
    ----------
    topic, partition
        Of all of them.
    offsets
        int64 (n,), rising.
    data
        The values, a newline between each and the next.
    ends
        int64 (n,): where in the data each ends.

    Examples
    --------
    >>> values = Values.of("clicks", 0, [7, 9], [b"a", b"bc"])
    >>> values.data, values.ends.tolist(), values.last
    (b'a\nbc', [1, 4], b'bc')
    """

    topic: str
    partition: int
    offsets: I64
    data: bytes
    ends: I64

    @classmethod
    def of(
        cls, topic: str, partition: int, offsets: Sequence[int], values: Sequence[bytes]
    ) -> Values:
        """Join the values of some records."""
        count = len(offsets)
        sizes = np.fromiter(map(len, values), np.int64, count)
        ends = np.cumsum(sizes) + np.arange(count)
        return cls(topic, partition, np.array(offsets, np.int64), b"\n".join(values), ends)

    @property
    def last(self) -> bytes:
        """The last value; there must be one."""
        start = int(self.ends[-2]) + 1 if len(self.ends) > 1 else 0
        return self.data[start:]

    @property
    def next_offset(self) -> int:
        """Where to read on; there must be a record."""
        return int(self.offsets[-1]) + 1


RecordMark = Sequence[int]
"""Offset and checksum of a record: what tells it from another that stands in its place."""


def mark_of(offset: int, value: bytes) -> RecordMark:
    """Give the mark of a record."""
    return offset, zlib.crc32(value)


FORMAT = 1


class _Metadata(Protocol):
    @property
    def format(self) -> int: ...


T = TypeVar("T", bound=msgspec.Struct)
M = TypeVar("M", bound=_Metadata)


def dump_metadata(record: msgspec.Struct) -> str:
    """Write a record as text."""
    return msgspec.json.encode(record).decode()


def load_metadata(text: str, kind: type[M], title: str) -> M:
    """Read what :func:`dump_metadata` wrote, to go on from it.

    Parameters
    ----------
    text
        As committed.
    kind
        A record with its format number.
    title
        What it is, for errors.

    Raises
    ------
    ClicktideError
        It is damaged, or of another format.
    """
    try:
        metadata = msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ClicktideError(
            f"{title}: {error}. Fix: is this consumer group another program's?"
        ) from error
    if metadata.format != FORMAT:
        raise ClicktideError(
            f"{title}: format {metadata.format}, this program reads {FORMAT}. "
            "Fix: use the program's version that wrote it, or newer"
        )
    return metadata


def peek_metadata(text: str, kind: type[T]) -> T | None:
    """Read what another process wrote; ``None`` if it is no such record."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None
