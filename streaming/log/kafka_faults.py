"""Faults of kafka-python 3.0.12 that exactly-once cannot live with, worked around in one place.

Only here are its private names used. Each function says which fault it is; when a later version has
mended it, the function goes.
"""

from __future__ import annotations

import contextlib
from typing import Any

from streaming.log.kafka_client import KafkaConsumer, KafkaError, KafkaProducer

__all__ = ["close_producer", "first_error", "keep_join"]


def keep_join(consumer: KafkaConsumer) -> None:
    """Let the next ``poll`` take the answer of the join under way; to be called after each.

    kafka-python takes part in a rebalance from its own thread. An answer that comes between two
    polls it throws away and asks once more; from the leader that is a new rebalance for all, and
    members whose polls keep an unlucky beat never end it.
    """
    coordinator = consumer._coordinator
    task = getattr(coordinator, "_join_task", None)
    if task is not None and not isinstance(task, _AwaitedJoin):
        coordinator._join_task = _AwaitedJoin(task)


class _AwaitedJoin:
    """A future that never looks done, so that it is awaited, which gives its answer at once."""

    is_done = False

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def __await__(self) -> Any:
        return self._task.__await__()


def close_producer(producer: KafkaProducer) -> None:
    """Close, also where records of a broken transaction wait.

    ``close`` flushes first (dpkp/kafka-python pull request 2537), and where that fails it leaves
    its thread alive, which goes on sending them. The brokers abort the transaction when the next
    producer of this id comes, or in time.
    """
    try:
        producer.close(timeout=1)
    except KafkaError:
        producer._sender.force_close()
        producer._sender.join(1)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)


def first_error(producer: KafkaProducer, error: Exception) -> Exception:
    """The error that put a producer out of use, where kafka-python gives only its text."""
    earlier: Exception | None = None
    if type(error) is KafkaError:
        earlier = producer._transaction_manager.last_error
    return earlier or error
