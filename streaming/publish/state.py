"""How far a publisher has come: what it commits with its events, to go on exactly there."""

from __future__ import annotations

import msgspec

from features.batch import Position
from features.errors import ClicktideError

__all__ = ["Mark", "PublishState", "load_state"]

FORMAT = 1


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

    def dump(self) -> str:
        """Write it as text."""
        return msgspec.json.encode(self).decode()


def load_state(text: str, recipe: str) -> PublishState:
    """Read what :meth:`PublishState.dump` wrote.

    Raises
    ------
    ClicktideError
        It is damaged, of another format, or was made by another recipe.
    """
    try:
        state = msgspec.json.decode(text, type=PublishState)
    except msgspec.DecodeError as error:
        raise ClicktideError(
            f"publisher's position: {error}. Fix: is this consumer group another program's?"
        ) from error
    if state.format != FORMAT:
        raise ClicktideError(
            f"publisher's position: format {state.format}, this program reads {FORMAT}. "
            "Fix: use the program's version that wrote it, or newer"
        )
    if state.recipe != recipe:
        raise ClicktideError(
            "this source was published under another spec, click delay or join window: to go on "
            "would lose or repeat clicks. Fix: give --resume with the options it began with"
        )
    return state
