"""A replica's side of the ``weights`` topic: records in, a learner out; no I/O, no clock."""

from __future__ import annotations

from typing import Any

from features.spec import Spec
from features.spec_file import spec_identity
from learning.click_learner import ClickLearner
from learning.snapshot import HASH_VERSION
from streaming.weights_message import Head, Part, WeightsMessageError, read_head, read_part

__all__ = ["WeightsFollower"]


class WeightsFollower:
    """Follows the messages of a trainer: first a full one, then each that comes after.

    A message is put into the tables when all its records are here, in one go, so a reader in
    another thread never sees half of one for longer than the copying takes. A full one is built
    aside. After a gap or a damaged record the weights stay until the next full message.

    Parameters
    ----------
    spec
        Whose weights they must be; messages of others are refused.

    Attributes
    ----------
    learner
        As of the last message; ``None`` before the first full one. Another object after another
        full message was needed.
    head
        Of the last message that is in.
    problem
        Why there are no newer weights; ``None``: there are.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec, self._identity = spec, spec_identity(spec)
        self.learner: ClickLearner | None = None
        self.head: Head | None = None
        self.problem: str | None = None
        self._synced = False
        self._parts: list[Part] = []
        self._edges: tuple[ClickLearner, dict[str, Any]] | None = None
        self._shape = ClickLearner(spec)  # what records must fit; zeros take no memory

    def take(self, record: bytes) -> bool:
        """Take a record of the topic; whether the weights are newer now."""
        try:
            if not self._ours(read_head(record)):
                return False
            assert self._shape.weights is not None
            part = read_part(record, self._shape.weights)
        except WeightsMessageError as error:
            self._lost(f"{error}; waiting for a full message")
            return False
        return self._placed(part)

    def refresh(self) -> None:
        """Take up quantile edges that came since; for the thread that predicts."""
        edges, self._edges = self._edges, None
        if edges is not None and edges[0] is self.learner:
            assert self.learner.vectoriser is not None
            self.learner.vectoriser.quantiles.restore(edges[1])

    def _ours(self, head: Head) -> bool:
        if head.hash_version != HASH_VERSION:
            self.problem = "weights topic: of another hash version; the old weights stay"
        elif head.spec != self._identity:
            self.problem = (
                f"weights topic: of another spec ({head.spec[:8]}, not {self._identity[:8]});"
                " the old weights stay. Fix: use the trainer's spec"
            )
        else:
            return True
        self._synced = False
        return False

    def _lost(self, why: str) -> None:
        self.problem, self._synced, self._parts = why, False, []

    def _placed(self, part: Part) -> bool:
        """Put a record in its place in its message."""
        head = part.head
        if head.part == 0:
            self._parts = []
        before = self._parts[-1].head if self._parts else None
        if head.part and (before is None or not _follows(before, head)):
            self._parts = []
            if self._wanted(head):
                self._lost("weights topic: a record is missing; waiting for a full message")
            return False
        self._parts.append(part)
        if head.part < head.parts - 1:
            return False
        parts, self._parts = self._parts, []
        return self._full(parts) if head.full else self._delta(parts)

    def _wanted(self, head: Head) -> bool:
        """Whether the weights cannot go on without this message."""
        return not (self._synced and head.full and self._at(head))

    def _at(self, head: Head) -> bool:
        own = self.head
        return own is not None and (own.epoch, own.number) == (head.epoch, head.number)

    def _full(self, parts: list[Part]) -> bool:
        if self._synced and self._at(parts[-1].head):
            return False  # what it says is known
        learner = ClickLearner(self.spec)
        _put(parts, learner)
        assert learner.vectoriser is not None
        if parts[-1].head.quantiles is not None:
            learner.vectoriser.quantiles.restore(parts[-1].head.quantiles)
        self.learner, self.head = learner, parts[-1].head
        self._synced, self.problem = True, None
        return True

    def _delta(self, parts: list[Part]) -> bool:
        head, own = parts[-1].head, self.head
        known = own is not None and own.epoch == head.epoch
        if self._synced and known and own is not None and head.number <= own.number:
            return False  # read again
        if not self._synced or not known or own is None or head.number != own.number + 1:
            if self._synced or self.problem is None:
                self._lost("weights topic: a message is missing; waiting for a full message")
            return False
        assert self.learner is not None
        _put(parts, self.learner)
        if head.quantiles is not None:
            self._edges = (self.learner, head.quantiles)
        self.head = head
        return True


def _follows(before: Head, head: Head) -> bool:
    same = (before.epoch, before.number, before.full) == (head.epoch, head.number, head.full)
    return same and before.part + 1 == head.part


def _put(parts: list[Part], learner: ClickLearner) -> None:
    assert learner.weights is not None
    for part in parts:
        part.apply(learner.weights)
