"""The trainer's way to the log: chunks of examples, read, decoded and hashed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from features.batch import Position, Reject
from features.errors import ClicktideError
from features.vectoriser import Vectoriser
from streaming.examples import ExampleReader, Place, examples_source, lines_of
from streaming.log import EventLog, OffsetError, TopicPartition, Values
from streaming.prepare import Preparer, Ready
from streaming.settings import EXAMPLES, StreamSettings

__all__ = ["Chunk", "ChunkReader"]

_AHEAD = 20_000
"""About so many examples are read at a time: fewer cost calls, more cost freshness."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records, ready to learn, and where the log stands after them."""

    ready: list[Ready]
    rejects: list[Reject]
    reached: list[Reached]
    event_time: int


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a partition is after a chunk: its next offset, and how to know its last record."""

    partition: int
    offset: int
    mark: tuple[int, int]

    @classmethod
    def of(cls, values: Values) -> Reached:
        mark = values.next_offset - 1, zlib.crc32(values.last)
        return cls(values.partition, values.next_offset, mark)


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
        How much to read at a time.
    """

    def __init__(
        self, log: EventLog, vectoriser: Vectoriser, offsets: Sequence[int],
        settings: StreamSettings,
    ) -> None:  # fmt: skip
        self.log, self._batch, self._read_to = log, settings.batch, list(offsets)
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
                values = self.log.read_values(TopicPartition(EXAMPLES, partition), offset, most)
            except OffsetError as error:
                raise ClicktideError(
                    f"{EXAMPLES}-{partition}: what was to be learned next, offset {offset}, is no "
                    f"longer in the log: {error}. Fix: a longer retention_h; to begin anew with "
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
        after = Position(EXAMPLES, parts[-1].next_offset - 1)
        batches = self._reader.batches(data, lambda line: (EXAMPLES, line), after)
        lines = sum(batch.columns.num_rows + len(batch.rejects) for batch in batches)
        self._usual = max(1, lines // sum(len(part.offsets) for part in parts))
        ready = [self._prepare(batch) for batch in batches]
        rejects = [_placed(reject, place) for part in ready for reject in part.rejects]
        return Chunk(ready, rejects, list(map(Reached.of, parts)), self._reader.latest_ms)


def _placed(reject: Reject, place: Place) -> Reject:
    """Say where in the log it stands: until here its line is that of the chunk."""
    file, row = place(reject.line)
    return replace(reject, file=file, line=row)
