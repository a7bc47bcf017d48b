"""Views and clicks as the joiner tells the counters: once each, whatever crashes or interleaves."""

import json
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from joiner_runs import NAMES, START, event, random_log, read_interleaved
from joiner_runs import resumed as resumed_from

from streaming.joiner import CLICKS, IMPRESSIONS, Clicked, Joiner, JoinerSettings, Record, Viewed

SETTINGS = JoinerSettings(
    join_window_s=20, late_window_s=30, out_of_order_s=5, max_ahead_s=8, far_future_s=600
)


def shown(id, ts):
    return event("impression", ts, impression_id=id)


def clicked(id, ts, kind="click"):
    return event("click", ts, impression_id=id, kind=kind)


def log_of(rng, size, gap_ms):
    """With garbage and far futures."""

    def odd(topic, ts, value):
        far = event(NAMES[topic], ts + rng.choice([10**5, 10**7]), impression_id=f"far-{ts}")
        return rng.choice([b"{", value[:-1], far])

    return random_log(rng, size, gap_ms, odd)


def run(log, rng, *, crashes, idle=0, counting=True):
    """Views, clicks and the rest, in a random interleaving with crashes after random commits."""
    return parted(
        read_interleaved(log, SETTINGS, rng, crashes=crashes, idle=idle, counting=counting)[0]
    )


def parted(out):
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
def test_any_crashes_and_interleavings_say_the_same_views_and_clicks(seed, size, gap_ms):
    log = log_of(Random(seed), size, gap_ms)
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
def test_clicks_said_are_those_of_the_examples(seed, gap_ms):
    """An impression has a Clicked exactly if one of its examples has a click, at its time."""
    log = log_of(Random(seed), 40, gap_ms)
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


def feed(joiner, topic, offset, *values):
    out = []
    for i, value in enumerate(values, offset):
        out += joiner.step(Record(topic, 0, i, value))
    return out


def begun():
    """A joiner of which both topics have their first time."""
    joiner = Joiner(SETTINGS, counting=True)
    for topic in (IMPRESSIONS, CLICKS):
        feed(joiner, topic, 0, *[event("heartbeat", START)] * 2)
    return joiner


def resumed(joiner):
    commits = joiner.commits()
    metadata = {(c.topic, c.partition): c.metadata for c in commits}
    return resumed_from(SETTINGS, metadata, counting=True), {c.topic: c.offset for c in commits}


def test_a_view_is_said_at_once_and_a_click_when_it_joins():
    joiner = begun()
    [viewed] = feed(joiner, IMPRESSIONS, 2, shown("a", START + 1000))
    assert isinstance(viewed, Viewed) and viewed.impression_offset == 2
    [said] = feed(joiner, CLICKS, 2, clicked("a", START + 2000))
    assert isinstance(said, Clicked)
    assert (said.impression_offset, said.click_offset, said.timestamp_ms) == (2, 2, START + 2000)


def test_of_a_click_that_came_first_the_view_is_said_first():
    joiner = begun()
    assert feed(joiner, CLICKS, 2, clicked("a", START + 2000)) == []
    assert [type(it) for it in feed(joiner, IMPRESSIONS, 2, shown("a", START + 1000))] == [
        Viewed,
        Clicked,
    ]


def test_copies_and_dismissals_are_not_said():
    joiner = begun()
    feed(joiner, IMPRESSIONS, 2, shown("a", START))
    feed(joiner, CLICKS, 2, clicked("a", START))
    again = feed(joiner, IMPRESSIONS, 3, shown("a", START))
    again += feed(joiner, CLICKS, 3, clicked("a", START), clicked("a", START, "dismiss"))
    assert parted(again)[:2] == ([], [])


def test_new_views_wait_for_the_replay_of_the_other_topic():
    joiner = begun()
    feed(joiner, CLICKS, 2, clicked("a", START + 2000))
    again, position = resumed(joiner)
    assert position[CLICKS] == 2
    assert feed(again, IMPRESSIONS, 2, shown("a", START + 1000)) == []
    assert again.commits() == []
    out = feed(again, CLICKS, 2, clicked("a", START + 2000))
    assert [type(it) for it in out] == [Viewed, Clicked]
