"""Examples as records of the log: many travel in one record, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streaming.joiner import EmitExample
from streaming.log import NewRecord

__all__ = ["pack_examples", "unpack_examples"]

MAX_BYTES = 8 << 20
"""Of a record that carries many: half of what the Kafka log accepts."""


def pack_examples(examples: Iterable[EmitExample], most: int) -> Iterator[NewRecord]:
    r"""Give the records that carry these examples, each partition's in its order.

    A record is keyed by its first impression's id and goes to the impressions' partition. One that
    carries several says how many in its header ``n``.

    Parameters
    ----------
    examples
        As they came out of the joiner.
    most
        Examples in a record. More: fewer records, which are most of the cost on Kafka.

    Examples
    --------
    >>> two = [EmitExample(3, f"i{n}", 0, False, b'{"label": %d}' % n) for n in range(2)]
    >>> [record] = pack_examples(two, 100)
    >>> record.partition, record.headers, record.value
    (3, (('n', b'2'),), b'{"label": 0}\n{"label": 1}')
    """
    open_packs: dict[int, _Pack] = {}
    for example in examples:
        pack = open_packs.get(example.partition)
        if pack is None or not pack.has_room(example, most):
            if pack is not None:
                yield pack.record()
            pack = open_packs[example.partition] = _Pack(example)
        pack.add(example)
    yield from (pack.record() for pack in open_packs.values())


def unpack_examples(value: bytes) -> list[bytes]:
    r"""Give the encoded examples that a record carries.

    Examples
    --------
    >>> unpack_examples(b'{"label": 0}\n{"label": 1}')
    [b'{"label": 0}', b'{"label": 1}']
    """
    return value.split(b"\n")


class _Pack:
    """The examples of one partition's next record."""

    __slots__ = ("_first", "_lines", "_size")

    def __init__(self, first: EmitExample) -> None:
        self._first, self._size = first, 0
        self._lines: list[bytes] = []

    def has_room(self, example: EmitExample, most: int) -> bool:
        return len(self._lines) < most and self._size + len(example.value) < MAX_BYTES

    def add(self, example: EmitExample) -> None:
        value = example.value
        if b"\n" in value:  # in JSON it can only be white space between tokens
            value = value.replace(b"\n", b" ")
        self._lines.append(value)
        self._size += len(value) + 1

    def record(self) -> NewRecord:
        count, first = len(self._lines), self._first
        headers = (("n", b"%d" % count),) if count > 1 else ()
        key = first.impression_id.encode()
        return NewRecord(key, b"\n".join(self._lines), first.partition, headers)
