"""kafka-python's names that we use; the only module that imports it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from streaming.log.base import (
    AbortedError,
    FencedError,
    LogError,
    LogSettingsError,
    LogUnavailableError,
    OffsetError,
    RebalancedError,
    TopicError,
)
from streaming.log.records import Record, TopicPartition

__all__ = [
    "ConsumerGroupMetadata",
    "ConsumerRebalanceListener",
    "IsolationLevel",
    "KafkaAdminClient",
    "KafkaConsumer",
    "KafkaError",
    "KafkaPartition",
    "KafkaProducer",
    "Names",
    "OffsetAndMetadata",
    "OffsetSpec",
    "RangePartitionAssignor",
    "bounded",
    "errors",
    "translated",
]

with warnings.catch_warnings():
    # kafka-python 3.0 reads its schemas with a call that Python 3.11 (alone) deprecates.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka import (  # type: ignore[import-untyped]
        ConsumerRebalanceListener,
        KafkaAdminClient,
        KafkaConsumer,
        KafkaProducer,
        errors,
    )
    from kafka.admin import OffsetSpec  # type: ignore[import-untyped]
    from kafka.coordinator.assignors.range import (  # type: ignore[import-untyped]
        RangePartitionAssignor,
    )
    from kafka.protocol.consumer import IsolationLevel  # type: ignore[import-untyped]
    from kafka.structs import (  # type: ignore[import-untyped]
        ConsumerGroupMetadata,
        OffsetAndMetadata,
    )
    from kafka.structs import TopicPartition as KafkaPartition

KafkaError = errors.KafkaError
k = errors


T = TypeVar("T")

# The first that fits; each with what to do.
_KINDS: list[tuple[tuple[type[Exception], ...], type[LogError], str]] = [
    (
        (k.ProducerFencedError, k.InvalidProducerEpochError, k.FencedInstanceIdError),
        FencedError,
        "stop this process: a newer one has its place",
    ),
    (
        (
            k.CommitFailedError,
            k.IllegalGenerationError,
            k.UnknownMemberIdError,
            k.RebalanceInProgressError,
        ),
        RebalancedError,
        "poll, and go on from what is assigned then",
    ),
    (
        (k.OffsetOutOfRangeError, k.NoOffsetForPartitionError, k.LogTruncationError),
        OffsetError,
        "start from a position that the log still has",
    ),
    (
        (k.UnknownTopicOrPartitionError, k.InvalidTopicError, k.MessageSizeTooLargeError),
        TopicError,
        "create the topic first, or check its settings",
    ),
    (
        (k.AuthorizationError, k.SaslAuthenticationFailedError, k.KafkaConfigurationError),
        LogSettingsError,
        "check the log's settings and the broker's access rules",
    ),
    (
        (k.RetriableError, k.BrokerNotAvailableError, TimeoutError),
        LogUnavailableError,
        "check that the brokers run, then start again from the committed positions",
    ),
]


def translated(what: str, error: Exception) -> LogError:
    """The error of ours that says the same."""
    if isinstance(error, LogError):
        return error
    for causes, kind, fix in _KINDS:
        if any(isinstance(e, causes) for e in (error, *error.args)):
            return kind(f"{what}: {_error_text(error)}. Fix: {fix}")
    return AbortedError(
        f"{what}: {_error_text(error)}. Fix: start again from the committed positions"
    )


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def bounded(call: Callable[[], T], timeout_s: float) -> T:
    """Call in a thread of its own and wait at most so long (kafka-python waits for ever).

    Raises
    ------
    TimeoutError
        No end in time; the thread is left behind and ends with the process.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout_s)


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
