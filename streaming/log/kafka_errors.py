"""What kafka-python raises, as ours; and bounds on what it would wait for without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from streaming.log.errors import (
    AbortedError,
    FencedError,
    LogError,
    LogSettingsError,
    LogUnavailableError,
    OffsetError,
    RebalancedError,
    TopicError,
)
from streaming.log.kafka_client import errors as k

__all__ = ["bounded", "retried", "translated"]

T = TypeVar("T")
_PAUSE_S = 0.2

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
            return kind(f"{what}: {_said(error)}. Fix: {fix}")
    return AbortedError(f"{what}: {_said(error)}. Fix: start again from the committed positions")


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def retried(what: str, call: Callable[[], T], timeout_s: float) -> T:
    """Call; again while the error is one that passes by itself, until the time is over.

    Raises
    ------
    LogError
        What ``translated`` makes of the last error.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            return bounded(call, timeout_s)
        except (k.KafkaError, TimeoutError) as error:
            if not getattr(error, "retriable", False) or time.monotonic() >= end:
                raise translated(what, error) from error
        time.sleep(_PAUSE_S)


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
