"""Law: up to five events with wrong clocks, wherever they stand, cost no other event anything."""

from random import Random
from typing import NamedTuple

import pytest
from joiner_runs import NAMES, START, TOPICS, event, read_in_order

from streaming.joiner import CLICKS, IMPRESSIONS, EmitExample, TopicKind

MINUTE = 60_000
SKEWS = [2, 5, 15, 60, 120, 24 * 60, 10 * 24 * 60]  # minutes, ahead or behind


class Sent(NamedTuple):
    """An event, when it was sent, and what its clock said then."""

    at: int
    partition: int
    topic: TopicKind
    id: str
    ts: int


def good_traffic(rng, partitions):
    """Impressions at a steady rate, some with clicks, some with a silence in their middle."""
    rate, clicked = rng.choice([0.1, 0.5, 2, 10]), rng.choice([0.05, 0.3])
    silence = rng.choice([0, 0, 10, 70, 600]) * MINUTE
    sent, now = list[Sent](), START
    for n in range(300):
        now += round(1000 * rng.expovariate(rate)) + silence * (n == 150)
        partition, id = rng.randrange(partitions), f"good-{n}"
        sent.append(Sent(now, partition, IMPRESSIONS, id, now))
        if rng.random() < clicked:
            at = now + rng.randrange(1_000, MINUTE)
            sent.append(Sent(at, partition, CLICKS, id, at))
    return sent


def with_wrong_clocks(rng, good, partitions):
    """One to five events of wrong clocks in one topic of one partition, among the good ones."""
    topic, partition = rng.choice(TOPICS), rng.randrange(partitions)
    theirs = [sent.at for sent in good if sent.topic == IMPRESSIONS]
    where, skew = rng.choice(["first", "first minute", "after silence", "anywhere"]), 0
    same, wrong = rng.random() < 0.5, list[Sent]()
    for n in range(rng.randint(1, 5)):
        at = {
            "first": theirs[0] - 1_000 + n,
            "first minute": theirs[0] + rng.randrange(MINUTE),
            "after silence": theirs[150] - 1_000 + n,
            "anywhere": rng.choice(theirs),
        }[where]
        if not (same and skew):
            skew = rng.choice([-1, 1]) * rng.choice(SKEWS) * MINUTE
        wrong.append(Sent(at, partition, topic, f"wrong-{n}", at + skew + n))
    return sorted(good + wrong)


def records(sent, partitions):
    """What is read, in order: the events, then heartbeats that end the stream."""
    beat = event("heartbeat", max(it.at for it in sent) + 45 * MINUTE)
    out = [
        (it.topic, it.partition, event(NAMES[it.topic], it.ts, impression_id=it.id)) for it in sent
    ]
    return out + [(topic, p, beat) for p in range(partitions) for topic in TOPICS * 2]


def idle_at_random(rng, share):
    return lambda _: [topic for topic in TOPICS if rng.random() < share]


@pytest.mark.parametrize("block", range(10))
def test_up_to_five_wrong_clocks_cost_others_nothing(block):
    for seed in range(20 * block, 20 * block + 20):
        rng = Random(seed)
        partitions = rng.choice([1, 1, 2])
        good = good_traffic(rng, partitions)
        clicked = {e.id for e in good if e.topic == CLICKS}
        right = sorted((e.id, int(e.id in clicked)) for e in good if e.topic == IMPRESSIONS)
        read = records(with_wrong_clocks(rng, good, partitions), partitions)
        for crashes in (0.0, 0.02):
            idle = idle_at_random(rng, rng.choice([0.02, 0.3, 1.0]))
            out = read_in_order(read, rng, idle=idle, crashes=crashes)
            examples = (it for it in out if isinstance(it, EmitExample) and not it.early)
            labels = sorted(
                (e.impression_id, e.label) for e in examples if e.impression_id[0] == "g"
            )
            assert labels == right, f"seed {seed}, crashes {crashes}"
