"""What is fetched from Kafka and not yet given to the caller.

kafka-python asks a broker for more only when it has given out all that it has of a partition, and
has one question under way: as long as something is left of one partition, it asks for the others
alone, and if those have nothing, the first must wait until that question is answered. So all of an
answer is taken at once, and kept here; the brokers work on the next one meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from streaming.log.kafka_batches import Piece
from streaming.log.kafka_client import KafkaPartition

__all__ = ["Ahead"]


class Ahead:
    """Pieces by partition, in order within each.

    Examples
    --------
    >>> import numpy as np
    >>> ahead, at = Ahead(), KafkaPartition("clicks", 0)
    >>> ahead.add({at: [Piece(b"", np.arange(24).reshape(3, 8))]})
    >>> [(_, two)] = ahead.take(2, skipped=())
    >>> len(two), ahead.first(at), ahead.has_more(skipped=[at])
    (2, 16, False)
    """

    def __init__(self) -> None:
        self._pieces: dict[KafkaPartition, deque[Piece]] = {}  # none of them empty

    def add(self, fetched: Mapping[KafkaPartition, Sequence[Piece]]) -> None:
        """Keep an answer; it goes on where what is kept ends."""
        for at, pieces in fetched.items():
            self._pieces.setdefault(at, deque()).extend(pieces)

    def first(self, at: KafkaPartition) -> int | None:
        """Offset of the next record of a partition, if one is kept."""
        pieces = self._pieces.get(at)
        return pieces[0].first_offset if pieces else None

    def has_more(self, skipped: Collection[KafkaPartition]) -> bool:
        """Whether there is anything of other partitions than these."""
        return any(at not in skipped for at in self._pieces)

    def take(
        self, most: int, skipped: Collection[KafkaPartition]
    ) -> list[tuple[KafkaPartition, Piece]]:
        """Give so many records of other partitions than these; each has its turn."""
        taken: list[tuple[KafkaPartition, Piece]] = []
        for at in [at for at in self._pieces if at not in skipped]:
            if most <= 0:
                break
            pieces = self._pieces.pop(at)
            while pieces and most > 0:
                piece, rest = _cut(pieces.popleft(), most)
                pieces.extendleft(rest)
                taken.append((at, piece))
                most -= len(piece)
            if pieces:
                self._pieces[at] = pieces  # behind the others now
        return taken

    def drop(self, at: KafkaPartition) -> None:
        """Forget what is kept of a partition."""
        self._pieces.pop(at, None)

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()


def _cut(piece: Piece, most: int) -> tuple[Piece, list[Piece]]:
    """At most so many records, and what is left."""
    if len(piece) <= most:
        return piece, []
    first, rest = piece.cut(most)
    return first, [rest]
