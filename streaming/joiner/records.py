"""What goes into the joiner, what it keeps of it, and what comes out, for the caller to do."""

from __future__ import annotations

from typing import Literal

import msgspec

from features.events import Impression

__all__ = [
    "CLICKS",
    "IMPRESSIONS",
    "Clicked",
    "CommitUpTo",
    "DeadLetter",
    "EmitExample",
    "Idle",
    "Instruction",
    "Overfull",
    "Pause",
    "Record",
    "Resumed",
    "Stalled",
    "Start",
    "StoredClick",
    "StoredImpression",
    "TopicKind",
    "Unpause",
    "Viewed",
]

TopicKind = Literal["impressions", "clicks"]
IMPRESSIONS: TopicKind = "impressions"
CLICKS: TopicKind = "clicks"

Start = tuple[int, int]
"""Offset, and the topic's time just before it."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record of the log.

    Parameters
    ----------
    topic
        Which of the two topics, whatever it is called in the log.
    partition
        The same number in both topics holds the same impression ids.
    offset
        Rises within a topic's partition; may skip numbers.
    value
        An event in JSON.
    """

    topic: TopicKind
    partition: int
    offset: int
    value: bytes


class Idle(msgspec.Struct, frozen=True, gc=False):
    """The caller's word that it has read all that a partition of one topic holds for now."""

    topic: TopicKind
    partition: int


class StoredImpression(msgspec.Struct, eq=False, gc=False):
    """An impression, from its arrival until nothing more can come of it.

    ``arrival`` is the topic's time just before it: its watermark at arrival, plus the bound.
    ``start``, if it was held: where a replay must begin to decide on it as was decided.
    ``early_click``: time of a click that is in time for the early label.
    """

    id: str
    ts: int
    offset: int
    arrival: int
    raw: bytes
    start: Start | None = None
    click_ts: int | None = None
    dismiss_ts: int | None = None
    kinds: tuple[str, ...] = ()
    emitted: bool = False
    early_click: int | None = None

    def label_by(self, click: StoredClick) -> None:
        """Take up the time of a click that has joined it."""
        if click.kind == "click":
            self.click_ts = click.ts
        else:
            self.dismiss_ts = click.ts


class StoredClick(msgspec.Struct, eq=False, gc=False):
    """A click, from its arrival until nothing can depend on it.

    ``arrival`` and ``start`` are as an impression's. It ``waits`` for its impression. ``until`` is
    its event time or that of its last duplicate: a replay must meet the click if it meets the
    duplicate.
    """

    id: str
    kind: Literal["click", "dismiss"]
    ts: int
    offset: int
    arrival: int
    raw: bytes
    until: int
    start: Start | None = None
    waits: bool = True


class EmitExample(msgspec.Struct, frozen=True, gc=False):
    """Publish an example.

    Parameters
    ----------
    partition
        Of its impression.
    impression_id
        Of its impression; the key to publish under.
    label, correction
        As in the example.
    value
        The encoded example.
    early
        Labelled ``label_after_s`` after it was shown, for the trainer.
    """

    partition: int
    impression_id: str
    label: int
    correction: bool
    value: bytes
    early: bool = False


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """Publish a rejected record, with its reason and where it stood."""

    reason: str
    detail: str
    topic: TopicKind
    partition: int
    offset: int
    raw: bytes


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Stop reading a topic's partition (what was read already may still be given)."""

    topic: TopicKind
    partition: int


class Unpause(msgspec.Struct, frozen=True, gc=False):
    """Read it again."""

    topic: TopicKind
    partition: int


class Overfull(msgspec.Struct, frozen=True, gc=False):
    """``max_pending`` cannot hold the windows of this traffic: stop, and raise it. Nothing is lost.

    Said when impressions are paused although reading more clicks could free none of them.
    """

    partition: int
    pending: int


class Stalled(msgspec.Struct, frozen=True, gc=False):
    """Clicks have stopped though impressions have not: labels are held back. Say so loudly.

    Parameters
    ----------
    partition
        Where.
    since
        Event time of the last click, ms; 0: none has ever come.
    expected_clicks
        How many the served probabilities predict since, at the least.
    """

    partition: int
    since: int
    expected_clicks: float


class Resumed(msgspec.Struct, frozen=True, gc=False):
    """Clicks are back; labels flow again."""

    partition: int


class Viewed(msgspec.Struct, frozen=True, gc=False):
    """An impression was accepted: it is the first of its id, and in time; of ``counting`` joiners.

    Parameters
    ----------
    partition, impression_offset
        Where it stands.
    impression
        The event.
    """

    partition: int
    impression_offset: int
    impression: Impression


class Clicked(msgspec.Struct, frozen=True, gc=False):
    """An impression's first click has joined it, on time or late; of ``counting`` joiners.

    Parameters
    ----------
    partition, impression_offset, click_offset
        Where the two stand.
    timestamp_ms
        Event time of the click.
    impression
        The impression's event.
    """

    partition: int
    impression_offset: int
    click_offset: int
    timestamp_ms: int
    impression: Impression


class CommitUpTo(msgspec.Struct, frozen=True, gc=False):
    """Commit, in one transaction with all that was emitted before.

    Parameters
    ----------
    topic, partition
        Whose position.
    offset
        The first offset to read after a restart.
    metadata
        Text for :meth:`streaming.joiner.Joiner.take_over`, below 4 KiB.
    """

    topic: TopicKind
    partition: int
    offset: int
    metadata: str


Instruction = (
    EmitExample | DeadLetter | Pause | Unpause | Overfull | Stalled | Resumed | Viewed | Clicked
)
