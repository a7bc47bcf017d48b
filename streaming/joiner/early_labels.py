"""Examples that are labelled seconds after their impressions were shown, for the trainer.

Beside the example of the join window, each impression comes out once with the label that it has
``label_after_s`` after it was shown, and once more, as a correction with label 1, if a click joins
it later. Of those that are not clicked by then one in ``learn_one_in`` comes out, chosen by its id,
and counts for so many; a click after that is a correction in any case. It adds a click and nothing
else, so in the mean over the choice all sums are those of all impressions (He et al., ADKDD 2014).

Names: w is ``label_after_s``, o is ``label_out_of_order_s``, E is the lower of the two topics'
times less o, x's arrival is its topic's time just before it.

An impression is due at max(t + w, arrival - o) and comes out when that is below E: one that is
late, but not too late for the join window, comes out at once. Its label counts a click c with
max(c, arrival of the click - o) <= due; any other click is a correction, due at the larger of these
and below E. As with the examples of the join window (:mod:`streaming.joiner`), these are functions
of the two logs alone: when an impression comes out, every click that its label counts has been
read. And what was due before the committed E was out at the commit: nothing that was read after it
is due before, for its arrival - o is not below that E. o is not above ``out_of_order_s``, so E is
never behind W, and all this is done with when the impression is let go.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from heapq import heappop, heappush

from features.events import encode_example
from streaming.joiner.held_events import BEGIN
from streaming.joiner.records import EmitExample, Instruction, StoredClick, StoredImpression
from streaming.joiner.settings import JoinWindows

__all__ = ["EarlyLabels", "is_chosen"]


class EarlyLabels:
    """The impressions of one partition that wait for their early label, and clicks that correct it.

    Parameters
    ----------
    partition
        Which.
    windows
        With ``label`` above 0.
    one_in
        Of the impressions that are not clicked in time, one in so many comes out.
    counts
        ``early_examples`` and ``early_corrections`` are added as they come out.

    Attributes
    ----------
    given_to
        What was due before this came out before a restart.
    pending
        Heap: when due, whether a click, offset, the impression, the click's time.
    """

    def __init__(
        self, partition: int, windows: JoinWindows, one_in: int, counts: Counter[str]
    ) -> None:
        self._partition, self._one_in, self._counts = partition, one_in, counts
        self._after = windows.label
        self._bound = min(windows.label_out_of_order, windows.out_of_order)
        self.given_to = BEGIN
        self.pending: list[tuple[int, bool, int, StoredImpression, int]] = []

    def shown(self, stored: StoredImpression) -> None:
        """Take an impression that was accepted."""
        heappush(self.pending, (self._due(stored), False, stored.offset, stored, 0))

    def clicked(self, stored: StoredImpression, click: StoredClick) -> None:
        """Take the first click (not dismissal) that joins an impression."""
        due, known = self._due(stored), max(click.ts, click.arrival - self._bound)
        if known <= due:
            stored.early_click = click.ts
        else:
            heappush(self.pending, (known, True, click.offset, stored, click.ts))

    def _due(self, stored: StoredImpression) -> int:
        return max(stored.ts + self._after, stored.arrival - self._bound)

    def watermark(self, time: int) -> int:
        """E, by the lower of the two topics' times."""
        return time - self._bound

    def advance(self, watermark: int, out: list[Instruction]) -> None:
        """Append what is due before E, in its order."""
        pending = self.pending
        while pending and pending[0][0] < watermark:
            due, is_click, _, stored, click_ts = heappop(pending)
            if due < self.given_to:
                continue
            if is_click:
                out.append(self._correction(stored, click_ts))
            elif stored.early_click is not None or is_chosen(stored.id, self._one_in):
                out.append(self._first(stored))

    def _first(self, stored: StoredImpression) -> EmitExample:
        self._counts["early_examples"] += 1
        label = int(stored.early_click is not None)
        value = encode_example(
            label, stored.raw, click_timestamp=stored.early_click, one_in=self._one_in
        )
        return EmitExample(self._partition, stored.id, label, False, value, True)

    def _correction(self, stored: StoredImpression, click_ts: int) -> EmitExample:
        self._counts["early_corrections"] += 1
        value = encode_example(1, stored.raw, click_timestamp=click_ts, correction=True)
        return EmitExample(self._partition, stored.id, 1, True, value, True)


def is_chosen(impression_id: str, one_in: int) -> bool:
    """Whether this one in so many is kept: the same in every run and process.

    Examples
    --------
    >>> sum(is_chosen(f"i{n}", 10) for n in range(10_000))
    1075
    """
    if one_in == 1:
        return True
    digest = blake2b(impression_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % one_in == 0
