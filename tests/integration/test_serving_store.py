"""Features from real stores: the counting's values, and answers while the store is away."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from counter_panes import stored_values
from small_spec import spec_of
from valkey_server import start_valkey
from waiting import until

from clicktide import valkey
from features.counters.redis_format import Updates
from features.counters.redis_store import open_counters
from features.counters.stored import StoredCounters
from features.spec import CounterSpec
from serving.request_features import FeatureSource
from serving.store_reader import open_link

NOW = 1_736_121_600_000
SPEC = spec_of(
    "ad",
    "user",
    name="market",
    time="time",
    counters=(
        CounterSpec(keys=("ad", "campaign", "user", ("user", "ad")), half_lives_h=(24.0, 1.0)),
    ),
)
EVENTS = [{"ad": f"a{i % 40}", "campaign": i % 7, "user": f"u{i % 90}"} for i in range(400)]


@pytest.fixture
def server(tmp_path):
    running = start_valkey(tmp_path)
    yield running
    running.stop()


def fill(url):
    counters = StoredCounters(SPEC)
    store = open_counters(url, counters.plan, counters.name)
    rows = [
        (key, number, NOW - 60_000 * i, i, i if clicked else -1)
        for i, row in enumerate(counters.keys(EVENTS[:300]).tolist())
        for key, number in zip(row, counters.numbers.tolist(), strict=True)
        for clicked in ((False, True) if i % 5 == 0 else (False,))
    ]
    store.apply(0, (len(EVENTS), len(EVENTS)), Updates.of(rows))
    return counters, store


def again(source):
    """Ask until the store answers."""

    def answered():
        found = source.fetch(EVENTS[:1], NOW)
        return None if found.fallbacks[0] else found

    return until(answered, lambda: source.problem)


@pytest.mark.parametrize("kind", ["valkey", "redis", "tcp"])
def test_the_values_are_those_that_the_counting_reads(kind, tmp_path, monkeypatch, request):
    if kind == "redis":
        binary = request.getfixturevalue("redis_server")
        monkeypatch.setattr(valkey, "_binary", lambda: binary)
    port = valkey.free_port() if kind == "tcp" else None
    server = start_valkey(tmp_path, port=port)
    try:
        counters, store = fill(server.url)
        source = FeatureSource(SPEC, server.url, budget_ms=5000)
        assert source.problem is None
        for some in (EVENTS, EVENTS[:1], EVENTS[30:50]):
            keys = counters.keys(some)
            wanted = stored_values(counters, store.states(keys.ravel()), keys, NOW)
            found = source.fetch(some, NOW)
            known = np.array([not told for told in found.fallbacks])
            assert known.any()
            assert np.array_equal(found.values[known], wanted[known])
        source.close()
    finally:
        server.stop()


def test_a_store_killed_and_back_fails_no_request_and_is_used_again(server, tmp_path):
    fill(server.url)
    source = FeatureSource(SPEC, server.url, budget_ms=1000)
    before = source.fetch(EVENTS[:1], NOW).values
    server.kill()
    for _ in range(50):
        found = source.fetch(EVENTS[:1], NOW)
        assert found.fallbacks[0] == ("store:down",)
        assert np.array_equal(found.values, before)  # as read last
        assert found.age_ms >= 0
    assert "cannot be reached" in source.problem
    back = start_valkey(tmp_path)
    try:
        found = again(source)
        assert np.array_equal(found.values, before)
        assert found.age_ms == 0
        assert source.problem is None
    finally:
        source.close()
        back.stop()


def test_a_store_that_hangs_costs_one_budget_and_then_nothing(server):
    counters, _ = fill(server.url)
    connect, asked = open_link(server.url, counters.name, counters.plan, 300), []

    def watched():
        link = connect()
        return SimpleNamespace(
            read=lambda keys: asked.append(threading.get_ident()) or link.read(keys),
            close=link.close,
        )

    source = FeatureSource(SPEC, server.url, connect=watched)
    before = again(source).values
    os.kill(server.process_id, signal.SIGSTOP)
    try:
        asked.clear()
        for _ in range(50):
            found = source.fetch(EVENTS[:1], NOW)
            assert found.fallbacks[0] in (("store:late",), ("store:down",))
        assert asked.count(threading.get_ident()) == 1  # then only the probe waits, beside us
        assert "did not answer in time" in source.problem
    finally:
        os.kill(server.process_id, signal.SIGCONT)
    assert np.array_equal(again(source).values, before)
    source.close()


def test_a_store_that_comes_up_later_is_found(tmp_path):
    url = f"unix://{tmp_path}/valkey/socket"
    source = FeatureSource(SPEC, url, budget_ms=1000)
    assert source.fetch(EVENTS[:1], NOW).fallbacks[0][0] == "store:down"
    server = start_valkey(tmp_path)
    try:
        assert server.url == url
        fill(url)
        again(source)
    finally:
        source.close()
        server.stop()


def test_a_password_is_in_no_message(tmp_path):
    source = FeatureSource(SPEC, "redis://me:secret@127.0.0.1:1/0", budget_ms=50)
    source.fetch(EVENTS[:1], NOW)
    assert "secret" not in source.problem
    source.close()


def test_a_store_whose_handshake_is_slow_is_used_again_all_the_same(server):
    """The probes of a busy machine: only the answer to a read must keep the budget."""
    fill(server.url)
    source = FeatureSource(SPEC, server.url, budget_ms=100)
    again(source)
    os.kill(server.process_id, signal.SIGSTOP)
    try:
        assert source.fetch(EVENTS[:1], NOW).fallbacks[0][0] == "store:late"
        time.sleep(0.4)  # a handshake began meanwhile, and waits for more than the budget
    finally:
        os.kill(server.process_id, signal.SIGCONT)
    assert again(source).age_ms == 0
    source.close()
