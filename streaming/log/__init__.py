"""The event log: topics of partitions of records, with transactions.

Two implementations of one interface (``EventLog``): a SQLite file for one machine, and Kafka.
Which one is meant is a URL (``open_log``), never a code path.
"""

from streaming.log.base import (
    AbortedError,
    Consumer,
    EventLog,
    FencedError,
    LogError,
    LogSettingsError,
    LogUnavailableError,
    OffsetError,
    Producer,
    RebalancedError,
    TopicError,
    TopicSettings,
    Transaction,
)
from streaming.log.log_url import open_log
from streaming.log.records import NewRecord, Position, Record, TopicPartition, ValueRun, Values

__all__ = [
    "AbortedError",
    "Consumer",
    "EventLog",
    "FencedError",
    "LogError",
    "LogSettingsError",
    "LogUnavailableError",
    "NewRecord",
    "OffsetError",
    "Position",
    "Producer",
    "RebalancedError",
    "Record",
    "TopicError",
    "TopicPartition",
    "TopicSettings",
    "Transaction",
    "ValueRun",
    "Values",
    "open_log",
]
