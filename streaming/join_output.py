"""What the joiner has given and is not yet in the log: packed examples, and dead letters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from features.events import DeadLetter as DeadLetterEvent
from features.events import encode_event
from streaming.joiner import CommitUpTo, DeadLetter, EmitExample, Instruction
from streaming.log import Consumer, NewRecord, Position, Producer, TopicPartition
from streaming.settings import DEAD_LETTERS, EARLY_EXAMPLES, EXAMPLES

__all__ = ["JoinOutput", "pack_examples"]

MAX_RAW = 262_144
"""Bytes of a rejected record that a dead letter keeps: as base64 it is still a legal event."""


class JoinOutput:
    """Examples and dead letters that wait for their transaction.

    Parameters
    ----------
    examples_per_record
        See :class:`streaming.settings.StreamSettings`.
    """

    def __init__(self, examples_per_record: int) -> None:
        self._most = examples_per_record
        self._examples: list[EmitExample] = []
        self._early: list[EmitExample] = []
        self._dead: list[DeadLetter] = []
        self._committed: dict[TopicPartition, Position] = {}

    def __bool__(self) -> bool:
        return bool(self._examples or self._early or self._dead)

    def take(self, instructions: Sequence[Instruction]) -> list[Instruction]:
        """Keep what belongs into the log; give the others."""
        examples = [it for it in instructions if type(it) is EmitExample]
        self._examples += [it for it in examples if not it.early]
        self._early += [it for it in examples if it.early]
        if len(examples) == len(instructions):
            return []
        self._dead += [it for it in instructions if type(it) is DeadLetter]
        return [it for it in instructions if type(it) not in (EmitExample, DeadLetter)]

    def commit(self, producer: Producer, consumer: Consumer, commits: Sequence[CommitUpTo]) -> None:
        """Write all of it and the positions in one transaction; nothing if nothing is new."""
        positions = {
            TopicPartition(c.topic, c.partition): Position(c.offset, c.metadata) for c in commits
        }
        if not self and positions == self._committed:
            return
        with producer.transaction() as tx:
            for topic, examples in ((EXAMPLES, self._examples), (EARLY_EXAMPLES, self._early)):
                if examples:
                    tx.append(topic, pack_examples(examples, self._most))
            if self._dead:
                tx.append(DEAD_LETTERS, map(_dead_letter, self._dead))
            tx.commit(consumer, positions)
        self.clear()
        self._committed = positions

    def clear(self) -> None:
        """Forget it: it will come again from the last commit."""
        self._examples, self._early, self._dead, self._committed = [], [], [], {}


def _dead_letter(it: DeadLetter) -> NewRecord:
    detail = it.detail
    if len(it.raw) > MAX_RAW:
        detail = f"{detail}; raw is the first {MAX_RAW} of {len(it.raw)} bytes"
    event = DeadLetterEvent(
        v=1,
        reason=it.reason,
        detail=detail,
        topic=it.topic,
        partition=it.partition,
        offset=it.offset,
        raw=it.raw[:MAX_RAW],
    )
    return NewRecord(None, encode_event(event), it.partition)


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
