"""What the trainer writes to the log: its progress, and the examples it could not use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from features.batch import Reject
from features.events import DeadLetter, encode_event
from streaming.examples import LINE_BITS
from streaming.log import (
    EventLog,
    FencedError,
    LogError,
    NewRecord,
    Position,
    Producer,
    TopicPartition,
)
from streaming.settings import DEAD_LETTERS, EXAMPLES

__all__ = ["TrainReport"]

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
    partitions
        Of the examples topic.
    report
        Takes lines for people.
    """

    EVERY_S, SOON_S = 2.0, 0.1  # the latter when all is learned

    def __init__(self, log: EventLog, partitions: int, report: Callable[[str], None]) -> None:
        self.log, self.report = log, report
        self._producer: Producer | None = None
        self._letters: list[DeadLetter] = []
        self._told: list[int] | None = None
        self._partitions = partitions
        self._letter_partitions = 0
        self._over = False
        self._silent = False

    def rejected(self, rejects: Iterable[Reject]) -> None:
        """Note examples that could not be used."""
        for reject in rejects:
            if len(self._letters) < _MOST_LETTERS:
                self._letters.append(_letter(reject))

    def tell(self, offsets: Sequence[int], figures: str) -> None:
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
        if self._told is None:
            self._told = self._told_before()
        letters = [x for x in self._letters if x.offset >= self._told[x.partition]]
        with self._producer.transaction() as tx:
            if letters and self._letter_partitions:
                tx.append(DEAD_LETTERS, map(self._record, letters))
            positions = {
                TopicPartition(EXAMPLES, p): Position(offset, figures)
                for p, offset in enumerate(offsets)
            }
            tx.commit(_GROUP, positions)
        self._letters.clear()
        self._told = [max(told, offset) for told, offset in zip(self._told, offsets, strict=True)]

    def _told_before(self) -> list[int]:
        committed = [
            self.log.committed(_GROUP, TopicPartition(EXAMPLES, p)) for p in range(self._partitions)
        ]
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
    partition = int(reject.file.rpartition("-")[2])
    offset = reject.line >> LINE_BITS
    return DeadLetter(
        v=1, reason=reject.reason, detail=reject.detail, topic=EXAMPLES, partition=partition,
        offset=offset, raw=reject.raw,
    )  # fmt: skip
