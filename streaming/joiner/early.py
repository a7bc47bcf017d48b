"""Views and clicks as soon as they are known, long before the example: for counters.

Both follow from the log alone, as the examples do: whether an impression is accepted, and which
click joins it first, depends on watermarks of their own topics at their own offsets.
"""

from __future__ import annotations

from features.events import Impression, decode_event
from streaming.joiner.entries import KeptClick, KeptImpression
from streaming.joiner.instructions import Clicked, Viewed
from streaming.joiner.pair import Pair

__all__ = ["EarlyPair"]


class EarlyPair(Pair):
    """A :class:`Pair` that also says ``Viewed`` and ``Clicked``, in front of what follows from it.

    What was said before a restart is not said again: an event before ``done_to`` was decided on
    then, a click's joining if both its events were.
    """

    def _take_impression(self, event: Impression, offset: int, arrival: int, raw: bytes) -> None:
        at = len(self.out)
        super()._take_impression(event, offset, arrival, raw)
        if offset < self._imp.done_to:
            return
        kept = self.impressions.get(event.impression_id)
        if kept is not None and kept.offset == offset:
            self.out.insert(at, Viewed(self.partition, offset, event))

    def _match(self, kept: KeptImpression, click: KeptClick) -> bool:
        kinds, at = kept.kinds, len(self.out)
        matched = super()._match(kept, click)
        first = kept.kinds is not kinds and click.kind == "click"
        if first and (click.offset >= self._clk.done_to or kept.offset >= self._imp.done_to):
            self.out.insert(at, self._clicked(kept, click))
        return matched

    def _clicked(self, kept: KeptImpression, click: KeptClick) -> Clicked:
        impression = decode_event(kept.raw)  # was accepted, so it is whole
        assert isinstance(impression, Impression)
        return Clicked(self.partition, kept.offset, click.offset, click.ts, impression)
