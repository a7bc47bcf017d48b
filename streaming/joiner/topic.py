"""One topic's partition: how far it is read, and its event time.

Time is the highest event time that is trusted. An event at most ``max_ahead_s`` ahead of it moves
it; one further ahead is held until an event with another id follows. If that one is ahead too,
time moves to the lower of the two; if not, time stays, and the held event is taken as it is, or
rejected as ``far_future`` beyond ``far_future_s``. So no single event, nor its copies, can drag
time, and no quiet spell, however long, costs an event. The first event of all is held likewise.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from features.events import Click, Heartbeat, Impression

__all__ = ["BEGIN", "Item", "Topic"]

BEGIN = -(1 << 62)
"""Time before any event."""

LIFTS_KEPT = 80
"""At most so many recorded lifts: they must fit into a commit's metadata."""


class Item(msgspec.Struct, gc=False):
    """A decoded record; ``key`` tells copies of one event from other events."""

    offset: int
    ts: int
    key: str | int
    event: Impression | Click | Heartbeat
    raw: bytes


class Topic:
    """Position, time and held events of one topic's partition.

    Parameters
    ----------
    max_ahead, far_future
        In ms; see the module.
    lift_step
        ms; a lift at a new offset must move time by at least this, which bounds their number.
    """

    __slots__ = (
        "done_to",
        "far_future",
        "held",
        "lift_step",
        "lifts",
        "max_ahead",
        "position",
        "read_to",
        "replayed_lifts",
        "time",
    )

    def __init__(self, max_ahead: int, far_future: int, lift_step: int) -> None:
        self.max_ahead, self.far_future, self.lift_step = max_ahead, far_future, lift_step
        self.position = 0
        self.read_to = 0  # what lies before was read before a restart,
        self.done_to = 0  # and events before here were not held then, but decided
        self.time = BEGIN
        self.held: list[Item] = []
        self.lifts: list[tuple[int, int]] = []  # (offset, time): time was lifted before offset
        self.replayed_lifts = 0

    def offer(self, item: Item) -> Iterator[tuple[Item, bool]]:
        """Take the next event; yield those decided by it, and whether each is to be used."""
        while self.held:
            if item.key == self.held[0].key:
                self.held.append(item)
                return
            if item.ts > self.time + self.max_ahead:
                self.time = min(item.ts, self.held[0].ts)
            yield from self._release()
        if item.ts > self.time + self.max_ahead:
            self.held.append(item)
        else:
            yield item, True

    def _release(self) -> Iterator[tuple[Item, bool]]:
        """Decide on the first held event; what was held with it is then an event like any other."""
        first, *others = self.held
        self.held = []
        yield first, first.ts <= self.time + self.far_future
        for item in others:
            if self.held or item.ts > self.time + self.max_ahead:
                self.held.append(item)
            else:
                yield item, True

    def pass_by(self, ts: int) -> None:
        """Let an event that is used move time."""
        if self.time < ts <= self.time + self.max_ahead:
            self.time = ts

    def may_lift(self, time: int) -> bool:
        """Whether there is room on record for one more lift."""
        if not self.lifts or self.lifts[-1][0] == self.position:
            return True
        return time >= self.lifts[-1][1] + self.lift_step and len(self.lifts) < LIFTS_KEPT

    def lift(self, time: int) -> Iterator[tuple[Item, bool]]:
        """Move time without an event, on record; yield what was held and is decided by it."""
        if self.lifts and self.lifts[-1][0] == self.position:
            self.lifts.pop()
        self.lifts.append((self.position, time))
        self.replayed_lifts = len(self.lifts)
        yield from self._reach(time)

    def replay_lifts(self) -> Iterator[tuple[Item, bool]]:
        """Repeat the lifts that were made at this position before a restart."""
        lifts, position = self.lifts, self.position
        while self.replayed_lifts < len(lifts) and lifts[self.replayed_lifts][0] <= position:
            self.replayed_lifts += 1
            yield from self._reach(self.lifts[self.replayed_lifts - 1][1])

    def _reach(self, time: int) -> Iterator[tuple[Item, bool]]:
        # What is held came before the lift: it is judged by its own time, if that is reached.
        while self.held and self.held[0].ts <= time + self.max_ahead:
            self.time = max(self.time, min(self.held[0].ts, time))
            yield from self._release()
        self.time = max(self.time, time)

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
