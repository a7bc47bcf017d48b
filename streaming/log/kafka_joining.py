"""kafka-python's joining of a group, with its answer kept until the next ``poll``.

kafka-python 3.0.12 takes part in a rebalance from its own thread. An answer that comes between
two polls it throws away and asks once more; from the leader that is a new rebalance for all, and
members whose polls keep an unlucky beat never end it. No setting changes this.
"""

from __future__ import annotations

from typing import Any

from streaming.log.kafka_client import KafkaConsumer

__all__ = ["keep_join"]


def keep_join(kafka: KafkaConsumer) -> None:
    """To be called after each ``poll``: the next one takes the answer of the join under way."""
    coordinator = kafka._coordinator
    task = getattr(coordinator, "_join_task", None)
    if task is not None and not isinstance(task, _Kept):
        coordinator._join_task = _Kept(task)


class _Kept:
    """A future that never looks done, so that it is awaited, which gives its answer at once."""

    is_done = False

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def __await__(self) -> Any:
        return self._task.__await__()
