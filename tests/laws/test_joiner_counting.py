"""Views and clicks as the joiner tells the counters: once each, whatever crashes or interleaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from resumed_joiner import resumed as resumed_from

from streaming.joiner import (
    CLICKS,
    IMPRESSIONS,
    Clicked,
    Idle,
    Joiner,
    JoinerSettings,
    Record,
    TopicKind,
    Viewed,
)

JOIN, LATE, BOUND = 20_000, 30_000, 5_000
SETTINGS = JoinerSettings(
    join_window_s=20, late_window_s=30, out_of_order_s=5, max_ahead_s=8, far_future_s=600
)
START = 1_736_121_600_000
Log = dict[TopicKind, list[tuple[int, bytes]]]  # (arrival, value) by offset


def event(name: str, ts: int, **more: object) -> bytes:
    return json.dumps({"v": 1, "type": name, "timestamp": ts, **more}).encode()


def shown(id: str, ts: int) -> bytes:
    return event("impression", ts, impression_id=id)


def clicked(id: str, ts: int, kind: str = "click") -> bytes:
    return event("click", ts, impression_id=id, kind=kind)


def random_log(rng: Random, size: int, gap_ms: int) -> Log:
    """Impressions and clicks with copies, reordering, orphans, garbage, far futures and gaps."""
    log: Log = {IMPRESSIONS: [], CLICKS: []}

    def send(topic: TopicKind, ts: int, value: bytes, far: Callable[[str, int], bytes]) -> None:
        for _ in range(1 + (rng.random() < 0.1)):
            log[topic].append((ts + rng.randrange(BOUND + 1), value))
        if rng.random() < 0.05:
            wrong = far(f"far-{ts}", ts + rng.choice([10**5, 10**7]))
            log[topic].append((ts, rng.choice([b"{", value[:-1], wrong])))

    ts = START
    for n in range(size):
        ts += rng.randrange(2 * gap_ms)
        send(IMPRESSIONS, ts, shown(f"i{n}", ts), shown)
        while rng.random() < 0.5:
            at = ts + rng.choice([0, -BOUND, JOIN, rng.randrange(JOIN + LATE), JOIN + LATE + 1])
            id = f"i{n}" if rng.random() < 0.9 else f"none{n}"
            send(CLICKS, at, clicked(id, at, rng.choice(["click", "click", "dismiss"])), clicked)
    for topic in log:
        log[topic].sort(key=lambda sent: sent[0])
        end = max([ts, *(at for at, _ in log[topic])]) + 500_000
        log[topic] += [(end, event("heartbeat", end))] * 2
    return log


def run(
    log: Log, rng: Random, *, crashes: float, idle: float = 0, counting: bool = True
) -> tuple[list[str], list[str], list[str]]:
    """Views, clicks and the rest, in a random interleaving with crashes after random commits."""
    given_out, uncommitted = list[object](), list[object]()
    joiner, position = Joiner(SETTINGS, counting=counting), {IMPRESSIONS: 0, CLICKS: 0}
    joiner.assign(0)
    committed = joiner.commits()
    now = START
    while any(position[topic] < len(log[topic]) for topic in log):
        topic: TopicKind = rng.choice([IMPRESSIONS, CLICKS])
        if position[topic] < len(log[topic]) and log[topic][position[topic]][0] <= now:
            begin, most = position[topic], rng.choice([1, 1, 2, 30])
            sent = [value for at, value in log[topic][begin : begin + most] if at <= now]
            position[topic] += len(sent)
            if most > 1:
                uncommitted += joiner.step_many(topic, 0, range(begin, position[topic]), sent)
            else:
                uncommitted += joiner.step(Record(topic, 0, begin, sent[0]))
        elif rng.random() < idle:
            uncommitted += joiner.step(Idle(topic, 0))
        else:
            rest = [log[t][position[t]][0] for t in log if position[t] < len(log[t])]
            now = max(now, min(rest))
        joiner.validate()
        if rng.random() < 0.2 and (commits := joiner.commits()):
            given_out += uncommitted
            uncommitted, committed = [], commits
        if rng.random() < crashes:
            uncommitted = []
            metadata = {(c.topic, c.partition): c.metadata for c in committed}
            joiner = resumed_from(SETTINGS, metadata, counting=counting)
            position = {c.topic: c.offset for c in committed}
    return parted(given_out + uncommitted)


def parted(out: Iterable[object]) -> tuple[list[str], list[str], list[str]]:
    views, clicks, rest = list[str](), list[str](), list[str]()
    for it in out:
        (views if isinstance(it, Viewed) else clicks if isinstance(it, Clicked) else rest).append(
            repr(it)
        )
    return views, clicks, rest


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 40),
    gap_ms=st.sampled_from([200, 1000, 4000, 30_000]),
)
@example(seed=6, size=40, gap_ms=30_000)
@example(seed=47, size=40, gap_ms=30_000)
@example(seed=195, size=40, gap_ms=30_000)
@example(seed=567, size=40, gap_ms=30_000)
def test_any_crashes_and_interleavings_say_the_same_views_and_clicks(
    seed: int, size: int, gap_ms: int
) -> None:
    log = random_log(Random(seed), size, gap_ms)
    views, clicks, rest = run(log, Random(seed), crashes=0)
    often = 3 / sum(map(len, log.values()))
    for i, idle in enumerate((0.0, 0.5)):
        broken = run(log, Random(seed + 1 + i), crashes=often, idle=idle)
        assert broken[0] == views
        assert sorted(broken[1]) == sorted(clicks)
    assert len(set(views)) == len(views) and len(set(clicks)) == len(clicks)
    assert run(log, Random(seed), crashes=0, counting=False) == ([], [], rest)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), gap_ms=st.sampled_from([200, 4000, 30_000]))
def test_clicks_said_are_those_of_the_examples(seed: int, gap_ms: int) -> None:
    """An impression has a Clicked exactly if one of its examples has a click, at its time."""
    log = random_log(Random(seed), 40, gap_ms)
    joiner, out = Joiner(SETTINGS, counting=True), list[object]()
    for topic, rows in log.items():
        for offset, (_, value) in enumerate(rows):
            out += joiner.step(Record(topic, 0, offset, value))
    said = {(c.impression.impression_id, c.timestamp_ms) for c in out if isinstance(c, Clicked)}
    examples = [json.loads(e.value) for e in out if hasattr(e, "impression_id")]
    assert said == {
        (e["impression"]["impression_id"], e["click_timestamp"])
        for e in examples
        if e["label"] == 1
    }
    viewed = [it.impression.impression_id for it in out if isinstance(it, Viewed)]
    firsts = [e["impression"]["impression_id"] for e in examples if not e.get("correction")]
    assert sorted(viewed) == sorted(firsts)


# -- cases ------------------------------------------------------------------------------------


def feed(joiner: Joiner, topic: TopicKind, offset: int, *values: bytes) -> list[object]:
    out: list[object] = []
    for i, value in enumerate(values, offset):
        out += joiner.step(Record(topic, 0, i, value))
    return out


def begun() -> Joiner:
    """A joiner of which both topics have their first time."""
    joiner = Joiner(SETTINGS, counting=True)
    for topic in (IMPRESSIONS, CLICKS):
        feed(joiner, topic, 0, *[event("heartbeat", START)] * 2)
    return joiner


def resumed(joiner: Joiner) -> tuple[Joiner, dict[TopicKind, int]]:
    commits = joiner.commits()
    metadata = {(c.topic, c.partition): c.metadata for c in commits}
    return resumed_from(SETTINGS, metadata, counting=True), {c.topic: c.offset for c in commits}


def test_a_view_is_said_at_once_and_a_click_when_it_joins() -> None:
    joiner = begun()
    [viewed] = feed(joiner, IMPRESSIONS, 2, shown("a", START + 1000))
    assert isinstance(viewed, Viewed) and viewed.impression_offset == 2
    [said] = feed(joiner, CLICKS, 2, clicked("a", START + 2000))
    assert isinstance(said, Clicked)
    assert (said.impression_offset, said.click_offset, said.timestamp_ms) == (2, 2, START + 2000)


def test_of_a_click_that_came_first_the_view_is_said_first() -> None:
    joiner = begun()
    assert feed(joiner, CLICKS, 2, clicked("a", START + 2000)) == []
    assert [type(it) for it in feed(joiner, IMPRESSIONS, 2, shown("a", START + 1000))] == [
        Viewed,
        Clicked,
    ]


def test_copies_and_dismissals_are_not_said() -> None:
    joiner = begun()
    feed(joiner, IMPRESSIONS, 2, shown("a", START))
    feed(joiner, CLICKS, 2, clicked("a", START))
    again = feed(joiner, IMPRESSIONS, 3, shown("a", START))
    again += feed(joiner, CLICKS, 3, clicked("a", START), clicked("a", START, "dismiss"))
    assert parted(again)[:2] == ([], [])


def test_a_click_after_the_commit_of_its_view_is_said_after_the_restart() -> None:
    joiner = begun()
    feed(joiner, IMPRESSIONS, 2, shown("a", START + 1000))
    again, position = resumed(joiner)
    assert position == {IMPRESSIONS: 2, CLICKS: 2}
    read_to = {kind: max(t.position, t.read_to) for kind, t in again.assign(0).topics.items()}
    assert read_to == {IMPRESSIONS: 3, CLICKS: 2}
    assert feed(again, IMPRESSIONS, 2, shown("a", START + 1000)) == []
    assert [type(it) for it in feed(again, CLICKS, 2, clicked("a", START + 1000))] == [Clicked]


def test_new_views_wait_for_the_replay_of_the_other_topic() -> None:
    joiner = begun()
    feed(joiner, CLICKS, 2, clicked("a", START + 2000))
    again, position = resumed(joiner)
    assert position[CLICKS] == 2
    assert feed(again, IMPRESSIONS, 2, shown("a", START + 1000)) == []
    assert again.commits() == []
    out = feed(again, CLICKS, 2, clicked("a", START + 2000))
    assert [type(it) for it in out] == [Viewed, Clicked]


def test_an_event_held_at_the_commit_is_said_when_it_is_decided() -> None:
    joiner = begun()
    ahead = START + 60_000
    assert feed(joiner, IMPRESSIONS, 2, shown("a", ahead)) == []
    again, position = resumed(joiner)
    assert position[IMPRESSIONS] == 2
    assert feed(again, IMPRESSIONS, 2, shown("a", ahead)) == []
    assert feed(again, IMPRESSIONS, 3, shown("b", ahead)) == []
    out = feed(again, IMPRESSIONS, 4, event("heartbeat", ahead))
    assert [it.impression_offset for it in out if isinstance(it, Viewed)] == [2, 3]
