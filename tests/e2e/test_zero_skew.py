"""Impressions ranked and logged through the API, joined and learned: as served, to the bit."""

import asyncio
import contextlib
import subprocess
import sys
from itertools import count, pairwise

import msgspec
import numpy as np
import pytest
from served_app import HeldWeights, client_of, serving_state
from stream_runs import join_all, learn_all, stream_log
from valkey_server import start_valkey

from features.events import Heartbeat, decode_event, encode_event
from features.spec_file import load_spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from serving.app import build_app
from serving.event_writer import EventWriter
from serving.request_features import FeatureSource, Fetched
from streaming.joiner import JoinerSettings
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.settings import CLICKS, IMPRESSIONS, StreamSettings

SPEC = load_spec("market")
STREAM = StreamSettings(join=JoinerSettings(join_window_s=20, out_of_order_s=5, late_window_s=30))
NOW = 1_736_121_600_000


class Store:
    """Counter values that no table would give: awkward numbers, some missing, some all missing."""

    def __init__(self, width):
        self.rng, self.width = np.random.default_rng(3), width

    def fetch_all(self, requests):
        return [self.fetched(len(events)) for events, _ in requests]

    def fetched(self, count):
        values = self.rng.lognormal(0, 4, (count, self.width))
        values[self.rng.random(values.shape) < 0.1] = np.nan
        values[self.rng.random(count) < 0.1] = np.nan
        values[self.rng.random(values.shape) < 0.1] = 0.0
        return Fetched(values, 1.0, [()] * count)


def candidate(rng):
    fields = {
        "ad": f"ad{rng.integers(40)}", "campaign": f"c{rng.integers(5)}", "advertiser": "ü\"x",
        "ad_category": int(rng.integers(3)), "placement": None,
    }  # fmt: skip
    if rng.random() < 0.2:
        fields["placement"] = float(rng.random())
    return {"fields": fields, "bid": float(rng.lognormal(0, 0.3))}


def context(rng):
    return {
        "user": f"u{rng.integers(20)}", "site": f"s{rng.integers(4)}", "device": rng.random() < 0.5,
        "interests": ["i0", 7, None, True, 1.5][: rng.integers(6)], "segment": "a,b\n",
    }  # fmt: skip


@contextlib.contextmanager
def awkward(url, folder):
    yield Store(len(Vectoriser(SPEC).counters.value_names))


@contextlib.contextmanager
def counted(url, folder):
    """The real store, in which `clicktide count` counts what is written meanwhile."""
    server = start_valkey(folder)
    stream_log(url, STREAM).close()
    (folder / "clicktide.toml").write_text(
        "[join]\njoin_window_s = 20\nout_of_order_s = 5\nlate_window_s = 30\n"
    )
    counting = subprocess.Popen(
        [sys.executable, "-m", "clicktide", "count", "--log", url, "--redis", server.url,
         "--spec", "market", "--settings", folder / "clicktide.toml"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    source = FeatureSource(SPEC, server.url, budget_ms=5000)
    try:
        yield source
    finally:
        source.close()
        counting.terminate()
        counting.wait(30)
        server.stop()


@pytest.mark.parametrize("features", [awkward, counted])
def test_what_was_served_is_what_is_learned(features, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with features(url, tmp_path) as store:
        check(url, store, tmp_path, monkeypatch)


def check(url, store, tmp_path, monkeypatch):
    ticks = count(NOW, 300)

    def clock():
        return next(ticks)

    writer = EventWriter(lambda: open_log(url), STREAM, "api", now_ms=clock)
    learner = ClickLearner(SPEC)
    weights = HeldWeights(learner, "fixed-1")
    served = {}
    hashed = []
    settings = {"request_timeout_s": 100}  # kernels may have to be compiled
    state = serving_state(
        SPEC, weights, store, clock, settings, say=print, writer=writer,
        rng=lambda _: np.random.default_rng(clock()),
    )  # fmt: skip
    monkeypatch.setattr(state.scorer, "hasher", Spy(state.scorer.hasher, hashed))
    state.closing.append(writer.close)
    asyncio.run(traffic(state, served, hashed, isinstance(store, FeatureSource)))
    state.close()
    learned = learn(url, tmp_path, monkeypatch)
    assert len(served) == 340 and learned.keys() == served.keys()
    for name, tokens in served.items():
        assert learned[name] == tokens, name


class Spy:
    def __init__(self, hasher, out):
        self.hasher, self.out = hasher, out

    def hash(self, *arguments):
        self.out.append(self.hasher.hash(*arguments))
        return self.out[-1]


async def traffic(state, served, hashed, counting):
    own = 0  # shown by their own counters, nothing stood in for them
    rng = np.random.default_rng(1)
    async with client_of(build_app(state)) as client:
        for n in range(240):
            slots = 2 if n < 100 else 1
            count = int(rng.integers(slots, 30))
            body = {
                "context": context(rng), "candidates": [candidate(rng) for _ in range(count)],
                "explore": ["none", "epsilon", "thompson"][n % 3], "slots": slots, "log": True,
            }  # fmt: skip
            reply = await client.post("/v1/rank", content=msgspec.json.encode(body))
            assert reply.status_code == 200, reply.text
            shown = reply.json()["candidates"][:slots]
            own += not any(said for one in shown for said in one["fallbacks"])
            assert reply.json()["logged"], reply.text
            for one in shown:
                served[one["impression_id"]] = tokens_of(hashed[-1], one["index"])
            if n % 3 == 0:
                click = {"impression_id": shown[0]["impression_id"]}
                reply = await client.post("/v1/clicks", json=click)
                assert reply.json()["written"] == 1, reply.text
            if counting and n % 40 == 39:
                await until_counted(client, len(served))
        assert own > 20
        # traffic of another publisher, which carries no counters, stands between
        assert (await client.post("/v1/impressions", json={"fields": {"ad": "x"}})).is_success


async def until_counted(client, written):
    """Wait until almost all that was written is counted: the joiner holds the last one."""
    views = 0.0
    while views < written - 5:
        reply = await client.post("/v1/predict", json={"fields": {}})
        views = reply.json()["predictions"][0]["counters"]["overall_views_24h"]
        await asyncio.sleep(0.5)  # each question takes the clock on, and what is counted fades


def tokens_of(hashed, row):
    part = hashed.part(row, row + 1)
    starts = part.starts.tolist() or list(range(part.fields + 1))
    return [part.tokens[a:b].tolist() for a, b in pairwise(starts)]


def learn(url, folder, monkeypatch):
    """Token hashes that the trainer learns, by impression, of those that carry counters."""
    rows = []
    learn_hashed = ClickLearner.learn_hashed

    def spied(self, hashed, labels, importance=None):
        rows.extend(tokens_of(hashed, row) for row in range(hashed.rows))
        return learn_hashed(self, hashed, labels, importance)

    monkeypatch.setattr(ClickLearner, "learn_hashed", spied)
    with open_log(url) as log:
        with log.producer("end").transaction() as tx:
            for topic in (IMPRESSIONS, CLICKS):
                for i in range(2):
                    beat = Heartbeat(v=1, timestamp=NOW + 3_000_000 + i)
                    tx.append(topic, [NewRecord(None, encode_event(beat), 0)])
        join_all(log, STREAM)
        learn_all(log, SPEC, STREAM, folder / "model")
        records = log.read(TopicPartition(STREAM.learned_topic, 0), 0, 10_000)
    examples = [decode_event(raw) for record in records for raw in record.value.split(b"\n")]
    assert len(examples) == len(rows)
    return {
        example.impression.impression_id: tokens
        for example, tokens in zip(examples, rows, strict=True)
        if example.impression.counters is not None
    }
