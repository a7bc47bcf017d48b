"""All partitions' joiners behind one pair of verbs; views and clicks for counters, if asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from features.events import Impression, decode_event
from streaming.joiner.commit import commit_pair, resume_pair
from streaming.joiner.invariants import validate_pair
from streaming.joiner.partition_joiner import Pair
from streaming.joiner.records import (
    Clicked,
    CommitUpTo,
    Idle,
    Instruction,
    Record,
    Start,
    StoredClick,
    StoredImpression,
    TopicKind,
    Viewed,
)
from streaming.joiner.settings import JoinerSettings

__all__ = ["CountingPair", "Joiner"]


class CountingPair(Pair):
    """A :class:`Pair` that also says ``Viewed`` and ``Clicked``, in front of what follows from it.

    What was said before a restart is not said again: an event before ``done_to`` was decided on
    then, a click's joining if both its events were.
    """

    def _take_impression(
        self, event: Impression, offset: int, arrival: int, raw: bytes, start: Start | None
    ) -> None:
        at = len(self.out)
        super()._take_impression(event, offset, arrival, raw, start)
        if offset < self._imp.done_to:
            return
        stored = self.impressions.get(event.impression_id)
        if stored is not None and stored.offset == offset:
            self.out.insert(at, Viewed(self.partition, offset, event))

    def _match(self, stored: StoredImpression, click: StoredClick) -> bool:
        kinds, at = stored.kinds, len(self.out)
        matched = super()._match(stored, click)
        first = stored.kinds is not kinds and click.kind == "click"
        if first and (click.offset >= self._clk.done_to or stored.offset >= self._imp.done_to):
            self.out.insert(at, self._clicked(stored, click))
        return matched

    def _clicked(self, stored: StoredImpression, click: StoredClick) -> Clicked:
        impression = decode_event(stored.raw)  # was accepted, so it is whole
        assert isinstance(impression, Impression)
        return Clicked(self.partition, stored.offset, click.offset, click.ts, impression)


class Joiner:
    """Joins impressions and clicks: records in, instructions out, nothing else.

    Partitions are independent of each other; each joins its two topics' records of its number.

    Parameters
    ----------
    settings
        Windows and bounds.
    counting
        Whether to give ``Viewed`` and ``Clicked`` too, as soon as they are known.

    Examples
    --------
    >>> joiner = Joiner(JoinerSettings(join_window_s=10, out_of_order_s=0, late_window_s=0))
    >>> shown = b'{"v":1,"type":"impression","impression_id":"i%d","timestamp":17361216%05d}'
    >>> for n in range(12):
    ...     assert joiner.step(Record("impressions", 0, n, shown % (n, n * 8_000))) == []
    >>> joiner.step(Idle("impressions", 0))
    []
    >>> [emitted.impression_id for emitted in joiner.step(Idle("clicks", 0))][:3]
    ['i0', 'i1', 'i2']
    """

    def __init__(self, settings: JoinerSettings | None = None, *, counting: bool = False) -> None:
        self.settings = settings or JoinerSettings()
        self._new_pair = CountingPair if counting else Pair
        self._pairs: dict[int, Pair] = {}

    def take_over(self, partition: int, committed: Mapping[TopicKind, str]) -> None:
        """Begin one partition from its last commit, or afresh.

        What was known of it is forgotten: the caller gives the records from the committed offsets
        on, or from the first if nothing was ever committed.

        Parameters
        ----------
        partition
            Which.
        committed
            Metadata of its last commit by topic; empty if there is none.

        Raises
        ------
        ClicktideError
            Metadata of another program, format or setting: other windows are refused.

        Examples
        --------
        >>> joiner = Joiner()
        >>> joiner.take_over(0, {})
        >>> joiner.take_over(0, {commit.topic: commit.metadata for commit in joiner.commits()})
        """
        self.revoke(partition)
        pair = self.assign(partition)
        for kind, metadata in committed.items():
            resume_pair(pair, kind, metadata)

    def assign(self, partition: int) -> Pair:
        """Give a partition's joiner, new if there is none."""
        pair = self._pairs.get(partition)
        if pair is None:
            pair = self._pairs[partition] = self._new_pair(partition, self.settings)
        return pair

    def revoke(self, partition: int) -> None:
        """Forget a partition that another consumer takes over from the last commit."""
        self._pairs.pop(partition, None)

    def step(self, record: Record | Idle) -> list[Instruction]:
        """Take one record; give what is to be done, in order.

        Raises
        ------
        ValueError
            The offset does not rise: the caller reads wrongly.
        """
        pair = self._pairs.get(record.partition) or self.assign(record.partition)
        if type(record) is Record:
            pair.read(record.topic, record.offset, record.value)
        else:
            pair.idle(record.topic)
        return pair.take_out() if pair.out else []

    def step_many(
        self, topic: TopicKind, partition: int, offsets: Sequence[int], values: Sequence[bytes]
    ) -> list[Instruction]:
        """Take records of one topic's partition that follow each other; :meth:`step`, but faster.

        What comes out is what ``step`` with each of them gives: the same examples in the same
        order, the same rejections (that of an orphan after those of later records, maybe). To
        ``Pause`` is asked once all of them are taken.

        Parameters
        ----------
        topic, partition
            Of all of them.
        offsets, values
            As in :class:`Record`; equally many.

        Raises
        ------
        ValueError
            The offsets do not rise: the caller reads wrongly.

        Examples
        --------
        >>> joiner = Joiner(JoinerSettings(join_window_s=10, out_of_order_s=0, late_window_s=0))
        >>> shown = b'{"v":1,"type":"impression","impression_id":"i%d","timestamp":17361216%05d}'
        >>> values = [shown % (n, n * 8_000) for n in range(12)]
        >>> joiner.step_many("impressions", 0, range(12), values)
        []
        >>> joiner.step(Idle("impressions", 0))
        []
        >>> [emitted.impression_id for emitted in joiner.step(Idle("clicks", 0))][:3]
        ['i0', 'i1', 'i2']
        """
        pair = self._pairs.get(partition) or self.assign(partition)
        pair.read_many(topic, offsets, values)
        return pair.take_out() if pair.out else []

    def commits(self) -> list[CommitUpTo]:
        """Give what to commit in one transaction with all that came out before.

        A partition that is still re-reading what it had read before a restart has nothing to
        commit yet, and gives no examples or dead letters either.
        """
        return [commit for pair in self._pairs.values() for commit in commit_pair(pair)]

    def counts(self) -> Counter[str]:
        """Count outcomes, over all partitions, since the consumer group began.

        ``impressions`` = ``examples`` + pending + the sum of ``impressions_rejected_*``;
        ``clicks`` = ``clicks_on_time`` + ``clicks_late`` + waiting + ``clicks_rejected_*``.
        """
        total: Counter[str] = Counter()
        for pair in self._pairs.values():
            total.update(pair.counts)
        return total

    def pending(self) -> int:
        """Count impressions that have come in and not yet out."""
        return sum(pair.impressions_pending() for pair in self._pairs.values())

    def validate(self) -> None:
        """Check every invariant; see :mod:`streaming.joiner.invariants`."""
        for pair in self._pairs.values():
            validate_pair(pair)
