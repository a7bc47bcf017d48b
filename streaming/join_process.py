"""The joiner at work: from the log's impressions and clicks to its examples.

Read a batch, give it to :class:`streaming.joiner.Joiner`, and in one transaction append what came
out and commit how far it got. A crash anywhere leaves the last transaction, from which the next
process goes on; nothing is kept elsewhere.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from features.errors import ClicktideError
from streaming.join_output import JoinOutput
from streaming.joiner import Idle, Instruction, Joiner, Overfull, Pause, Resumed, Stalled, Unpause
from streaming.log import (
    AbortedError,
    Consumer,
    EventLog,
    FencedError,
    LogError,
    LogUnavailableError,
    Producer,
    RebalancedError,
    TopicPartition,
    ValueRun,
)
from streaming.process import Process
from streaming.settings import CLICKS, IMPRESSIONS, StreamSettings

__all__ = ["GROUP", "IdlePartitions", "JoinProcess"]

GROUP = "join"
"""The consumer group of all joiners of a stream."""

_COMMIT_EVERY_S = 1.0
# A transaction takes some 10 ms on Kafka, whatever is in it. Behind a backlog nobody waits for it.
_BATCHES_A_COMMIT = 4
_NAP_S = 0.1
_LONGEST_HOLD_S = 0.02  # of what came out, where more should follow
_LOOK_EVERY_S = 0.1
# A transaction on several topics becomes visible in Kafka partition by partition, milliseconds
# apart: an end that has just been reached may not be one.
_IDLE_S = 0.2


class JoinProcess(Process):
    """One member of the group that joins a stream.

    Parameters
    ----------
    log
        Where the topics are; they must exist.
    settings
        The stream's.
    instance
        This member's name, kept over restarts; no two that run at once may share it.
    report
        Takes lines for people: stalls, errors that are got over.
    clock, sleep
        Seconds that only rise, and a pause.

    Examples
    --------
    >>> from streaming.log import NewRecord, open_log
    >>> settings, log = StreamSettings(), open_log(":memory:")
    >>> log.create_topics(settings.topics())
    >>> shown = b'{"v":1,"type":"impression","impression_id":"i1","timestamp":1736121600000}'
    >>> later = b'{"v":1,"type":"heartbeat","timestamp":1736125200000}'
    >>> with log.producer("publisher").transaction() as tx:
    ...     tx.append("impressions", [NewRecord(b"i1", shown)])
    ...     for topic in ("impressions", "clicks"):
    ...         tx.append(topic, [NewRecord(None, later, 0)] * 2)
    >>> process = JoinProcess(log, settings, "join-0", print)
    >>> process.run(until_idle_s=0)
    >>> process.close()
    >>> [record.key for record in log.read(TopicPartition("examples", 0), 0)]
    [b'i1']
    """

    passing = (FencedError, RebalancedError, AbortedError, LogUnavailableError)
    first_wait_s, idle_s = 0.25, 0.0

    def __init__(
        self,
        log: EventLog,
        settings: StreamSettings,
        instance: str,
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(instance, report, clock=clock, pause=sleep)
        self.log, self.settings, self.instance = log, settings, instance
        self.read = 0
        self._joiner = Joiner(settings.join)
        self._started: set[int] = set()
        self._output = JoinOutput(settings.examples_per_record)
        self._idle = IdlePartitions(log)
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._assigned = False
        self._next_commit, self._committed = 0.0, 0  # when, and how much was read by the last one
        self._held = 0  # batches since the last commit
        _check_partitions(log)

    # ---- the loop

    def work(self) -> bool:
        """Read a batch, join it, commit; whether anything was read or came out.

        Raises
        ------
        ClicktideError
            ``max_pending`` is too small, another process has this instance's place, or the log
            no longer holds what is to be read.
        """
        consumer = self._consumer or self._open()
        runs = self._poll(consumer)
        got = sum(len(run.offsets) for run in runs)
        for run in runs:
            self._follow(self._joiner.step_many(*run))  # type: ignore[arg-type]
        self.read += got
        for idle in self._idle.now(consumer, self.clock()):
            self._follow(self._joiner.step(idle))
        came_out = bool(self._output)
        self._held += 1
        if self._held >= _BATCHES_A_COMMIT or 2 * got < self.settings.batch:
            self._commit(caught_up=not got)
            self._held = 0
        return bool(runs) or came_out

    def _poll(self, consumer: Consumer) -> list[ValueRun]:
        runs = consumer.poll_runs(self.settings.batch, _LONGEST_HOLD_S if self._held else _NAP_S)
        missing = {at.partition for at in consumer.assignment()} - self._started
        if missing:  # a commit was refused, and yet they are still ours
            runs = [run for run in runs if run.partition not in missing]
            self._start(missing)
        return runs

    def is_done(self) -> bool:
        """See ``Process``; the output is empty then: it is committed in the step that gave it."""
        return self._assigned and self._idle.all_read

    def finish(self) -> None:
        """Commit what came out."""
        self.attempt(lambda: self._commit(final=True))

    # ---- what the joiner says

    def _follow(self, instructions: Sequence[Instruction]) -> None:
        for it in self._output.take(instructions):
            self._heed(it)

    def _heed(self, it: Instruction) -> None:
        match it:
            case Pause(topic, partition):
                self._idle.pause(self._reader(), TopicPartition(topic, partition))
            case Unpause(topic, partition):
                self._idle.resume(self._reader(), TopicPartition(topic, partition))
            case Overfull(partition, pending):
                raise ClicktideError(
                    f"join: partition {partition}: {pending} impressions wait and none can come "
                    "out: max_pending cannot hold the windows of this traffic. Fix: raise "
                    "join.max_pending, shorten the join windows, or use more partitions"
                )
            case Stalled(partition, since, expected):
                self.report(
                    f"STALLED: partition {partition}: no click since event time {since} ms, about "
                    f"{expected:.0f} were expected; no labels leave until clicks come again"
                )
            case Resumed(partition):
                self.report(f"RESUMED: partition {partition}: clicks are back, labels flow again")

    # ---- committing

    def _commit(self, *, final: bool = False, caught_up: bool = False) -> None:
        """Commit what came out, or how far all is read: now and then, and when all of it is."""
        now = self.clock()
        news = caught_up and self.read != self._committed
        due = final or news or now > self._next_commit
        if self._consumer and self._producer and (self._output or due):
            self._output.commit(self._producer, self._consumer, self._joiner.commits())
            self._next_commit, self._committed = now + _COMMIT_EVERY_S, self.read

    # ---- partitions come and go

    def _on_assigned(self, held: frozenset[TopicPartition]) -> None:
        self._assigned = True
        self._start({at.partition for at in held})

    def _on_revoked(self, given_up: frozenset[TopicPartition]) -> None:
        for at in given_up:
            self._joiner.revoke(at.partition)
            self._started.discard(at.partition)
        self._forget_unsaid()

    def _start(self, partitions: set[int]) -> None:
        """Go on from what is committed of these partitions."""
        for partition in sorted(partitions):
            places = [TopicPartition(topic, partition) for topic in (IMPRESSIONS, CLICKS)]
            committed = {at: self.log.committed(GROUP, at) for at in places}
            found = {at.topic: p.metadata for at, p in committed.items() if p is not None}
            self._joiner.take_over(partition, found)  # type: ignore[arg-type]
            for at, position in committed.items():
                start = self.log.start_offsets(at.topic)[partition]
                self._reader().seek(at, start if position is None else position.offset)
            self._started.add(partition)

    def _forget_unsaid(self) -> None:
        self._output.clear()
        self._idle.clear()
        self._held = 0

    def _forget_all(self) -> None:
        for partition in self._started:
            self._joiner.revoke(partition)
        self._started.clear()
        self._forget_unsaid()

    # ---- errors

    def recover(self, error: Exception) -> bool:
        """Be ready to go on from the last commit; only a log in trouble needs time."""
        if isinstance(error, FencedError):
            raise FencedError(
                f"join: another process runs as instance {self.instance!r}: this one stops. Fix: "
                f"give each joiner that runs at once its own instance name ({error})"
            ) from error
        self._forget_all()
        if isinstance(error, RebalancedError):
            self.report(f"partitions have moved, going on from the last commit: {error}")
            return False
        self.close()
        return True

    # ---- clients

    def _open(self) -> Consumer:
        # The producer first: it settles a transaction that was left open, so that what the
        # consumer then finds committed is final.
        self._producer = self.log.producer(self.instance)
        self._consumer = self.log.consumer(
            GROUP,
            [IMPRESSIONS, CLICKS],
            instance=self.instance,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
        )
        return self._consumer

    def _reader(self) -> Consumer:
        assert self._consumer is not None, "partitions without a consumer"
        return self._consumer

    def close(self) -> None:
        """Leave the group."""
        for client in (self._consumer, self._producer):
            if client is not None:
                with suppress(LogError):  # the log may be why we close
                    client.close()
        self._consumer = self._producer = None

    # ---- figures

    def counts(self) -> Counter[str]:
        """Count outcomes of the partitions held, since the group began; see ``Joiner.counts``."""
        return self._joiner.counts()

    def pending(self) -> int:
        """Count impressions whose window has not closed."""
        return self._joiner.pending()


def _check_partitions(log: EventLog) -> None:
    topics = log.topics()
    sizes = {topic: topics.get(topic, 0) for topic in (IMPRESSIONS, CLICKS)}
    if len(set(sizes.values())) > 1 or not all(sizes.values()):
        raise ClicktideError(
            f"join: partitions by topic: {sizes}; a click is looked for in its impression's "
            "partition. Fix: create both topics with the same number of partitions"
        )


class IdlePartitions:
    """Finds idle partitions; a paused one is never idle, for it is not being read.

    Parameters
    ----------
    log
        Tells where the partitions end. It is asked at most ten times a second.
    """

    def __init__(self, log: EventLog) -> None:
        self.all_read = False  # as far as it may be: what is paused is not waited for
        self._log = log
        self._look_at = 0.0
        self._since: dict[TopicPartition, tuple[int, float]] = {}  # position at the end, and when
        self._paused: set[TopicPartition] = set()

    def pause(self, consumer: Consumer, at: TopicPartition) -> None:
        """Stop reading a partition."""
        consumer.pause([at])
        self._paused.add(at)

    def resume(self, consumer: Consumer, at: TopicPartition) -> None:
        """Read it again."""
        consumer.resume([at])
        self._paused.discard(at)

    def clear(self) -> None:
        """Forget everything: the partitions are others now."""
        self._since.clear()
        self._paused.clear()
        self.all_read = False

    def now(self, consumer: Consumer, now: float) -> Iterator[Idle]:
        """Give the idle partitions, or nothing if it is too early to look again."""
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        held = consumer.assignment()
        ends = {topic: self._log.end_offsets(topic) for topic in {at.topic for at in held}}
        idle = [at for at in sorted(held) if self._is_idle(consumer, at, ends, now)]
        self.all_read = held <= self._paused.union(idle)
        for topic, partition in idle:
            yield Idle(topic, partition)  # type: ignore[arg-type]

    def _is_idle(
        self, consumer: Consumer, at: TopicPartition, ends: dict[str, list[int]], now: float
    ) -> bool:
        position = consumer.position(at)
        if at in self._paused or position < ends[at.topic][at.partition]:
            self._since.pop(at, None)
            return False
        seen, since = self._since.setdefault(at, (position, now))
        if seen != position:
            self._since[at] = position, now
            return False
        return now - since >= _IDLE_S
