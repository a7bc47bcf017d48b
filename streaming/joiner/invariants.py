"""The joiner's invariants, checked against its whole state (slow: for tests)."""

from __future__ import annotations

from collections.abc import Iterable

from streaming.joiner.partition_joiner import Pair
from streaming.joiner.records import CLICKS, IMPRESSIONS

__all__ = ["validate_pair"]


def validate_pair(pair: Pair) -> None:
    """Check one partition.

    Raises
    ------
    AssertionError
        An invariant does not hold; a bug.
    """
    _conserves(pair)
    _is_in_order(pair)
    _nothing_is_overdue(pair)
    _clicks_agree(pair)
    _early_labels_agree(pair)


def _require(holds: bool, what: str, *seen: object) -> None:
    if not holds:
        raise AssertionError(f"joiner: {what}: {seen}")


def _conserves(pair: Pair) -> None:
    """Impressions in = examples + pending + rejected; clicks in = joined + waiting + rejected."""
    counts = pair.counts
    pending = counts["impressions"] - counts["examples"] - _rejected(pair, IMPRESSIONS)
    joined = counts["clicks_on_time"] + counts["clicks_late"]
    waiting = counts["clicks"] - joined - _rejected(pair, CLICKS)
    seen = pair.impressions_pending()
    _require(seen <= pending, "more impressions pending than came in", seen, pending, counts)
    if pair.caught_up:
        _require(seen == pending, "impressions in != out + pending", seen, pending, counts)
        _require(pair.clicks_waiting() == waiting, "clicks in != out + waiting", waiting, counts)


def _rejected(pair: Pair, kind: str) -> int:
    return sum(n for name, n in pair.counts.items() if name.startswith(f"{kind}_rejected_"))


def _is_in_order(pair: Pair) -> None:
    for kind, stored in ((IMPRESSIONS, pair.impressions.values()), (CLICKS, pair.clicks.values())):
        offsets = [entry.offset for entry in stored]
        _require(_rises(offsets), f"{kind} not by offset", offsets)
        _require(all(o < pair.topics[kind].position for o in offsets), "unread entry", kind)


def _rises(numbers: Iterable[int]) -> bool:
    numbers = list(numbers)
    return numbers == sorted(set(numbers))


def _nothing_is_overdue(pair: Pair) -> None:
    join, watermark = pair.windows.join, pair.watermark
    for ts, _, stored in pair.pending:
        _require(not stored.emitted, "pending, yet emitted", stored.id)
        _require(ts + join >= watermark, "overdue", stored.id, ts, watermark)
        _require(pair.impressions.get(stored.id) is stored, "pending, yet not kept", stored.id)
    _require(all(due >= watermark for due, *_ in pair.late_clicks), "correction overdue")
    waiting = sum(1 for stored in pair.impressions.values() if not stored.emitted)
    _require(waiting == len(pair.pending), "stored, not emitted, not pending", waiting)


def _clicks_agree(pair: Pair) -> None:
    stored = set(map(id, pair.clicks.values()))
    for clicks in pair.waiting.values():
        _require(bool(clicks), "an empty list waits")
        _require(all(click.waits and id(click) in stored for click in clicks), "a lost click waits")
    _require(all(id(click) in stored for click in pair.seen.values()), "a lost click is remembered")


def _early_labels_agree(pair: Pair) -> None:
    if pair.early is None:
        return
    watermark = pair.early.watermark(min(topic.time for topic in pair.topics.values()))
    for due, _, _, stored, _ in pair.early.pending:
        _require(due >= watermark, "early label overdue", stored.id, due, watermark)
        _require(bool(stored.raw), "waits for an early label, yet let go", stored.id)
    first = {stored.id for _, is_click, _, stored, _ in pair.early.pending if not is_click}
    done = [s.id for s in pair.impressions.values() if s.emitted and s.id in first]
    _require(not done, "out of the join window before its early label", done)
