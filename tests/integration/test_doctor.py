"""`clicktide doctor` finds what was broken on purpose, says what to do, and shows no secret."""

import json
import re
import shutil
import time
from collections import namedtuple

import pytest
import redis
from command import run_clicktide
from valkey_server import start_valkey

from clicktide.stream_opening import open_stream
from streaming.log import NewRecord, TopicSettings, open_log

EVENTS = "sim:stationary?events=200"


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "ads"
    done = run_clicktide("replay", EVENTS, "--to", home / "log.db")
    assert done.returncode == 0, done.stderr
    open_stream(home)
    return home


def findings(folder, *more, code=0):
    done = run_clicktide("doctor", "--dir", folder, "--json", *more)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)["findings"]


def of(found, about, state):
    return [one["text"] for one in found if (one["about"], one["state"]) == (about, state)]


def test_a_stream_that_is_well(folder):
    found = findings(folder)
    assert {one["state"] for one in found} <= {"ok", "warning"}
    assert of(found, "log", "ok")
    assert {"host", "disk", "settings", "log", "store", "registry", "processes"} <= {
        one["about"] for one in found
    }
    table = run_clicktide("doctor", "--dir", folder).stdout
    assert all(one["text"].split(" ")[0] in table for one in found)


def test_no_log(tmp_path):
    found = findings(tmp_path / "nothing", code=1)
    assert "clicktide up" in of(found, "log", "fault")[0]
    assert of(found, "folder", "warning")


def test_topics_that_are_not_as_the_settings_say(tmp_path):
    with open_log(str(tmp_path / "log.db")) as log:
        log.create_topics([TopicSettings("impressions", partitions=3)])
    found = findings(tmp_path, "--log", tmp_path / "log.db", code=1)
    [text] = of(found, "topics", "fault")
    assert "impressions has 3 partitions" in text
    assert any("clicks is missing" in text for text in of(found, "topics", "warning"))


def test_events_that_were_rejected(folder):
    with open_log(str(folder / "log.db")) as log, log.producer("x").transaction() as tx:
        tx.append("impressions", [NewRecord(b"a", b"no JSON", 0)])
    assert run_clicktide("join", "--dir", folder, "--until-idle", "0").returncode == 0
    [text] = of(findings(folder), "rejected", "warning")
    assert text.startswith("impressions broken_json: 1.")


def test_little_room(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1 << 20))
    assert "make room" in of(findings(folder, code=1), "disk", "fault")[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    server = start_valkey(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


def test_a_store_that_is_well_and_its_clock(folder, store):
    found = findings(folder, "--redis", store.url)
    assert "answers in" in of(found, "store", "ok")[0]
    assert of(found, "clock", "ok")


def test_settings_by_which_counters_are_lost(folder, store):
    with redis.Redis.from_url(store.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            texts = of(findings(folder, "--redis", store.url), "store", "warning")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert any("maxmemory-policy is allkeys-lru" in text for text in texts)


def test_a_clock_that_is_wrong(folder, store, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3_600)
    found = findings(folder, "--redis", store.url)
    assert re.match(r"the store's is 3,(60|59)\d s ahead", of(found, "clock", "warning")[0])


def test_a_store_that_is_away_and_no_secret(folder):
    url = "redis://ads:geheim@127.0.0.1:1/0"
    found = findings(folder, "--redis", url, code=1)
    assert "127.0.0.1:1" in of(found, "store", "fault")[0]
    assert "geheim" not in json.dumps(found)


def test_a_registry_that_is_away(folder):
    found = findings(folder, "--mlflow", "http://me:geheim@127.0.0.1:1", code=1)
    assert "versions wait on disk" in of(found, "registry", "fault")[0]
    assert "geheim" not in json.dumps(found)
