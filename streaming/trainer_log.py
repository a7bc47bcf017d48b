"""The trainer and its log: chunks of examples, read and hashed; its progress, its dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from features.batch import Position, Reject
from features.errors import ClicktideError
from features.events import DeadLetter, encode_event
from features.vectoriser import Vectoriser
from streaming.examples import LINE_BITS, ExampleReader, Place, examples_source, lines_of
from streaming.log import (
    EventLog,
    FencedError,
    LogError,
    NewRecord,
    OffsetError,
    Producer,
    TopicPartition,
    Values,
)
from streaming.log import Position as LogPosition
from streaming.log.records import RecordMark, mark_of
from streaming.prepare import Preparer, Ready
from streaming.settings import DEAD_LETTERS, StreamSettings

__all__ = ["Chunk", "ChunkReader", "TrainReport"]

_AHEAD = 20_000
"""About so many examples are read at a time: fewer cost calls, more cost freshness."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records, ready to learn, and where the log stands after them.

    ``reached``: partition, its next offset, and the mark of its last record.
    """

    ready: list[Ready]
    rejects: list[Reject]
    reached: list[tuple[int, int, RecordMark]]
    event_time: int


class ChunkReader:
    """Reads the examples of all partitions, a chunk at a time.

    Parameters
    ----------
    log
        Whose examples topic exists.
    vectoriser
        Of the learner; it is copied, for reading runs ahead of learning.
    offsets
        Where to begin, by partition.
    settings
        Which topic, and how much to read at a time.
    """

    def __init__(
        self, log: EventLog, vectoriser: Vectoriser, offsets: Sequence[int],
        settings: StreamSettings,
    ) -> None:  # fmt: skip
        self.log, self._batch, self._read_to = log, settings.batch, list(offsets)
        self._topic = settings.learned_topic
        own, source = Vectoriser(vectoriser.spec), examples_source(vectoriser.spec)
        own.follow(vectoriser)
        self._prepare = Preparer(own, source)
        self._reader = ExampleReader(source, self._prepare.columns, by_time=len(offsets) > 1)
        self._usual = settings.examples_per_record  # in a record; then as many as the last had

    def read(self) -> list[Values]:
        """The next records of those partitions that have some."""
        most = max(1, min(self._batch, _AHEAD // self._usual))
        parts = []
        for partition, offset in enumerate(self._read_to):
            try:
                values = self.log.read_values(TopicPartition(self._topic, partition), offset, most)
            except OffsetError as error:
                raise ClicktideError(
                    f"{self._topic}-{partition}: what was to be learned next, offset {offset}, is "
                    f"no longer in the log: {error}. Fix: a longer retention_h; to begin anew with "
                    "what is left, move the trainer's folder away"
                ) from error
            if len(values.offsets):
                parts.append(values)
        for values in parts:
            self._read_to[values.partition] = values.next_offset
        return parts

    def ready(self, parts: list[Values]) -> Chunk:
        """Decode and hash; runs in a thread, one chunk after the other."""
        data, place = lines_of(parts)
        after = Position(self._topic, parts[-1].next_offset - 1)
        batches = self._reader.batches(data, lambda line: (self._topic, line), after)
        lines = sum(batch.columns.num_rows + len(batch.rejects) for batch in batches)
        self._usual = max(1, lines // sum(len(part.offsets) for part in parts))
        ready = [self._prepare(batch) for batch in batches]
        rejects = [_placed(reject, place) for part in ready for reject in part.rejects]
        reached = [(p.partition, p.next_offset, mark_of(p.next_offset - 1, p.last)) for p in parts]
        return Chunk(ready, rejects, reached, self._reader.latest_ms)


def _placed(reject: Reject, place: Place) -> Reject:
    """Say where in the log it stands: until here its line is that of the chunk."""
    file, row = place(reject.line)
    return replace(reject, file=file, line=row)


_GROUP = "train"
_MOST_LETTERS = 100_000


class TrainReport:
    """Commits the group ``train`` with figures, and dead letters in the same transaction.

    The trainer itself goes by its snapshot; nothing here is fatal. A letter is written once: its
    record is before the position committed with it, so a restart, which reads from the older
    snapshot, leaves it out.

    Parameters
    ----------
    log
        Used by the calling thread.
    topic, partitions
        What is learned, and how many it has.
    report
        Takes lines for people.
    """

    EVERY_S, SOON_S = 2.0, 0.1  # the latter when all is learned

    def __init__(
        self, log: EventLog, topic: str, partitions: int, report: Callable[[str], None]
    ) -> None:
        self.log, self.report, self._topic = log, report, topic
        self._producer: Producer | None = None
        self._letters: list[DeadLetter] = []
        self._committed: list[int] | None = None
        self._partitions = partitions
        self._letter_partitions = 0
        self._over = False
        self._silent = False

    def rejected(self, rejects: Iterable[Reject]) -> None:
        """Note examples that could not be used."""
        for reject in rejects:
            if len(self._letters) < _MOST_LETTERS:
                self._letters.append(_letter(reject))

    def commit(self, offsets: Sequence[int], figures: str) -> None:
        """Commit how far the trainer is; an error is reported once, and it is tried again."""
        if self._over:
            return
        try:
            self._commit(offsets, figures)
            self._silent = False
        except FencedError as error:
            self._over = True
            self.report(
                f"train: another trainer reports on this log, so this one does not: {error}"
            )
        except LogError as error:
            if not self._silent:
                self.report(f"train: its progress could not be committed: {error}")
            self._silent = True
            self.close()

    def _commit(self, offsets: Sequence[int], figures: str) -> None:
        if self._producer is None:
            self._producer = self.log.producer(_GROUP)
            self._letter_partitions = self.log.topics().get(DEAD_LETTERS, 0)
        if self._committed is None:
            self._committed = self._committed_before()
        letters = [x for x in self._letters if x.offset >= self._committed[x.partition]]
        with self._producer.transaction() as tx:
            if letters and self._letter_partitions:
                tx.append(DEAD_LETTERS, map(self._record, letters))
            positions = {
                TopicPartition(self._topic, p): LogPosition(offset, figures)
                for p, offset in enumerate(offsets)
            }
            tx.commit(_GROUP, positions)
        self._letters.clear()
        self._committed = [
            max(before, offset) for before, offset in zip(self._committed, offsets, strict=True)
        ]

    def _committed_before(self) -> list[int]:
        places = [TopicPartition(self._topic, p) for p in range(self._partitions)]
        committed = [self.log.committed(_GROUP, at) for at in places]
        return [0 if position is None else position.offset for position in committed]

    def _record(self, letter: DeadLetter) -> NewRecord:
        partition = letter.partition % self._letter_partitions
        return NewRecord(None, encode_event(letter), partition)

    def close(self) -> None:
        """Let go of the producer."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None


def _letter(reject: Reject) -> DeadLetter:
    topic, _, partition = reject.file.rpartition("-")
    offset = reject.line >> LINE_BITS
    return DeadLetter(
        v=1, reason=reject.reason, detail=reject.detail, topic=topic, partition=int(partition),
        offset=offset, raw=reject.raw,
    )  # fmt: skip
