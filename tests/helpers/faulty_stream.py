"""5 % of messages twice, 5 % out of order, 1 % broken, and what a joiner must have made of them."""

import json
from collections import Counter

from topic_records import values_of
from waiting import until

from features.events import decode_event
from streaming.log import NewRecord, TopicPartition
from streaming.settings import load_stream_settings

START, SIZE, BOUND = 1_736_121_600_000, 3_000, 5_000
SETTINGS = load_stream_settings(
    None,
    [
        "stream.partitions=2",
        "join.join_window_s=20",
        "join.late_window_s=30",
        "join.out_of_order_s=5",
    ],
)

BROKEN = {
    "broken_json": lambda value: value[:-1],
    "not_an_object": lambda value: b"[" + value + b"]",
    "missing_field": lambda value: value.replace(b'"timestamp"', b'"time"'),
    "unsupported_version": lambda value: value.replace(b'"v": 1', b'"v": 9'),
    "timestamp_range": lambda value: value.replace(b'"timestamp": 1', b'"timestamp": 9'),
}


def event(name, at, **more):
    return json.dumps({"v": 1, "type": name, "timestamp": at, **more}).encode()


def faulty(rng):
    """Messages by topic, in order of arrival, and of those sent broken the reasons by value."""
    sent, broken = {"impressions": [], "clicks": []}, {}

    def send(topic, at, id, value):
        arrival = at + (rng.randrange(BOUND) if rng.random() < 0.05 else 0)
        if rng.random() < 0.01:
            reason = rng.choice(list(BROKEN))
            value = BROKEN[reason](value)
            broken[value] = reason
        sent[topic] += [(arrival, NewRecord(id, value))] * (1 + (rng.random() < 0.05))

    for n in range(SIZE):
        at, id = START + n * 100, f"imp-{n}"
        send("impressions", at, id.encode(), event("impression", at, impression_id=id))
        then = at + rng.randrange(55_000)  # on time, late, or too late
        if rng.random() < 0.3 and then < START + SIZE * 100:
            send("clicks", then, id.encode(), event("click", then, impression_id=id))
    in_order = {topic: sorted(rows, key=lambda row: row[0]) for topic, rows in sent.items()}
    return {topic: [record for _, record in rows] for topic, rows in in_order.items()}, broken


def append(log, records):
    with log.producer("publisher") as producer, producer.transaction() as tx:
        for topic, batch in records.items():
            tx.append(topic, batch)


def dead_letters(log, count):
    """All of them; readers of Kafka see the last commit a little late."""
    until(lambda: len(values_of(log, "dead_letters")) >= count)
    return [decode_event(value) for value in values_of(log, "dead_letters")]


def rejected(counts, topic):
    start = f"{topic}_rejected_"
    return Counter({k.removeprefix(start): n for k, n in counts.items() if k.startswith(start)})


def end_stream(log):
    """Close every window."""
    end = event("heartbeat", START + 10**9)
    beats = [NewRecord(None, end, p) for p in (0, 0, 1, 1)]
    append(log, {"impressions": beats, "clicks": beats})


def assert_accounted_for(log, counts, sent, broken):
    """Every message came to one end, and each that was refused is kept as it stood."""
    by_reason = {topic: rejected(counts, topic) for topic in sent}
    assert len(sent["impressions"]) == counts["examples"] + by_reason["impressions"].total()
    joined = counts["clicks_on_time"] + counts["clicks_late"]
    assert len(sent["clicks"]) == joined + by_reason["clicks"].total()

    letters = dead_letters(log, sum(n.total() for n in by_reason.values()))
    assert Counter((d.topic, d.reason) for d in letters) == {
        (topic, reason): n for topic, of in by_reason.items() for reason, n in of.items()
    }
    copies = Counter(record.value for batch in sent.values() for record in batch)
    kept = Counter((d.raw, d.reason) for d in letters if d.raw in broken)
    assert kept == {(value, reason): copies[value] for value, reason in broken.items()}
    for letter in letters:
        at = TopicPartition(letter.topic, letter.partition)
        assert log.read(at, letter.offset, 1)[0].value == letter.raw
