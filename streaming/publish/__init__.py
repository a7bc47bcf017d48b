"""A finished log published as it happened: impressions and clicks into the topics of a stream.

``columns`` gives a batch's values as JSON can hold them, ``rows`` makes impressions of them,
``timeline`` puts their clicks between them, ``pace`` says when each is due and waits for those who
read them, ``publisher`` writes all to the log, in transactions that carry what it needs to go on
after a crash.
"""

from streaming.publish.pace import Lockstep, Pacer, Patience, StandstillError
from streaming.publish.publisher import Publisher, longest_wait_ms, publish_group
from streaming.publish.rows import ClickDelay, RowReader
from streaming.publish.timeline import PublishState

__all__ = [
    "ClickDelay",
    "Lockstep",
    "Pacer",
    "Patience",
    "PublishState",
    "Publisher",
    "RowReader",
    "StandstillError",
    "longest_wait_ms",
    "publish_group",
]
