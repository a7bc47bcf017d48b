"""Kafka's record batches decoded as a whole, by a kernel.

kafka-python decodes record by record in Python, some 5 us of the GIL each, which would be most of
what a process that reads much does. Here it goes on doing all else (fetching, checksums, aborted
transactions, positions), but hands out each batch's bytes, in which the kernel finds the fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.jit import inlined, jit
from streaming.log.base import Headers, Record
from streaming.log.kafka_client import (
    DefaultRecord,
    DefaultRecordBatch,
    Fetcher,
    KafkaConsumer,
    decode_varint,
    errors,
)
from streaming.log.values import Run, Values

__all__ = ["Piece", "joined", "read_whole_batches"]

I64 = NDArray[np.int64]
_OFFSET, _TIME, _KEY, _KEY_SIZE, _VALUE, _VALUE_SIZE, _HEADERS, _COUNT = range(8)
_NEWLINE, _NOWHERE = 10, -(1 << 40)


def read_whole_batches(consumer: KafkaConsumer) -> KafkaConsumer:
    """Let a consumer's ``poll`` give lists of :class:`Piece` instead of records."""
    consumer._fetcher.PartitionRecords = _Pieces
    return consumer


@dataclass(frozen=True, slots=True)
class Piece:
    """Some records of one batch, next to each other.

    Parameters
    ----------
    body
        The batch's records as they travel, decompressed.
    spans
        int64 (n, 8): offset, time, then begin and size (-1: null) of key and value in the body,
        begin of the headers and how many there are.
    """

    body: bytes
    spans: I64

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def first_offset(self) -> int:
        """Of its first record."""
        return int(self.spans[0, _OFFSET])

    @property
    def next_offset(self) -> int:
        """After its last record."""
        return int(self.spans[-1, _OFFSET]) + 1

    def cut(self, at: int) -> tuple[Piece, Piece]:
        """The first so many, and the others."""
        return Piece(self.body, self.spans[:at]), Piece(self.body, self.spans[at:])

    def run(self, topic: str, partition: int) -> Run:
        """The offsets and the values."""
        body = self.body
        begins, sizes = self.spans[:, _VALUE], self.spans[:, _VALUE_SIZE]
        ends = (begins + np.maximum(sizes, 0)).tolist()
        values = [body[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)]
        return Run(topic, partition, self.spans[:, _OFFSET].tolist(), values)

    def records(self, topic: str, partition: int) -> Iterator[Record]:
        """Each as a record."""
        body = self.body
        for offset, time, key, key_size, value, size, headers, count in self.spans.tolist():
            yield Record(
                topic, partition, offset, time,
                body[key : key + key_size] if key_size >= 0 else None,
                body[value : value + max(size, 0)],
                _headers(body, headers, count) if count else (),
            )  # fmt: skip


def joined(topic: str, partition: int, pieces: list[Piece]) -> Values:
    """The values of some pieces as columns."""
    offsets = np.concatenate([piece.spans[:, _OFFSET] for piece in pieces])
    sizes = np.concatenate([piece.spans[:, _VALUE_SIZE] for piece in pieces])
    ends = np.cumsum(np.maximum(sizes, 0)) + np.arange(len(sizes))
    data, at = np.empty(int(ends[-1]) + 1, np.uint8), 0
    for piece in pieces:
        at = _copy(np.frombuffer(piece.body, np.uint8), piece.spans, data, at)
    return Values(topic, partition, offsets, data[:-1].tobytes(), ends)


class _Pieces(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What kafka-python keeps of one answer for one partition, given out in pieces."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **options: Any) -> None:
        super().__init__(fetch_offset, tp, _Batches(records), **options)
        self._left: Piece | None = None

    def take(self, n: int | None = None) -> _Taken:
        """As many pieces as hold n records."""
        self._maybe_raise_next_inline_exception()
        taken, room = _Taken(), np.iinfo(np.int64).max if n is None else n
        try:
            while len(taken) < room and (piece := self._piece()) is not None:
                taken.add(self._cut(piece, int(room) - len(taken)))
        except Exception as error:
            if not taken:
                raise
            self._next_inline_exception = error  # as kafka-python does: told at the next call
        return taken

    def _piece(self) -> Piece | None:
        """The next records that are due; what is left of a batch first."""
        piece, self._left = self._left, None
        while piece is None and self.record_iterator is not None:
            record = next(self.record_iterator, None)
            if record is None:
                return None
            first = int(np.searchsorted(record.value.spans[:, _OFFSET], self.fetch_offset))
            piece = Piece(record.value.body, record.value.spans[first:])
            piece = piece if len(piece) else None
        return piece

    def _cut(self, piece: Piece, most: int) -> Piece:
        if len(piece) > most:
            piece, self._left = piece.cut(most)
        self.next_fetch_offset = piece.next_offset
        return piece


class _Taken(list[Piece]):
    """Pieces; as long as they hold records, for kafka-python counts them."""

    def __init__(self) -> None:
        super().__init__()
        self._records = 0

    def add(self, piece: Piece) -> None:
        self.append(piece)
        self._records += len(piece)

    def __len__(self) -> int:
        return self._records


class _Batches:
    """An answer's batches, each made to give itself as one record."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if batch is not None and batch.magic != 2:
            raise errors.UnsupportedVersionError("a record batch of before Kafka 0.11")
        if batch is not None and not batch.is_control_batch:
            batch.__class__ = _WholeBatch  # kafka-python gives no say in what it makes
        return batch


class _WholeBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch that iterates over a single record, whose value is the batch as a piece."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        piece, size = self._decoded(), self.size_in_bytes
        yield DefaultRecord(size, self.last_offset, self.max_timestamp, 0, None, piece, [])

    def _decoded(self) -> Piece:
        self._maybe_uncompress()
        body = bytes(memoryview(self._buffer)[self._pos :])
        spans = np.empty((self.records_count, 8), np.int64)
        if _find(np.frombuffer(body, np.uint8), spans) != len(body):
            raise errors.CorruptRecordError(f"batch at offset {self.base_offset}: not as it says")
        spans[:, _OFFSET] += self.base_offset
        if self.timestamp_type == self.LOG_APPEND_TIME:
            spans[:, _TIME] = self.max_timestamp
        else:
            spans[:, _TIME] += self.first_timestamp
        return Piece(body, spans)


def _headers(body: bytes, at: int, count: int) -> Headers:
    out = []
    for _ in range(count):
        size, at = decode_varint(body, at)
        name, at = body[at : at + size].decode(), at + size
        size, at = decode_varint(body, at)
        out.append((name, body[at : at + max(size, 0)]))
        at += max(size, 0)
    return tuple(out)


@jit
def _find(data: Any, spans: Any) -> int:
    """Fill in the spans of all records; where they end, -1 if they are not sound."""
    at = 0
    for row in range(len(spans)):
        size, at = _varint(data, at, len(data))
        end = at + size
        if at < 0 or size < 0 or end > len(data):
            return -1
        at = _record(data, at + 1, end, spans[row])  # after the attributes, which say nothing
        if at < 0:
            return -1
        at = end
    return at


@inlined
def _record(data: Any, at: int, end: int, out: Any) -> int:
    """One record, from its time on, into ``out``; -1 if it is not sound."""
    out[1], at = _varint(data, at, end)
    out[0], at = _varint(data, at, end)
    for begin in (2, 4):
        size, at = _varint(data, at, end)
        out[begin], out[begin + 1] = at, size
        at += max(size, 0)
        if at < 0 or at > end:
            return -1
    out[7], at = _varint(data, at, end)
    out[6] = at
    return at


@inlined
def _varint(data: Any, at: int, end: int) -> tuple[int, int]:
    """A zigzag number, and what comes after it (far below 0: not before the end)."""
    value: Any = 0
    shift = 0
    while 0 <= at < end and shift < 64:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    return 0, _NOWHERE


@jit
def _copy(data: Any, spans: Any, out: Any, at: int) -> int:
    """Copy the values to ``out[at:]``, a newline after each; where the last one's stands."""
    for row in range(len(spans)):
        begin = spans[row, _VALUE]
        for i in range(begin, begin + spans[row, _VALUE_SIZE]):
            out[at] = data[i]
            at += 1
        out[at] = _NEWLINE
        at += 1
    return at
