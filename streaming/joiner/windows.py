"""The settings' times in whole ms."""

from __future__ import annotations

from typing import NamedTuple

from streaming.joiner.settings import JoinerSettings

__all__ = ["Windows"]


class Windows(NamedTuple):
    """How long things last, in ms."""

    join: int
    late: int
    out_of_order: int
    max_ahead: int
    far_future: int

    @classmethod
    def of(cls, settings: JoinerSettings) -> Windows:
        """Convert."""
        s = settings
        seconds = s.join_window_s, s.late_window_s, s.out_of_order_s, s.max_ahead_s, s.far_future_s
        return cls(*(round(1000 * x) for x in seconds))
