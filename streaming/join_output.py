"""What the joiner has given and is not yet in the log, and the transaction that puts it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from features.events import DeadLetter as DeadLetterEvent
from features.events import encode_event
from streaming.example_records import pack_examples
from streaming.joiner import CommitUpTo, DeadLetter, EmitExample, Instruction
from streaming.log import Member, NewRecord, Position, Producer, TopicPartition
from streaming.settings import DEAD_LETTERS, EXAMPLES

__all__ = ["JoinOutput", "Parcel"]

MAX_RAW = 262_144
"""Bytes of a rejected record that a dead letter keeps: as base64 it is still a legal event."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is written in one transaction."""

    examples: Sequence[EmitExample]
    dead: Sequence[DeadLetter]
    positions: Mapping[TopicPartition, Position]
    most: int

    def write(self, producer: Producer, member: Member) -> None:
        """Write it, or, if this raises, nothing of it."""
        with producer.transaction() as tx:
            if self.examples:
                tx.append(EXAMPLES, pack_examples(self.examples, self.most))
            if self.dead:
                tx.append(DEAD_LETTERS, map(_dead_letter, self.dead))
            tx.commit(member, self.positions)


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
        self._dead: list[DeadLetter] = []
        self._committed: dict[TopicPartition, Position] = {}

    def __bool__(self) -> bool:
        return bool(self._examples or self._dead)

    def take(self, it: Instruction) -> bool:
        """Keep what belongs into the log; whether it does."""
        if type(it) is EmitExample:
            self._examples.append(it)
        elif type(it) is DeadLetter:
            self._dead.append(it)
        else:
            return False
        return True

    def pack(self, commits: Sequence[CommitUpTo]) -> Parcel | None:
        """Hand over all of it and the positions, to be written; nothing if nothing is new."""
        positions = {TopicPartition(c[0], c[1]): Position(c[2], c[3]) for c in map(_parts, commits)}
        if not self and positions == self._committed:
            return None
        parcel = Parcel(self._examples, self._dead, positions, self._most)
        self._examples, self._dead, self._committed = [], [], positions
        return parcel

    def clear(self) -> None:
        """Forget it: it will come again from the last commit."""
        self._examples, self._dead, self._committed = [], [], {}


def _parts(c: CommitUpTo) -> tuple[str, int, int, str]:
    return c.topic, c.partition, c.offset, c.metadata


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
