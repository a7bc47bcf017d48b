"""Impressions with their clicks between them, by event time, and how far this has come.

A click waits in a heap until no impression of the log can come before it: until the impressions
are as late as it. Everything here is a function of the rows alone, so that a publisher that
starts again at the oldest waiting click's row, silently, comes to where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from features.batch import Position
from features.errors import ClicktideError
from features.events import Click
from streaming.log.records import FORMAT, load_metadata
from streaming.publish.rows import PublishBatch, PublishedImpression

__all__ = ["Mark", "Out", "PublishState", "Timeline"]


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in the source.

    Parameters
    ----------
    position
        As the source says it; null: its beginning.
    row
        Rows before it, over all files, bad ones counted.
    time
        Highest event time before it.
    """

    position: Position | None = None
    row: int = 0
    time: int = 0


class PublishState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a commit's metadata holds; the clicks that wait are made again from their rows.

    Parameters
    ----------
    recipe
        Equal where rows give the same events.
    begin
        Where to read again: the row of the oldest click that waits, or the next row.
    rows
        Rows done with, over all files, bad ones counted.
    clicks_to
        (time, row) of the last click published since the last impression.
    shift_ms
        Added to all event times.
    impressions, clicks, rejected
        Counts so far.
    first_ms, last_ms
        Event times of the first and the latest event published.
    ended
        Whether the closing heartbeats are out.
    """

    recipe: str
    begin: Mark = Mark()
    rows: int = 0
    clicks_to: tuple[int, int] | None = None
    shift_ms: int | None = None
    impressions: int = 0
    clicks: int = 0
    rejected: dict[str, int] = {}
    first_ms: int | None = None
    last_ms: int | None = None
    ended: bool = False
    format: int = FORMAT

    @classmethod
    def load(cls, text: str, recipe: str) -> PublishState:
        """Read it to go on from it.

        Raises
        ------
        ClicktideError
            It is damaged, of another format, or was made by another recipe.
        """
        state = load_metadata(text, cls, "publisher's position")
        if state.recipe != recipe:
            raise ClicktideError(
                "this source was published under another spec, click delay or join window: to go "
                "on would lose or repeat clicks. Fix: give --resume with the options it began with"
            )
        return state


_encode = msgspec.json.Encoder().encode


class Out(NamedTuple):
    """An event to publish."""

    time: int
    is_click: bool
    key: bytes
    value: bytes


class Timeline:
    """Where a source's events stand in time.

    An event given by :meth:`events` or :meth:`rest` counts as done when the next one is asked
    for: until then :meth:`mark`, ``rows`` and ``clicks_to`` are those before it.

    Parameters
    ----------
    state
        Where to go on; ``state.begin`` is where the parts begin.
    """

    def __init__(self, state: PublishState) -> None:
        self._time = state.begin.time
        self.first = state.begin.row  # rows before the next part
        self._here = state.begin
        self._silent_to, self._dropped_to = state.rows, state.clicks_to
        self._waiting: list[tuple[int, int, bytes]] = []
        self._marks: dict[int, Mark] = {}  # of the rows of waiting clicks; the oldest first
        self._part: PublishBatch | None = None
        self._done = 0  # impressions of the part
        self.rows, self.clicks_to = state.rows, state.clicks_to

    def mark(self) -> Mark:
        """Where a publisher that goes on from here has to begin reading."""
        if self._marks:
            return next(iter(self._marks.values()))
        return self._now()

    def _now(self) -> Mark:
        """Just after the last impression done with."""
        if self._part is None or not self._done:
            return self._here
        last = self._done - 1
        row = self.first + self._part.shown[last].unit + 1
        return Mark(self._part.after(last), row, self._time)

    def events(self, part: PublishBatch) -> Iterator[Out]:
        """Events of the next part, and the clicks that are due between them."""
        self._part, self._done = part, 0
        for shown in part.shown:
            row = self.first + shown.unit
            now = max(self._time, shown.time)
            if row < self._silent_to:
                for _ in self._due(now):  # published before the restart
                    pass
            else:
                if self._waiting and (self._dropped_to or self._waiting[0][0] <= now):
                    yield from self._loud(now)
                yield Out(shown.time, False, shown.key, shown.value)
                self.rows, self.clicks_to = row + 1, None
            self._take(shown, row, now)
        self.first += part.units
        self._here = Mark(part.position, self.first, self._time)
        self._part = None
        self.rows = max(self.rows, self.first)

    def rest(self) -> Iterator[Out]:
        """Clicks that still wait, at the end of the source."""
        yield from self._loud(None)

    def _take(self, shown: PublishedImpression, row: int, now: int) -> None:
        if shown.click is not None:
            heappush(self._waiting, (shown.click, row, shown.key))
            self._marks[row] = self._now()
        self._time = now
        self._done += 1

    def _due(self, now: int | None) -> Iterator[tuple[int, int, bytes]]:
        """Waiting clicks up to a time; each leaves when the next is asked for."""
        waiting = self._waiting
        while waiting and (now is None or waiting[0][0] <= now):
            yield waiting[0]
            del self._marks[heappop(waiting)[1]]

    def _loud(self, now: int | None) -> Iterator[Out]:
        self._drop()
        for time, row, key in self._due(now):
            click = Click(v=1, impression_id=key.decode(), timestamp=time)
            yield Out(time, True, key, _encode(click))
            self.clicks_to = time, row

    def _drop(self) -> None:
        """Forget those published after the last impression before the restart."""
        if self._dropped_to is not None:
            while self._waiting and self._waiting[0][:2] <= self._dropped_to:
                del self._marks[heappop(self._waiting)[1]]
            self._dropped_to = None
