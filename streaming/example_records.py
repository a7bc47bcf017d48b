"""Examples as records of the log: many travel in one record, a line each."""

from __future__ import annotations

from collections import defaultdict
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
    by_partition: dict[int, list[EmitExample]] = defaultdict(list)
    for example in examples:
        by_partition[example.partition].append(example)
    for of_one in by_partition.values():
        for i in range(0, len(of_one), most):
            yield from _records(of_one[i : i + most])


def unpack_examples(value: bytes) -> list[bytes]:
    r"""Give the encoded examples that a record carries.

    Examples
    --------
    >>> unpack_examples(b'{"label": 0}\n{"label": 1}')
    [b'{"label": 0}', b'{"label": 1}']
    """
    return value.split(b"\n")


def _records(examples: list[EmitExample]) -> Iterator[NewRecord]:
    """A record for all of them, or, if that is too large, for each half."""
    lines = [example.value for example in examples]
    value = b"\n".join(lines)
    count, first = len(lines), examples[0]
    if len(value) > MAX_BYTES and count > 1:
        yield from _records(examples[: count // 2])
        yield from _records(examples[count // 2 :])
        return
    if value.count(b"\n") >= count:  # in JSON it can only be white space between tokens
        value = b"\n".join(line.replace(b"\n", b" ") for line in lines)
    headers = (("n", b"%d" % count),) if count > 1 else ()
    yield NewRecord(first.impression_id.encode(), value, first.partition, headers)
