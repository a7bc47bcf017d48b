"""Events far ahead of their topic's time, held until others say which clock is right.

An event further ahead than ``max_ahead_s`` is either of a clock that runs fast, or the first after
a silence; only what follows can tell, so it is held, and all events behind it with it, in their
order:

- **Refuted**: the present goes on. Each event behind it that is in time for the present weighs
  8, each that is ahead too (of another id) 1. Once there are 6 of the first and they weigh as much
  as the second, all held are let go: time stays, an ahead event is taken as it is, or rejected as
  ``far_future`` beyond ``far_future_s``. So a burst of 50 waits for 7 events, and no number of
  bursts drags time while the fast clocks send fewer than 8 of 9 events.
- **Confirmed**: 128 more weigh for it than against; or its publisher says so, by a heartbeat behind
  another ahead event; or time goes on there, by 6 steps of more than ``max_ahead_s`` (a stream
  with few events). Time then moves to the first of them (:func:`first_time`), and each is looked
  at again: a silence, however long, costs no event.

The first events of all are held likewise, until 64 are there, or 11 and the caller says that no
more have come. So five events of wrong clocks decide nothing, wherever they stand. Whenever time
moves over held events, those of the present are let go first, with all before them: they are not
late because a wrong clock stood before them.

The decisions are functions of the records and lifts alone. What is decided of a held event depends
on all that is held with it, so a replay repeats it only from where the holding began.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from statistics import median_low

import msgspec

from features.events import Click, Heartbeat, Impression
from streaming.joiner.records import Start

__all__ = ["BEGIN", "HeldEvents", "Item", "first_time"]

BEGIN = -(1 << 62)
"""Time before any event."""
_WRONG = 5  # events with wrong clocks, however placed: so few decide nothing
_PRESENT_WEIGHT = 8
_CONFIRMING, _CONFIRMING_FIRST, _CONFIRMING_STEPS = 128, 64, _WRONG + 1
_BEGINNING = 2 * _WRONG + 1
_A_GROUP = 8  # events; fewer do not tell right clocks from wrong ones
_OF_A_BURST = 4
_MOST_HELD = 512  # events that weigh nothing, such as late ones, must not be held without end


class Item(msgspec.Struct, gc=False):
    """A decoded record.

    ``key`` tells copies of one event from other events. ``start``, if it was held: where a
    replay must begin to decide on it as was decided.
    """

    offset: int
    ts: int
    key: str | int
    event: Impression | Click | Heartbeat
    raw: bytes
    start: Start | None = None


def first_time(events: Sequence[tuple[int, Hashable]], apart: int) -> int:
    """Event time of the first of some events, of which a minority may have wrong clocks.

    Parameters
    ----------
    events
        Time and key of each; of the same key, one is a copy of the other.
    apart
        Times further than this from the next are of another group. A group that is over when the
        next begins came before it; if they come by turns, the larger part is right, from 8 on.

    Examples
    --------
    >>> def first(*times: int) -> int:
    ...     return first_time([*zip(times, range(99))], apart=100)
    >>> first(10, 5000, 12, 13, 5001), first(10, 5000, 5002)
    (10, 10)
    >>> first(10, *range(5000, 5005), 12, *range(5005, 5009)), first(10, *range(5000, 5060), 12)
    (5000, 10)
    """
    order = sorted(range(len(events)), key=lambda i: events[i][0])
    times = [events[i][0] for i in order]
    breaks = [n for n, (t, u) in enumerate(pairwise(times), 1) if u - t > apart]
    groups = [order[a:b] for a, b in pairwise([0, *breaks, len(order)])]
    first, lower = groups[0], groups[0]
    for group in groups[1:]:
        early = sorted(group)[len(group) // 4]
        by_turns, own = max(lower) > early, _weight(events, group)
        if by_turns and own >= _A_GROUP and own > _weight(events, lower):
            first = lower = group
        else:
            lower = lower + group
    return events[first[0]][0]


def _weight(events: Sequence[tuple[int, Hashable]], of: Sequence[int]) -> int:
    """How many events a group has, copies once, and of those in one burst only a few."""
    seen: set[Hashable] = set()
    weight, last, run = 0, -1, 0
    for i in sorted(of):
        run = run if i == last + 1 else 0
        if events[i][1] not in seen and run < _OF_A_BURST:
            run, weight = run + 1, weight + 1
        seen.add(events[i][1])
        last = i
    return weight


class HeldEvents:
    """Events from one that is far ahead on, and what they say for it and against it.

    Parameters
    ----------
    start
        Where the holding began: the first one's offset, and the topic's time.
    max_ahead, in_time
        How far ahead of it an event is ahead, and how far behind one still is of the present.
    """

    __slots__ = ("_ahead", "_beats", "_first", "_in_time", "_max_ahead", "_peak", "_present",
                 "_steps", "items", "start", "time")  # fmt: skip

    def __init__(self, start: Start, max_ahead: int, in_time: int) -> None:
        self.start, time = start, start[1]
        self.items: list[Item] = []
        self._ahead: set[str | int] = set()  # their keys
        self.time, self._max_ahead, self._in_time = time, max_ahead, in_time
        self._first = time == BEGIN
        self._present = self._beats = self._steps = 0
        self._peak = BEGIN

    def add(self, item: Item) -> None:
        """Hold one more, and weigh it."""
        self.items.append(item)
        if item.ts > self.time + self._max_ahead:
            self._ahead.add(item.key)
            self._beats += type(item.event) is Heartbeat
            if item.ts > self._peak + self._max_ahead:
                self._peak, self._steps = item.ts, self._steps + 1
        elif item.ts >= self.time - self._in_time:
            # A heartbeat is its publisher's word that the present goes on.
            self._present += _CONFIRMING if type(item.event) is Heartbeat else 1
            self._beats = self._steps = 0
            self.time = max(self.time, item.ts)

    @property
    def refuted(self) -> bool:
        """Whether the present goes on."""
        if self._is_full:
            return not self.confirmed
        return self._present > _WRONG and _PRESENT_WEIGHT * self._present >= len(self._ahead)

    @property
    def confirmed(self) -> bool:
        """Whether time has moved on."""
        enough = _CONFIRMING_FIRST if self._first else _CONFIRMING
        return (
            len(self._ahead) - _PRESENT_WEIGHT * self._present >= enough
            or (self._beats > 0 and len(self._ahead) > 1)
            or self._steps >= _CONFIRMING_STEPS
            or (self._is_full and (self._first or 2 * len(self._ahead) > len(self.items)))
        )

    @property
    def may_begin(self) -> bool:
        """Whether these are the first events, and most of them have right clocks."""
        return self._first and len(self._ahead) >= _BEGINNING

    def times_ahead(self) -> tuple[int, int]:
        """Event times of the first and of the middle of those ahead."""
        above = self.time + self._max_ahead
        ahead = [(item.ts, item.key) for item in self.items if item.ts > above]
        if not ahead:
            return self.time, self.time  # the present has reached them
        return first_time(ahead, self._in_time), median_low(ts for ts, _ in ahead)

    @property
    def _is_full(self) -> bool:
        return len(self.items) >= _MOST_HELD
