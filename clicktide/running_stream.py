"""A stream's log, open with all its topics for as long as a process runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from clicktide.stream_folder import StreamFolder
from streaming.log import EventLog, open_log
from streaming.settings import StreamSettings
from streaming.signals import stop_request

__all__ = ["RunningStream", "running_stream"]


class RunningStream(NamedTuple):
    """What a process of a stream works with."""

    log: EventLog
    settings: StreamSettings
    stopping: Callable[[], bool]


@contextmanager
def running_stream(stream: StreamFolder) -> Iterator[RunningStream]:
    """Open a stream's log, with all topics, until the process is asked to stop."""
    settings = stream.stream_settings()
    with open_log(stream.log) as log, stop_request() as request:
        topics = settings.topics()
        if {topic.name for topic in topics} - log.topics().keys():
            log.create_topics(topics)
        yield RunningStream(log, settings, lambda: request.asked)
