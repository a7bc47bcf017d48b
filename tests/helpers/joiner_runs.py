"""Random logs of impressions and clicks, and a joiner that reads one with crashes and restarts."""

import json
from collections import defaultdict

from streaming.joiner import CLICKS, IMPRESSIONS, Idle, Joiner, JoinerSettings, Record

START = 1_736_121_600_000
JOIN, LATE, BOUND = 20_000, 30_000, 5_000  # the windows of the logs below, ms
TOPICS = (IMPRESSIONS, CLICKS)
NAMES = {IMPRESSIONS: "impression", CLICKS: "click"}


def event(name, ts, **more):
    return json.dumps({"v": 1, "type": name, "timestamp": ts, **more}).encode()


def resumed(settings, committed, *, counting=False):
    """Go on from the metadata of the last commit, by topic and partition."""
    joiner = Joiner(settings, counting=counting)
    of_partition = defaultdict(dict)
    for (topic, partition), metadata in committed.items():
        of_partition[partition][topic] = metadata
    for partition, metadata_of in of_partition.items():
        joiner.take_over(partition, metadata_of)
    return joiner


def random_log(rng, size, gap_ms, odd, **shown):
    """Impressions and clicks with copies, reordering within the bound, orphans, and odd records."""
    log = {IMPRESSIONS: [], CLICKS: []}

    def send(topic, ts, **more):
        value = event(NAMES[topic], ts, **more)
        for _ in range(1 + (rng.random() < 0.1)):
            log[topic].append((ts + rng.randrange(BOUND + 1), value))
        if rng.random() < 0.05:
            log[topic].append((ts, odd(topic, ts, value)))

    ts = START
    for n in range(size):
        ts += rng.randrange(2 * gap_ms)
        send(IMPRESSIONS, ts, impression_id=f"i{n}", **shown)
        while rng.random() < 0.5:
            at = ts + rng.choice([0, -BOUND, JOIN, rng.randrange(JOIN + LATE), JOIN + LATE + 1])
            id = f"i{n}" if rng.random() < 0.9 else f"none{n}"
            kind = rng.choice(["click", "click", "dismiss"])
            send(CLICKS, at, impression_id=id, kind=kind)
    for topic in log:
        log[topic].sort(key=lambda sent: sent[0])
        end = max([ts, *(at for at, _ in log[topic])]) + 500_000
        log[topic] += [(end, event("heartbeat", end))] * 2
    return log


def read_interleaved(log, settings, rng, *, crashes, idle, counting):
    """What comes out if both topics are read in a random interleaving as events arrive.

    After some records it commits, after some it crashes, and goes on from the last commit.
    """
    out, uncommitted = list[object](), list[object]()
    joiner, position = Joiner(settings, counting=counting), dict.fromkeys(TOPICS, 0)
    joiner.assign(0)
    committed = joiner.commits()
    now = START
    while any(position[topic] < len(log[topic]) for topic in log):
        topic = rng.choice(TOPICS)
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
            out += uncommitted
            uncommitted, committed = [], commits
            assert all(len(c.metadata) < 4096 for c in commits)
        if rng.random() < crashes:
            uncommitted = []
            metadata = {(c.topic, c.partition): c.metadata for c in committed}
            joiner = resumed(settings, metadata, counting=counting)
            joiner.validate()
            position = {c.topic: c.offset for c in committed}
    return out + uncommitted, joiner


def read_in_order(records, rng, *, idle, crashes):
    """What comes out of records of any partitions, in their order, by the usual settings.

    ``idle``: the topics of which the joiner is told, after which record, that no more has come.
    """
    settings = JoinerSettings()
    joiner = Joiner(settings, counting=True)
    log = {}
    out, uncommitted = list[object](), list[object]()
    commits = joiner.commits()
    for number, (topic, partition, value) in enumerate(records):
        mine = log.setdefault((topic, partition), [])
        mine.append(value)
        uncommitted += joiner.step(Record(topic, partition, len(mine) - 1, value))
        for quiet in idle(number):
            uncommitted += joiner.step(Idle(quiet, partition))
        if rng.random() < 0.2:
            commits = joiner.commits() or commits
            out, uncommitted = out + uncommitted, []
        if rng.random() < crashes and {(c.topic, c.partition) for c in commits} >= set(log):
            metadata = {(c.topic, c.partition): c.metadata for c in commits}
            joiner, uncommitted = resumed(settings, metadata, counting=True), []
            for c in commits:
                again = log.get((c.topic, c.partition), [])
                for offset in range(c.offset, len(again)):
                    record = Record(c.topic, c.partition, offset, again[offset])
                    uncommitted += joiner.step(record)
    joiner.validate()
    return out + uncommitted
