"""docs/stream.md says what every setting means, with its true default."""

import re
from pathlib import Path

import msgspec
import pytest

from clicktide.settings import settings_toml
from features.counters.redis_clients import store_client
from streaming.joiner.settings import JoinerSettings
from streaming.log.opening import KafkaSettings
from streaming.settings import (
    CountSettings,
    StreamSettings,
    TrainSettings,
    load_stream_settings,
)

TEXT = (Path(__file__).parents[2] / "docs" / "stream.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([\d.e-]+) \| \S", TEXT, re.MULTILINE))
DEFAULTS = {
    name: getattr(settings, name)
    for settings in (StreamSettings(), JoinerSettings(), CountSettings(), TrainSettings())
    for name in settings.__struct_fields__
    if isinstance(getattr(settings, name), int | float)
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_is_there_with_its_default(name):
    assert float(ROWS[name]) == DEFAULTS[name]


def test_no_setting_is_there_that_does_not_exist():
    assert set(ROWS) == set(DEFAULTS)


def test_settings_written_are_settings_read(tmp_path):
    changes = [
        "stream.partitions=3",
        "stream.retention_h=1e-3",
        "join.stall_false_alarm=1e-9",
        "join.max_pending=7",
    ]
    wanted = load_stream_settings(None, changes)
    stream = msgspec.to_builtins(wanted)
    tables = {name: stream.pop(name) for name in ("join", "count", "train")}
    (tmp_path / "clicktide.toml").write_text(settings_toml({"stream": stream, **tables}))
    assert load_stream_settings(tmp_path / "clicktide.toml") == wanted


def test_the_page_of_connections_names_settings_that_exist():
    page = (Path(__file__).parents[2] / "docs" / "connections.md").read_text()
    kafka, redis = page.split("## Redis and Valkey")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", kafka, re.M)
    named = {name for row in rows for name in row.split(", ")}
    assert {name.strip("`") for name in named} <= set(KafkaSettings.__struct_fields__)
    for url in re.findall(r"`(redis\+?\w*://[^`]+:\d+\S*)`", redis):
        store_client(url).close()
