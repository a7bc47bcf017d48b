"""One record of the ``weights`` topic: some buckets of a model, checked, as plain bytes.

A message is what changed since the one before (*delta*) or all there is (*full*), in one record or
several. A record: ``CTW3``, the CRC-32 of the rest, the length of the head, the head as JSON, then
numbers, little-endian: buckets of fields, of crosses (uint32), what they hold (crosses: rounded by
:mod:`learning.compression`, if the head says so), and in the last record all else that a prediction
is made of (:attr:`learning.weights.Weights.rest`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.errors import ClicktideError
from learning.compression import HALVES, compress_crosses, expand_crosses
from learning.weights import Weights

__all__ = [
    "MessageHead",
    "MessagePart",
    "Precision",
    "WeightsMessageError",
    "parts_of",
    "read_head",
    "read_part",
]

_MAGIC = b"CTW3"
_FRONT = len(_MAGIC) + 8
_PART_BYTES = 512 << 10
"""Of a record's buckets: below Kafka's default limit of 1 MiB."""
Slots = NDArray[np.int64]
Precision = Literal["half", "exact"]


class WeightsMessageError(ClicktideError):
    """A record of the weights topic is damaged, or of another format."""


class MessageHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a record says of itself.

    Parameters
    ----------
    hash_version, spec
        Whose weights they are: identity of the spec.
    epoch
        Of the publisher's process; each begins with a full message.
    number
        Of the state that the message leads to, counted within the epoch: a delta leads from the
        one before.
    full
        Whether all buckets that it does not name are zero.
    part, parts
        Which record of the message, from 0, of how many.
    fields, crosses
        Buckets in it.
    precision
        Whether the crosses are rounded.
    events, event_time, updated_ms
        Learned up to there; latest event time; wall-clock time of the last event learned.
    offsets
        Next offset of the examples topic, by partition.
    full_at
        Offset from which the newest full message is found; -1: not known.
    quantiles
        What is known of quantile edges, if that changed; in the last part.
    """

    hash_version: int
    spec: str
    epoch: str
    number: int
    full: bool
    part: int
    parts: int
    fields: int
    crosses: int
    precision: Precision
    events: int
    event_time: int
    updated_ms: int
    offsets: list[int]
    full_at: int
    quantiles: dict[str, Any] | None = None


class MessagePart(msgspec.Struct, frozen=True):
    """A record, read."""

    head: MessageHead
    slots: tuple[NDArray[np.uint32], NDArray[np.uint32]]
    values: tuple[NDArray[Any], NDArray[Any]]
    rest: dict[str, NDArray[Any]]

    def apply(self, weights: Weights) -> None:
        """Put its numbers into the tables, which they fit: :func:`read_part` has checked."""
        for table, slots, values in zip(
            (weights.fields, weights.crosses), self.slots, self.values, strict=True
        ):
            if len(slots):
                table[slots] = values.reshape(len(slots), -1)
        for name, array in self.rest.items():
            weights.arrays[name][...] = array.reshape(weights.arrays[name].shape)


def parts_of(head: MessageHead, weights: Weights, fields: Slots, crosses: Slots) -> Iterator[bytes]:
    """Records of a message, one by one.

    Parameters
    ----------
    head
        Its part, parts, fields and crosses are filled in; quantiles go into the last record.
    weights
        Read as each record is made.
    fields, crosses
        Buckets to send.
    """
    half = head.precision == "half"
    cuts = [*_cuts(weights, fields, crosses, half)]
    for number, (own_fields, own_crosses) in enumerate(cuts):
        last = number == len(cuts) - 1
        part_head = msgspec.structs.replace(
            head,
            part=number,
            parts=len(cuts),
            fields=len(own_fields),
            crosses=len(own_crosses),
            quantiles=head.quantiles if last else None,
        )
        arrays = [own_fields.astype("<u4"), own_crosses.astype("<u4")]
        crossed = weights.crosses[own_crosses]
        arrays += [weights.fields[own_fields], compress_crosses(crossed) if half else crossed]
        if last:
            arrays += weights.rest.values()
        yield _encoded(part_head, arrays)


def _cuts(
    weights: Weights, fields: Slots, crosses: Slots, half: bool
) -> Iterator[tuple[Slots, Slots]]:
    """Buckets by record."""
    none = np.empty(0, np.int64)
    sizes = [
        4 + weights.fields[:1].nbytes,
        4 + (2 * HALVES if half else weights.crosses[:1].nbytes),
    ]
    steps = [max(1, _PART_BYTES // size) for size in sizes]
    if len(fields) * sizes[0] + len(crosses) * sizes[1] <= _PART_BYTES:
        yield fields, crosses
        return
    for at in range(0, len(fields), steps[0]):
        yield fields[at : at + steps[0]], none
    for at in range(0, len(crosses), steps[1]):
        yield none, crosses[at : at + steps[1]]


def _encoded(head: MessageHead, arrays: list[NDArray[Any]]) -> bytes:
    text = msgspec.json.encode(head)
    body = [len(text).to_bytes(4, "little"), text, *(array.tobytes() for array in arrays)]
    rest = b"".join(body)
    return _MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest


def read_head(record: bytes) -> MessageHead:
    """Read what a record says of itself.

    Raises
    ------
    WeightsMessageError
        It is damaged, or of another format.
    """
    if record[: len(_MAGIC)] != _MAGIC or len(record) < _FRONT + 4:
        raise WeightsMessageError("weights record: of another format. Fix: one Clicktide version")
    if zlib.crc32(record[_FRONT - 4 :]) != int.from_bytes(record[4:8], "little"):
        raise WeightsMessageError("weights record: it does not match its checksum")
    size = int.from_bytes(record[8:12], "little")
    try:
        return msgspec.json.decode(record[_FRONT : _FRONT + size], type=MessageHead)
    except msgspec.MsgspecError as error:
        raise WeightsMessageError(f"weights record: its head cannot be read: {error}") from error


def read_part(record: bytes, weights: Weights) -> MessagePart:
    """Read a record whose spec is that of some weights, and see that it fits them.

    Raises
    ------
    WeightsMessageError
        It is damaged.
    """
    head = read_head(record)
    at = _FRONT + int.from_bytes(record[8:12], "little")
    last = head.part == head.parts - 1
    tables = (weights.fields, weights.crosses)
    rest = weights.rest if last else {}
    wanted: list[tuple[Any, int]] = [("<u4", head.fields), ("<u4", head.crosses)]
    half = head.precision == "half"
    kinds = [table.dtype.newbyteorder("<") for table in tables]
    wanted.append((kinds[0], head.fields * tables[0].shape[1]))
    if half:
        wanted.append(("<f2", head.crosses * HALVES))
    else:
        wanted.append((kinds[1], head.crosses * tables[1].shape[1]))
    wanted += [(array.dtype.newbyteorder("<"), array.size) for array in rest.values()]
    arrays = []
    for kind, count in wanted:
        try:
            arrays.append(np.frombuffer(record, kind, count, at) if count else np.empty(0, kind))
        except ValueError as error:
            raise WeightsMessageError("weights record: it is cut short") from error
        at += arrays[-1].nbytes
    if at != len(record):
        raise WeightsMessageError("weights record: it is longer than the spec's")
    of_rest = dict(zip(rest, arrays[4:], strict=True))
    crosses = expand_crosses(arrays[3].reshape(-1, HALVES)).reshape(-1) if half else arrays[3]
    part = MessagePart(head, (arrays[0], arrays[1]), (arrays[2], crosses), of_rest)
    for table, slots, values in zip(tables, part.slots, part.values, strict=True):
        fits = not len(slots) or int(slots.max()) < len(table)
        if not fits or len(values) != len(slots) * table.shape[1]:
            raise WeightsMessageError("weights record: its buckets do not fit the spec")
    return part
