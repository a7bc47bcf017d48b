"""Laws 1, 5 and 6: the joiner loses nothing, repeats nothing and knows no clock."""

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from joiner_runs import BOUND, JOIN, LATE, NAMES, event, random_log, read_interleaved

from features.events import decode_event
from streaming.joiner import (
    CLICKS,
    IMPRESSIONS,
    DeadLetter,
    EmitExample,
    Joiner,
    JoinerSettings,
    Record,
)

LABEL = 7_000
SETTINGS = JoinerSettings(
    join_window_s=20, late_window_s=30, out_of_order_s=5, max_ahead_s=8, far_future_s=600,
    label_after_s=7, label_out_of_order_s=5,
)  # fmt: skip


def log_of(rng, size, gap_ms):
    """With garbage, and with events of the far future, whose ids no other event has."""

    def odd(topic, ts, value):
        far = event(NAMES[topic], ts + rng.choice([10**7, 10**10]), impression_id="far")
        return rng.choice([b"{", b"[]", value[:-1], event("impression", 5), far, far])

    return random_log(rng, size, gap_ms, odd, probability=0.5)


Examples = set[tuple[str, int, int | None, int | None, bool]]


def brute_force(log):
    """Join the two logs whole: first copies, then each impression against all its clicks.

    Gives the examples of the join window, and those that are labelled early.
    """

    def first_copies(topic, name):
        found = {}
        for _, value in log[topic]:
            try:
                sent = json.loads(value)
            except ValueError:
                continue
            if isinstance(sent, dict) and sent["type"] == name and "impression_id" in sent:
                key = sent["impression_id"], sent.get("kind", "")
                if key[0] != "far":
                    found.setdefault(key, sent["timestamp"])
        return found

    clicks = first_copies(CLICKS, "click")
    order = list(clicks)
    examples, early = set[Any](), set[Any]()
    for (id, _), ts in first_copies(IMPRESSIONS, "impression").items():
        mine = sorted((k for k in clicks if k[0] == id), key=lambda k: (clicks[k], order.index(k)))
        joined = [k for k in mine if ts - BOUND <= clicks[k] <= ts + JOIN + LATE]
        outcome = {k[1]: clicks[k] for k in joined if clicks[k] <= ts + JOIN}
        for late in [None, *(k for k in joined if clicks[k] > ts + JOIN)]:
            if late:
                outcome[late[1]] = clicks[late]
            click, dismiss = outcome.get("click"), outcome.get("dismiss")
            examples.add((id, int(click is not None), click, dismiss, late is not None))
        clicked = next((clicks[k] for k in joined if k[1] == "click"), None)
        in_time = clicked is not None and clicked <= ts + LABEL
        early.add((id, int(in_time), clicked if in_time else None, None, False))
        if clicked is not None and not in_time:
            early.add((id, 1, clicked, None, True))
    return examples, early


@dataclass
class Outcome:
    examples: list[tuple[str, int, int | None, int | None, bool]] = field(default_factory=list)
    early: list[tuple[str, int, int | None, int | None, bool]] = field(default_factory=list)
    rejected: list[tuple[str, str, int]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def run(log, rng, *, crashes, idle):
    out, joiner = read_interleaved(log, SETTINGS, rng, crashes=crashes, idle=idle, counting=False)
    outcome = Outcome(counts=joiner.counts())
    assert joiner.pending() == 0
    for it in out:
        if isinstance(it, EmitExample):
            e = decode_event(it.value)
            times = e.click_timestamp, e.dismiss_timestamp
            kind = outcome.early if it.early else outcome.examples
            kind.append((e.impression.impression_id, e.label, *times, e.correction))
        elif isinstance(it, DeadLetter):
            outcome.rejected.append((it.reason, it.topic, it.offset))
    return outcome


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 40),
    gap_ms=st.sampled_from([200, 1000, 4000, 30_000]),
)
def test_any_crashes_and_interleavings_give_the_examples_of_a_brute_force_join(seed, size, gap_ms):
    log = log_of(Random(seed), size, gap_ms)
    unbroken = run(log, Random(seed), crashes=0, idle=0)
    broken = run(log, Random(seed + 1), crashes=2 / sum(map(len, log.values())), idle=0.5)
    assert (set(unbroken.examples), set(unbroken.early)) == brute_force(log)
    assert len(set(unbroken.examples)) == len(unbroken.examples)
    assert len(set(unbroken.early)) == len(unbroken.early)
    assert sorted(broken.early, key=repr) == sorted(unbroken.early, key=repr)
    assert sorted(broken.examples, key=repr) == sorted(unbroken.examples, key=repr)
    assert sorted(broken.rejected) == sorted(unbroken.rejected)
    assert broken.counts == unbroken.counts
    for kind in ("examples", "early"):
        firsts = [[e for e in getattr(run, kind) if not e[-1]] for run in (unbroken, broken)]
        assert firsts[0] == firsts[1]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    gap_ms=st.sampled_from([200, 4000, 30_000]),
    most=st.integers(1, 60),
)
def test_many_at_a_time_give_what_each_alone_gives(seed, gap_ms, most):
    """Examples of each kind byte for byte and in order, rejections, counts, and commits."""
    rng = Random(seed)
    log = log_of(rng, 40, gap_ms)
    alone, many = Joiner(SETTINGS), Joiner(SETTINGS)
    out, out_many = list[object](), list[object]()
    position = {IMPRESSIONS: 0, CLICKS: 0}
    while left := [topic for topic in log if position[topic] < len(log[topic])]:
        topic = rng.choice(left)
        begin = position[topic]
        sent = [value for _, value in log[topic][begin : begin + rng.randint(1, most)]]
        position[topic] += len(sent)
        for offset, value in enumerate(sent, begin):
            out += alone.step(Record(topic, 0, offset, value))
        out_many += many.step_many(topic, 0, range(begin, position[topic]), sent)
        many.validate()
        assert committed_of(many) == committed_of(alone)
    assert examples_of(out_many) == examples_of(out)
    assert rejected_of(out_many) == rejected_of(out)
    assert many.counts() == alone.counts()


def committed_of(joiner):
    return [(c.topic, c.offset, json.loads(c.metadata)) for c in joiner.commits()]


def examples_of(out):
    return sorted((it for it in out if isinstance(it, EmitExample)), key=lambda it: it.early)


def rejected_of(out):
    rejected = [it for it in out if isinstance(it, DeadLetter)]
    return sorted(rejected, key=lambda it: (it.topic, it.offset))
