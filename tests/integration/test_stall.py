"""Clicks stop for ten minutes: no label leaves, the model stays, and afterwards none is missing."""

import json

from small_spec import spec_of
from stream_runs import learn_all, stream_log

from streaming.join_process import JoinProcess
from streaming.log import NewRecord, TopicPartition
from streaming.settings import load_stream_settings

START = 1_736_121_600_000
SETTINGS = load_stream_settings(
    None, ["join.join_window_s=60", "join.click_delay_s=10", "stream.examples_per_record=1"]
)


def event(name, at_ms, **more):
    said = {"v": 1, "type": name, "timestamp": START + at_ms, **more}
    return NewRecord(b"k", json.dumps(said).encode())


def impression(n):
    fields = {"ad": f"a{n % 7}", "site": f"s{n % 11}"}
    return event("impression", n * 100, impression_id=f"i{n}", fields=fields)


def click(n):
    return event("click", n * 100 + 2_000, impression_id=f"i{n}")


def append(log, topic, records):
    with log.producer("publisher").transaction() as tx:
        tx.append(topic, records)


SPEC = spec_of("ad", "site", name="shop", pairs=True, bits=10)


def mean_prediction(log, folder):
    """Of the model that has learned all that is there."""
    learner = learn_all(log, SPEC, SETTINGS, folder).replay.learner
    shown = [{"ad": f"a{n % 7}", "site": f"s{n % 11}"} for n in range(77)]
    return sum(learner.predict_proba_one(x)[True] for x in shown) / len(shown)


def examples(log, topic="examples"):
    records = log.read(TopicPartition(topic, 0), 0, 100_000)
    return [json.loads(record.value) for record in records]


def test_no_label_leaves_while_clicks_have_stopped(tmp_path):
    said = []
    with stream_log(tmp_path / "log.db", SETTINGS) as log:
        append(log, "impressions", map(impression, range(20_000)))  # 2,000 seconds
        append(log, "clicks", [click(n) for n in range(0, 20_000, 20)])
        process = JoinProcess(log, SETTINGS, "join-0", said.append)
        process.run(until_idle_s=0.5)
        before = len(examples(log))
        assert before > 15_000 and not said
        served = mean_prediction(log, tmp_path / "model")
        assert 0.02 < served < 0.1
        append(log, "impressions", map(impression, range(20_000, 26_000)))  # ten minutes
        process.run(until_idle_s=0.5)
        assert any("STALLED" in line for line in said)
        stopped = examples(log)
        # what left was labelled before the silence could be told from chance
        assert len(stopped) - before < 1_000
        assert abs(mean_prediction(log, tmp_path / "model") / served - 1) < 0.01
        append(log, "clicks", [click(n) for n in range(20_000, 26_000, 20)])
        for topic in ("impressions", "clicks"):
            append(log, topic, [event("heartbeat", 10_000_000)] * 2)
        process.run(until_idle_s=0.5)
        assert any("RESUMED" in line for line in said)
        found = {e["impression"]["impression_id"]: e["label"] for e in examples(log)}
        assert found == {f"i{n}": int(n % 20 == 0) for n in range(26_000)}
        process.close()
