"""The counting of views and clicks: from the log to the store, each event once.

The store, not the log, keeps where to go on from: its guards and its resume point are written
beside the counters. What is committed to the log is for people who ask how far it is.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import msgspec
import numpy as np

from features.counters.redis_format import Updates
from features.counters.redis_store import RedisCounters
from features.counters.store_errors import StoreError, StoreRewoundError
from features.counters.stored import StoredCounters
from features.errors import ClicktideError
from streaming.join_process import IdlePartitions
from streaming.joiner import Idle, Joiner, Overfull, Pause, Unpause
from streaming.joiner import Record as JoinRecord
from streaming.joiner.commit import TopicState
from streaming.joiner.records import Clicked, CommitUpTo, Viewed
from streaming.log import (
    AbortedError,
    Consumer,
    EventLog,
    LogUnavailableError,
    Position,
    RebalancedError,
    TopicPartition,
)
from streaming.log.records import load_metadata
from streaming.process import Process
from streaming.settings import CLICKS, IMPRESSIONS, StreamSettings

__all__ = ["GROUP", "CountProcess"]

GROUP = "count"
"""The consumer group of all counting processes of a stream."""
_SAVE_EVERY_S, _SAVE_SOON_S = 1.0, 0.03  # the latter when all is read
_POLL_S = 0.1


class CountProcess(Process):
    """One member of the group that counts a stream's views and clicks.

    Parameters
    ----------
    log
        Where the topics are; they must exist.
    settings
        The stream's.
    store
        With the plan and name of ``counters``.
    counters
        The spec's.
    instance
        This member's name, kept over restarts.
    report
        Takes lines for people.
    clock, sleep
        Seconds that only rise, and a pause.
    """

    passing = (RebalancedError, StoreRewoundError, AbortedError, LogUnavailableError, StoreError)
    first_wait_s, idle_s = 0.25, 0.0

    def __init__(
        self,
        log: EventLog,
        settings: StreamSettings,
        store: RedisCounters,
        counters: StoredCounters,
        instance: str,
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(instance, report, clock=clock, pause=sleep)
        self.read = self.counted = 0
        self._log, self._settings, self._store, self._counters = log, settings, store, counters
        # It is asked for what is viewed and clicked; labels are the joiner's own.
        windows = msgspec.structs.replace(settings.join, label_after_s=0.0, learn_one_in=1)
        self._joiner = Joiner(windows, counting=True)
        self._news: dict[int, list[Viewed | Clicked]] = defaultdict(list)
        self._idle = IdlePartitions(log)
        self._started: set[int] = set()
        self._saved_at, self._saved = 0.0, 0  # when, and how much was read by the last one
        self._producer = log.producer(instance)
        self._consumer: Consumer = log.consumer(
            GROUP,
            [IMPRESSIONS, CLICKS],
            instance=instance,
            on_revoked=lambda given_up: self._forget({at.partition for at in given_up}),
        )

    def recover(self, error: Exception) -> bool:
        """Go on from the resume point where the partitions or the store are not as they were."""
        if isinstance(error, RebalancedError | StoreRewoundError):
            self.report(f"going on from the resume point: {error}")
            self._forget(set(self._started))
            return False
        if isinstance(error, StoreError) and not error.passing:
            raise error
        return True

    def is_done(self) -> bool:
        """See ``Process``."""
        return self._idle.all_read and not self._waiting()

    def finish(self) -> None:
        """Keep where to go on."""
        if not self._waiting():
            self._save()

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()
        self._producer.close()

    def _waiting(self) -> bool:
        return any(self._news.values())

    def work(self) -> bool:
        """Read a batch unless one waits for the store, count it, and save now and then."""
        self._start_new()
        got = 0 if self._waiting() and not self._replaying() else self._read()
        for commits in self._ready().values():
            self._apply(commits)
        news = got < self._settings.batch and self.read != self._saved
        if self.clock() - self._saved_at >= (_SAVE_SOON_S if news else _SAVE_EVERY_S):
            self._save()
        return bool(got)

    def _replaying(self) -> bool:
        """Whether some news belongs to a partition that must read on before it can be counted."""
        ready = self._ready()
        return any(news and partition not in ready for partition, news in self._news.items())

    def _ready(self) -> dict[int, dict[str, CommitUpTo]]:
        ready: dict[int, dict[str, CommitUpTo]] = defaultdict(dict)
        for commit in self._joiner.commits():
            ready[commit.partition][commit.topic] = commit
        return ready

    def _read(self) -> int:
        records = self._consumer.poll(self._settings.batch, _POLL_S)
        missing = {at.partition for at in self._consumer.assignment()} - self._started
        records = [record for record in records if record.partition not in missing]
        self._start_new()
        for topic, partition, offset, _, _, value, _ in records:
            self._take(JoinRecord(topic, partition, offset, value))  # type: ignore[arg-type]
        for idle in self._idle.now(self._consumer, self.clock()):
            self._take(idle)
        self.read += len(records)
        return len(records)

    def _take(self, record: JoinRecord | Idle) -> None:
        for it in self._joiner.step(record):
            match it:
                case Viewed(partition) | Clicked(partition):
                    self._news[partition].append(it)
                case Pause(topic, partition):
                    self._idle.pause(self._consumer, TopicPartition(topic, partition))
                case Unpause(topic, partition):
                    self._idle.resume(self._consumer, TopicPartition(topic, partition))
                case Overfull(partition, pending):
                    raise ClicktideError(
                        f"count: partition {partition}: {pending} impressions wait. Fix: raise "
                        "join.max_pending or shorten the join windows"
                    )

    def _apply(self, commits: dict[str, CommitUpTo]) -> None:
        """Count what is decided; the joiner may hold events that are far ahead of their time."""
        partition = commits[IMPRESSIONS].partition
        if news := self._news[partition]:
            self._store.apply(partition, _decided_to(commits), self._updates(news))
            self.counted += len(news)
            self._news[partition] = []

    def _updates(self, news: list[Viewed | Clicked]) -> Updates:
        keys = self._counters.keys([it.impression.fields for it in news])
        times = [it.timestamp_ms if type(it) is Clicked else it.impression.timestamp for it in news]
        clicks = [it.click_offset if type(it) is Clicked else -1 for it in news]
        event, place = np.nonzero(keys)
        return Updates(
            keys[event, place],
            self._counters.numbers[place],
            np.array(times, np.int64)[event],
            np.array([it.impression_offset for it in news], np.int64)[event],
            np.array(clicks, np.int64)[event],
        )

    def _save(self) -> None:
        """Keep where to go on in the store; tell the log how far this is."""
        self._saved_at, self._saved = self.clock(), self.read
        positions = {}
        for partition, commits in self._ready().items():
            if self._news[partition]:
                continue
            text = msgspec.json.encode({t: (c.offset, c.metadata) for t, c in commits.items()})
            self._store.save_resume_point(partition, _decided_to(commits), text.decode())
            for topic in commits:
                at = TopicPartition(topic, partition)
                positions[at] = Position(self._consumer.position(at), "")
        if positions:
            with self._producer.transaction() as tx:
                tx.commit(self._consumer, positions)

    def _start_new(self) -> None:
        """Go on from the store's resume point of each partition that has come to this member."""
        for partition in sorted({at.partition for at in self._consumer.assignment()}):
            if partition not in self._started:
                self._start(partition)

    def _start(self, partition: int) -> None:
        text = self._store.resume_point(partition)
        found: dict[str, tuple[int, str]] = {}
        if text is not None:
            found = msgspec.json.decode(text, type=dict[str, tuple[int, str]])
        self._joiner.take_over(partition, {t: metadata for t, (_, metadata) in found.items()})  # type: ignore[misc]
        self._news[partition] = []
        for topic in (IMPRESSIONS, CLICKS):
            first = self._log.start_offsets(topic)[partition]
            offset = found[topic][0] if topic in found else first
            self._consumer.seek(TopicPartition(topic, partition), offset)
        self._started.add(partition)

    def _forget(self, partitions: set[int]) -> None:
        for partition in partitions:
            self._joiner.revoke(partition)
            self._news.pop(partition, None)
            self._started.discard(partition)
        self._idle.clear()


def _decided_to(commits: dict[str, CommitUpTo]) -> tuple[int, int]:
    """How far the events of the two topics are decided on."""
    impressions, clicks = (
        load_metadata(commits[topic].metadata, TopicState, "joiner commit metadata").done_to
        for topic in (IMPRESSIONS, CLICKS)
    )
    return impressions, clicks
