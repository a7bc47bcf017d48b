"""What goes into the joiner."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["CLICKS", "IMPRESSIONS", "Idle", "Record", "TopicKind"]

TopicKind = Literal["impressions", "clicks"]
IMPRESSIONS: TopicKind = "impressions"
CLICKS: TopicKind = "clicks"


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
