"""What a commit's metadata holds: all that a restart needs besides the log."""

from __future__ import annotations

import msgspec

from features.errors import ClicktideError

__all__ = ["TopicState"]

FORMAT = 1


class TopicState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one topic's partition, as committed.

    Parameters
    ----------
    format
        1.
    windows
        ``join_window_s``, ``late_window_s``, ``out_of_order_s`` in ms, ``max_ahead_s``,
        ``far_future_s``: under others, a replay would not repeat itself.
    offset
        Where the replay begins.
    time
        The topic's time just before that offset; null: no time yet.
    read_to
        Records before this offset were read.
    done_to
        Events before this offset were decided on (those after it, up to ``read_to``, held).
    impressions_watermark
        The impressions' watermark at the commit: clicks that had waited for it to pass are out.
    emitted_to
        The pair's watermark: examples whose window closed before it are out.
    lifts
        (offset, time): time was lifted before that offset.
    last_click
        Event time of the last click.
    counts
        Outcomes so far, by name.
    """

    windows: tuple[int, ...]
    offset: int
    time: int | None
    read_to: int
    done_to: int
    impressions_watermark: int
    emitted_to: int
    lifts: list[tuple[int, int]] = []
    last_click: int = 0
    counts: dict[str, int] = {}
    format: int = FORMAT

    def dump(self) -> str:
        """Write it as text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def load(cls, text: str, windows: tuple[int, ...]) -> TopicState:
        """Read it.

        Raises
        ------
        ClicktideError
            It is damaged, of another format, or was committed under other windows.
        """
        try:
            state = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ClicktideError(
                f"joiner commit metadata: {error}. Fix: is this consumer group another program's?"
            ) from error
        if state.format != FORMAT:
            raise ClicktideError(
                f"joiner commit metadata: format {state.format}, this program reads {FORMAT}. "
                "Fix: use the program's version that wrote it, or newer"
            )
        if state.windows != windows:
            raise ClicktideError(
                f"joiner commit metadata: made with windows {state.windows} ms, settings have "
                f"{windows}. Fix: restore the settings, or start a new consumer group"
            )
        return state
