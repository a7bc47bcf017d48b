"""Opens the event log that a URL names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from streaming.log.base import EventLog
from streaming.log.log_url import SqliteSettings, log_settings
from streaming.log.sqlite_log import SqliteLog
from streaming.time_text import now_ms

__all__ = ["open_log"]


def open_log(
    url: str,
    *,
    environ: Mapping[str, str] = os.environ,
    clock_ms: Callable[[], int] = now_ms,
) -> EventLog:
    """Open the event log that a URL names.

    Parameters
    ----------
    url
        ``kafka://host:port[,host:port][?...]`` (``KafkaSettings``), ``sqlite:///path[?...]`` or a
        plain path (``SqliteSettings``).
    environ
        Where the secrets are.
    clock_ms
        Time for the embedded log; Kafka's brokers use their own.

    Raises
    ------
    LogSettingsError
        The URL cannot be used.
    LogUnavailableError
        Kafka does not answer.

    Examples
    --------
    >>> open_log(":memory:").topics()
    {}
    """
    settings = log_settings(url, environ)
    if isinstance(settings, SqliteSettings):
        lease_ms = int(settings.lease_s * 1000)
        return SqliteLog(
            Path(settings.path), clock_ms=clock_ms, lease_ms=lease_ms, sync=settings.sync
        )
    from streaming.log.kafka_log import KafkaLog  # spares the embedded log its import time

    return KafkaLog(settings)
