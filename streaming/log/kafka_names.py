"""Our names and Kafka's: with ``?prefix=`` several streams share brokers and never meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streaming.log.base import Record, TopicPartition
from streaming.log.kafka_client import KafkaPartition

__all__ = ["Names"]


@dataclass(frozen=True, slots=True)
class Names:
    """A prefix on all that has a name on the brokers: topics, groups, transactional ids.

    Examples
    --------
    >>> names = Names("abc.")
    >>> names.there(TopicPartition("clicks", 0)).topic
    'abc.clicks'
    >>> names.here(names.there(TopicPartition("clicks", 0)))
    TopicPartition(topic='clicks', partition=0)
    >>> names.mine("other.clicks")
    False
    """

    prefix: str = ""

    def full(self, name: str) -> str:
        """The name on the brokers."""
        return self.prefix + name

    def mine(self, name: str) -> bool:
        """Whether a name on the brokers is of this stream."""
        return name.startswith(self.prefix)

    def bare(self, name: str) -> str:
        """Our name of one that is of this stream."""
        return name.removeprefix(self.prefix)

    def there(self, at: TopicPartition) -> KafkaPartition:
        """A partition as the brokers call it."""
        return KafkaPartition(self.prefix + at[0], at[1])

    def record(self, given: Any) -> Record:
        """A record as we know it of a ``ConsumerRecord``; null values are empty ones."""
        headers = tuple((name, value or b"") for name, value in given.headers)
        return Record(
            self.bare(given.topic), given.partition, given.offset, given.timestamp, given.key,
            given.value or b"", headers,
        )  # fmt: skip

    def here(self, at: KafkaPartition) -> TopicPartition:
        """A partition as we call it."""
        return TopicPartition(self.bare(at.topic), at.partition)
