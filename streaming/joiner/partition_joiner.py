"""The joiner of one partition: its impressions and its clicks.

The names t, c, w(x), W, J, L and O are those of :mod:`streaming.joiner`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from features.events import (
    Click,
    Event,
    EventError,
    Heartbeat,
    Impression,
    decode_event,
    encode_example,
)
from streaming.joiner.early_labels import EarlyLabels
from streaming.joiner.held_events import BEGIN, Item
from streaming.joiner.records import (
    CLICKS,
    IMPRESSIONS,
    DeadLetter,
    EmitExample,
    Instruction,
    Overfull,
    Pause,
    Resumed,
    Stalled,
    Start,
    StoredClick,
    StoredImpression,
    TopicKind,
    Unpause,
)
from streaming.joiner.settings import JoinerSettings, JoinWindows
from streaming.joiner.stall_guard import Bound, StallGuard
from streaming.joiner.topic import LIFTS_KEPT, Topic

__all__ = ["Pair"]


class Pair:
    """Joins the two topics of one partition; see :mod:`streaming.joiner`."""

    def __init__(self, partition: int, settings: JoinerSettings) -> None:
        self.partition = partition
        self.windows = w = JoinWindows.of(settings)
        self._join, self._bound = w.join, w.out_of_order
        self._late = w.join + w.late
        self._click_life = w.join + w.late + w.out_of_order
        span = self._click_life + w.join + w.far_future
        step = -(-span // LIFTS_KEPT)
        self.topics: dict[TopicKind, Topic] = {
            kind: Topic(w.max_ahead, w.far_future, w.join + w.out_of_order, step)
            for kind in (IMPRESSIONS, CLICKS)
        }
        self._imp, self._clk = self.topics[IMPRESSIONS], self.topics[CLICKS]
        self.guard = StallGuard(settings)
        self.counts: Counter[str] = Counter()
        self.impressions: dict[str, StoredImpression] = {}  # in the order of offsets
        self.clicks: dict[int, StoredClick] = {}  # in the order of offsets
        self.seen: dict[tuple[str, str], StoredClick] = {}
        self.waiting: dict[str, list[StoredClick]] = {}
        self.pending: list[tuple[int, int, StoredImpression]] = []  # heap: not yet emitted
        self.late_clicks: list[tuple[int, int, StoredImpression, StoredClick]] = []  # heap, by due
        self._emitted: deque[StoredImpression] = deque()  # by event time
        self._lingering: deque[StoredImpression] = deque()
        self._orphans: list[tuple[int, int, StoredClick]] = []  # heap: may be waiting
        self._aging: list[tuple[int, int, StoredClick]] = []  # heap: kept
        self.emitted_to = self.orphaned_to = BEGIN  # before a restart
        self.early = (
            EarlyLabels(partition, w, settings.learn_one_in, self.counts) if w.label else None
        )
        self.bound = Bound(partition, settings.max_pending)
        self.out: list[Instruction] = []

    @property
    def watermark(self) -> int:
        """W: the lower of the two topics' watermarks, in ms."""
        return min(self._imp.time, self._clk.time) - self._bound

    # ---- reading

    def read(self, kind: TopicKind, offset: int, value: bytes) -> None:
        """Take one record."""
        self._read(kind, offset, value)
        self._advance()

    def read_many(self, kind: TopicKind, offsets: Sequence[int], values: Sequence[bytes]) -> None:
        """Take records of one topic that follow each other, and do at their end what is due.

        All that is decided about a record depends on the watermarks at its own offset, so the same
        comes out as if each had been read alone.
        """
        for offset, value in zip(offsets, values, strict=True):
            self._read(kind, offset, value)
        self._advance()

    def _read(self, kind: TopicKind, offset: int, value: bytes) -> None:
        topic = self.topics[kind]
        if offset < topic.position:
            raise ValueError(
                f"{kind}[{self.partition}]: offset {offset} after {topic.position - 1}"
            )
        topic.position = offset + 1
        try:
            event = decode_event(value)
        except EventError as error:
            self._refuse(kind, offset, value, error.reason, error.detail)
        else:
            self._offer(kind, topic, offset, event, value)
        if topic.replayed_lifts < len(topic.lifts):
            self._lift(kind, topic.replay_lifts())

    def _offer(self, kind: TopicKind, topic: Topic, offset: int, event: Event, raw: bytes) -> None:
        key: str | int = offset
        if type(event) is (Impression if kind == IMPRESSIONS else Click):
            key = event.impression_id
            if offset >= topic.read_to:
                self.counts[kind] += 1
        elif type(event) is not Heartbeat:
            self._refuse(kind, offset, raw, "wrong_topic", f"{type(event).__name__} in {kind}")
            return
        if topic.evidence is None and event.timestamp <= topic.time + topic.max_ahead:
            self._take(topic, offset, event, raw)
        else:
            for held, used in topic.offer(Item(offset, event.timestamp, key, event, raw)):
                self._decided(kind, held, used)

    def _refuse(self, kind: TopicKind, offset: int, raw: bytes, reason: str, detail: str) -> None:
        """Reject a record that is no event of its topic."""
        if offset >= self.topics[kind].read_to:
            self.counts[kind] += 1
            self._dead_letter(kind, offset, raw, reason, detail)

    def _decided(self, kind: TopicKind, item: Item, used: bool) -> None:
        if used:
            self._take(self.topics[kind], item.offset, item.event, item.raw, item.start)
        elif type(item.event) is not Heartbeat:
            ahead = f"{item.ts - self.topics[kind].time} ms ahead of its partition"
            self._reject(kind, item.offset, item.raw, "far_future", ahead)

    def _take(
        self,
        topic: Topic,
        offset: int,
        event: Impression | Click | Heartbeat,
        raw: bytes,
        start: Start | None = None,
    ) -> None:
        arrival = topic.time
        topic.pass_by(event.timestamp)
        if type(event) is Impression:
            self._take_impression(event, offset, arrival, raw, start)
        elif type(event) is Click:
            self._take_click(event, offset, arrival, raw, start)

    def _reject(self, kind: TopicKind, offset: int, raw: bytes, reason: str, detail: str) -> None:
        if offset >= self.topics[kind].done_to:
            self._dead_letter(kind, offset, raw, reason, detail)

    def _dead_letter(
        self, kind: TopicKind, offset: int, raw: bytes, reason: str, detail: str
    ) -> None:
        self.counts[f"{kind}_rejected_{reason}"] += 1
        self.out.append(DeadLetter(reason, detail, kind, self.partition, offset, raw))

    # ---- impressions

    def _take_impression(
        self, event: Impression, offset: int, arrival: int, raw: bytes, start: Start | None
    ) -> None:
        id, ts = event.impression_id, event.timestamp
        if ts + self._join < arrival - self._bound:
            self._reject(IMPRESSIONS, offset, raw, "too_late", "its window had closed")
        elif id in self.impressions:
            self._reject(IMPRESSIONS, offset, raw, "duplicate_impression", id)
        else:
            stored = StoredImpression(id, ts, offset, arrival, raw, start)
            self.impressions[id] = stored
            heappush(self.pending, (ts, offset, stored))
            if self.early is not None:
                self.early.shown(stored)
            p = event.probability
            self.guard.expect(ts, self.guard.usual(self.counts) if p is None else p)
            if id in self.waiting:
                clicks = self.waiting.pop(id)
                if unmatched := [click for click in clicks if not self._match(stored, click)]:
                    self.waiting[id] = unmatched

    # ---- clicks

    def _take_click(
        self, event: Click, offset: int, arrival: int, raw: bytes, start: Start | None
    ) -> None:
        key, ts = (event.impression_id, event.kind), event.timestamp
        watermark = arrival - self._bound
        seen = self.seen.get(key)
        if offset >= self._clk.done_to and self.guard.clicked(ts):
            self.out.append(Resumed(self.partition))
        if ts + self._click_life < watermark:
            self._reject(CLICKS, offset, raw, "too_late", "its windows had closed")
        elif seen is not None and watermark <= seen.ts + self._click_life:
            seen.until = max(seen.until, ts)
            self._reject(CLICKS, offset, raw, "duplicate_click", event.impression_id)
        else:
            stored = StoredClick(*key, ts, offset, arrival, raw, until=ts, start=start)
            self.seen[key] = self.clicks[offset] = stored
            heappush(self._aging, (ts, offset, stored))
            impression = self.impressions.get(stored.id)
            if impression is None or not self._match(impression, stored):
                self.waiting.setdefault(stored.id, []).append(stored)
                heappush(self._orphans, (ts, offset, stored))

    def _match(self, stored: StoredImpression, click: StoredClick) -> bool:
        """Join the two if they may be; the answer depends on nothing but the two."""
        t, c = stored.ts, click.ts
        click_watermark = click.arrival - self._bound
        if not t - self._bound <= c <= t + self._late or click_watermark > t + self._late:
            return False
        if stored.arrival - self._bound > c + self._join:
            return False
        click.waits = False
        news = click.offset >= self._clk.done_to or stored.offset >= self._imp.done_to
        if click.kind in stored.kinds:
            if news:
                self._dead_letter(CLICKS, click.offset, click.raw, "duplicate_click", click.id)
        else:
            on_time = c <= t + self._join and click_watermark <= t + self._join
            self.counts["clicks_on_time" if on_time else "clicks_late"] += news
            stored.kinds += (click.kind,)
            if on_time:
                stored.label_by(click)
            else:
                heappush(self.late_clicks, (self._due(stored, click), click.offset, stored, click))
            if self.early is not None and click.kind == "click":
                self.early.clicked(stored, click)
        click.raw = b""
        return True

    def _due(self, stored: StoredImpression, click: StoredClick) -> int:
        """W behind which a correction comes out: the click's own time, or W now if it is late.

        So that corrections and examples come out in one order, however the topics were read.
        """
        arrival = max(click.arrival, stored.arrival) - self._bound
        return max(stored.ts + self._join, click.ts, arrival)

    # ---- time

    def _advance(self) -> None:
        """Do what is due at W, in the order of event time."""
        time = min(self._imp.time, self._clk.time)
        if self.early is not None:  # first: what is let go below is done with there
            self.early.advance(self._first_watermark(time), self.out)
        watermark = time - self._bound
        pending, join = self.pending, self._join
        while pending and pending[0][0] + join < watermark:
            self._correct_before(pending[0][0] + join)
            self._close(heappop(pending)[2])
        self._correct_before(watermark)
        self._let_go_before(watermark - self._late)
        while self._lingering and self._lingering[0].ts + self._late + join < watermark:
            del self.impressions[self._lingering.popleft().id]
        impression_watermark = self._imp.time - self._bound
        while self._orphans and self._orphans[0][0] + join < impression_watermark:
            self._orphan(heappop(self._orphans)[2])
        while self._aging and self._aging[0][0] + self._click_life < watermark:
            self._age(heappop(self._aging)[2])
        bound = self.bound
        if bound.paused or max(len(self.impressions), len(self.clicks)) >= bound.limit:
            clicks_lag = self._clk.time < self._imp.time
            self.out += bound.regulate(len(self.impressions), len(self.clicks), clicks_lag)

    def _close(self, stored: StoredImpression) -> None:
        stored.emitted = True
        self._emitted.append(stored)
        if stored.ts + self._join >= self.emitted_to:
            self.counts["examples"] += 1
            self._emit(stored, correction=False)

    def _correct_before(self, watermark: int) -> None:
        while self.late_clicks and self.late_clicks[0][0] < watermark:
            due, _, stored, click = heappop(self.late_clicks)
            stored.label_by(click)
            if due >= self.emitted_to:
                self.counts["corrections"] += 1
                self._emit(stored, correction=True)

    def _emit(self, stored: StoredImpression, *, correction: bool) -> None:
        label = int(stored.click_ts is not None)
        value = encode_example(
            label,
            stored.raw,
            click_timestamp=stored.click_ts,
            dismiss_timestamp=stored.dismiss_ts,
            correction=correction,
        )
        if label and not correction:
            self.counts["examples_clicked"] += 1
        self.out.append(EmitExample(self.partition, stored.id, label, correction, value))

    def _let_go_before(self, ts: int) -> None:
        """Forget impressions; one with clicks keeps its place in the log until they are old.

        Else a restart could read such a click without its impression, as an orphan.
        """
        emitted, impressions = self._emitted, self.impressions
        while emitted and emitted[0].ts < ts:
            stored = emitted.popleft()
            if stored.kinds:
                stored.raw = b""
                self._lingering.append(stored)
            else:
                del impressions[stored.id]

    def _orphan(self, click: StoredClick) -> None:
        if not click.waits:
            return
        click.waits = False
        others = [other for other in self.waiting.pop(click.id) if other is not click]
        if others:
            self.waiting[click.id] = others
        if not self._is_old(click):
            self._dead_letter(CLICKS, click.offset, click.raw, "orphan_click", click.id)
        click.raw = b""

    def _age(self, click: StoredClick) -> None:
        if click.until + self._click_life >= self.watermark:
            heappush(self._aging, (click.until, click.offset, click))
            return
        del self.clicks[click.offset]
        if self.seen.get((click.id, click.kind)) is click:
            del self.seen[click.id, click.kind]

    # ---- idle topics and full memory

    def idle(self, kind: TopicKind) -> None:
        """Let an idle topic's time follow the other's, unless clicks should have come."""
        topic = self.topics[kind]
        other = self.topics[CLICKS if kind == IMPRESSIONS else IMPRESSIONS]
        if not self.caught_up or kind in self.bound.paused:
            return
        if other.time == BEGIN and (first := topic.first_time()) is not None:
            self._lift(kind, topic.lift(first))
        if other.time <= topic.time:
            return
        watermark = self._first_watermark(other.time)
        if kind == CLICKS and self.guard.is_stall(watermark):
            if not self.guard.stalled:
                self.guard.stalled = True
                expected = self.guard.expected(watermark)
                self.out.append(Stalled(self.partition, self.guard.last_click, expected))
        elif topic.may_lift(other.time):
            self._lift(kind, topic.lift(other.time))

    def _first_watermark(self, time: int) -> int:
        """The watermark behind which the first label of an impression leaves."""
        return time - self._bound if self.early is None else self.early.watermark(time)

    def _lift(self, kind: TopicKind, decided: Iterator[tuple[Item, bool]]) -> None:
        for item, used in decided:
            self._decided(kind, item, used)
        self._advance()

    # ---- taking out

    def take_out(self) -> list[Instruction]:
        """Give the instructions since the last time; in a replay, only those about reading.

        What comes out in a replay would, without a commit, come out again after a crash.
        """
        out, self.out = self.out, []
        if not self.caught_up:
            self.out = [it for it in out if not isinstance(it, Pause | Unpause | Overfull)]
            out = [it for it in out if isinstance(it, Pause | Unpause | Overfull)]
        return out

    # ---- figures

    @property
    def caught_up(self) -> bool:
        """Whether nothing is left to be read a second time after a restart."""
        return self._imp.caught_up and self._clk.caught_up

    def impressions_pending(self) -> int:
        """Count the impressions in memory that have not come out yet."""
        stored = sum(1 for _, _, i in self.pending if i.ts + self._join >= self.emitted_to)
        return stored + self._imp.undecided(Impression)

    def clicks_waiting(self) -> int:
        """Count the clicks in memory that still wait for their impression."""
        waits = sum(1 for click in self.clicks.values() if click.waits and not self._is_old(click))
        return waits + self._clk.undecided(Click)

    def _is_old(self, click: StoredClick) -> bool:
        """Whether the fate of a click that waits was settled before a restart."""
        return click.offset < self._clk.done_to and click.ts + self._join < self.orphaned_to
