"""One topic's partition: how far it is read, and its event time.

Time is the highest event time that is trusted. An event at most ``max_ahead_s`` ahead of it moves
it; one further ahead is held, and all events behind it with it (:mod:`.held_events`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator

from features.events import Click, Impression
from streaming.joiner.held_events import BEGIN, HeldEvents, Item, first_time

__all__ = ["Topic"]


LIFTS_KEPT = 80
"""At most so many recorded lifts: they must fit into a commit's metadata."""


class Topic:
    """Position, time and held events of one topic's partition.

    Parameters
    ----------
    max_ahead, far_future
        In ms; see the module.
    in_time
        ms; an event no further behind the topic's time is in time.
    lift_step
        ms; a lift at a new offset must move time by at least this, which bounds their number.
    """

    __slots__ = (
        "_in_time",
        "_lift_decided",
        "done_to",
        "evidence",
        "far_future",
        "lift_step",
        "lifts",
        "max_ahead",
        "position",
        "read_to",
        "replayed_lifts",
        "time",
    )

    def __init__(self, max_ahead: int, far_future: int, in_time: int, lift_step: int) -> None:
        self.max_ahead, self.far_future, self.lift_step = max_ahead, far_future, lift_step
        self._in_time = in_time
        self.position = 0
        self.read_to = 0  # what lies before was read before a restart,
        self.done_to = 0  # and events before here were not held then, but decided
        self.time = BEGIN
        self.evidence: HeldEvents | None = None
        self.lifts: list[tuple[int, int]] = []  # (offset, time): time was lifted before offset
        self.replayed_lifts = 0
        self._lift_decided = False  # whether the last lift decided on events that were held

    @property
    def held(self) -> list[Item]:
        """Events on which is not decided, by offset."""
        return self.evidence.items if self.evidence is not None else []

    @property
    def decided_to(self) -> int:
        """Offset before which all events are decided on."""
        undecided = self.held[0].offset if self.evidence is not None else self.position
        return max(undecided, min(self.done_to, self.position))

    def offer(self, item: Item) -> Iterator[tuple[Item, bool]]:
        """Take the next event; yield those decided by it, and whether each is to be used."""
        todo = deque((item,))
        while todo:
            item = todo.popleft()
            if self.evidence is None and item.ts <= self.time + self.max_ahead:
                yield item, True
                continue
            evidence = self._hold(item)
            if evidence.refuted:
                for held in self._let_go():
                    yield held, held.ts <= self.time + self.far_future
            elif evidence.confirmed:
                first, middle = evidence.times_ahead()
                rest = yield from self._judge(evidence.time + self.max_ahead, middle)
                todo.extendleft(reversed(rest))
                self.time = max(self.time, first)

    def _hold(self, item: Item) -> HeldEvents:
        if self.evidence is None:
            self.evidence = HeldEvents((item.offset, self.time), self.max_ahead, self._in_time)
        self.evidence.add(item)
        return self.evidence

    def _let_go(self) -> list[Item]:
        evidence, self.evidence = self.evidence, None
        if evidence is None:
            return []
        for item in evidence.items:
            item.start = evidence.start
        return evidence.items

    def pass_by(self, ts: int) -> None:
        """Let an event that is used move time."""
        if self.time < ts <= self.time + self.max_ahead:
            self.time = ts

    def first_time(self) -> int | None:
        """Event time to begin with, if the first events wait for others and no more have come."""
        evidence = self.evidence
        return evidence.times_ahead()[0] if evidence is not None and evidence.may_begin else None

    def may_lift(self, time: int) -> bool:
        """Whether there is room on record for one more lift."""
        if not self.lifts or self._replaces_lift:
            return True
        return time >= self.lifts[-1][1] + self.lift_step and len(self.lifts) < LIFTS_KEPT

    def lift(self, time: int) -> Iterator[tuple[Item, bool]]:
        """Move time without an event, on record; yield what was held and is decided by it."""
        if self._replaces_lift:
            self.lifts.pop()
        self.lifts.append((self.position, time))
        self.replayed_lifts = len(self.lifts)
        yield from self._lift(time)

    @property
    def _replaces_lift(self) -> bool:
        """Whether a lift now alone comes to the same as the last one and then this.

        Not if the last one decided on held events: in its place, this one might decide otherwise.
        """
        lifts = self.lifts
        return bool(lifts) and lifts[-1][0] == self.position and not self._lift_decided

    def replay_lifts(self) -> Iterator[tuple[Item, bool]]:
        """Repeat the lifts that were made at this position before a restart."""
        lifts, position = self.lifts, self.position
        while self.replayed_lifts < len(lifts) and lifts[self.replayed_lifts][0] <= position:
            self.replayed_lifts += 1
            yield from self._lift(self.lifts[self.replayed_lifts - 1][1])

    def _lift(self, time: int) -> Iterator[tuple[Item, bool]]:
        """Move time; a replay repeats what it decides from where the holding before it began."""
        start = self.evidence.start if self.evidence is not None else None
        self._lift_decided = False
        for item, used in self._reach(time):
            self._lift_decided, item.start = True, start
            yield item, used

    def _reach(self, time: int) -> Iterator[tuple[Item, bool]]:
        """Move time by way of the first of those held that it reaches, silence by silence."""
        if self.time >= time:
            return  # in a replay that starts behind it
        bound, begins = time + self.max_ahead, self.time == BEGIN
        todo = yield from self._judge(self.time + self.max_ahead, time)
        while ahead := [(item.ts, item.key) for item in todo if self.time < item.ts <= bound]:
            self.time = max(self.time, min(first_time(ahead, self._in_time), time))
            yield from self._offer_all(todo)
            if begins and self.time >= time:
                return  # the first events' own word, which does not say who behind them is wrong
            todo = yield from self._judge(self.time + self.max_ahead, time)
        self.time = max(self.time, time)
        yield from self._offer_all(todo)

    def _judge(self, bound: int, time: int) -> Generator[tuple[Item, bool], None, list[Item]]:
        """Decide on those held up to the last in time and not past ``bound``; return the rest."""
        held, late = self._let_go(), self.time - self._in_time
        in_time = (n for n, item in enumerate(held, 1) if late <= item.ts <= bound)
        reached = max(in_time, default=0)
        for item in held[:reached]:
            yield item, item.ts <= time + self.far_future
        return held[reached:]

    def _offer_all(self, items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
        for item in items:
            yield from self.offer(item)

    def forget_lifts(self, offset: int) -> None:
        """Drop lifts that a replay from this offset starts with already."""
        gone = sum(1 for at, _ in self.lifts if at <= offset)
        self.lifts = self.lifts[gone:]
        self.replayed_lifts = max(0, self.replayed_lifts - gone)

    def undecided(self, kind: type[Impression] | type[Click]) -> int:
        """Count the held events of a type, less those on which was decided before a restart."""
        return sum(1 for it in self.held if type(it.event) is kind and it.offset >= self.done_to)

    @property
    def caught_up(self) -> bool:
        """Whether all that was read before a restart has been read again."""
        return self.position >= self.read_to
