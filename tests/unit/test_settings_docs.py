"""The pages of docs/ say what every setting means, with its true default, and name no other."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from clicktide.settings import settings_toml
from features.counters.redis_clients import store_client
from monitoring.registry.settings import GateSettings, RegistrySettings
from monitoring.watch.settings import (
    DetectSettings,
    MonitorSettings,
    RepairSettings,
    WindowSettings,
)
from serving.settings import ServeSettings
from streaming.joiner.settings import JoinerSettings
from streaming.log.log_url import KafkaSettings
from streaming.settings import CountSettings, StreamSettings, TrainSettings, load_stream_settings

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"^\|[^|]*\| default \|.*\n\|.*\n((?:\|.*\n)+)", re.MULTILINE)
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| (.+?) \| \S", re.MULTILINE)
PAGES = {
    "models.md": (RegistrySettings(), GateSettings()),
    "monitor.md detectors.md": (
        MonitorSettings(),
        WindowSettings(),
        DetectSettings(),
        RepairSettings(),
    ),  # fmt: skip,
    "serving.md": (ServeSettings(),),
    "stream.md": (StreamSettings(), JoinerSettings(), CountSettings(), TrainSettings()),
}
# Settings of settings have rows of their own; what the stream's options set is told beside those.
ELSEWHERE = {"gate", "windows", "detect", "join", "count", "train", "log", "spec", "redis"}


def value_of(text):
    text = text.strip("`")
    try:
        return None if text == "none" else json.loads(text)
    except ValueError:
        return text


def told(pages):
    """Settings and defaults as the tables have them; a row may be of several, with one default."""
    rows = []
    for page in pages.split():
        for table in TABLE.findall((DOCS / page).read_text(encoding="utf-8")):
            for keys, defaults in ROW.findall(table):
                names = keys.replace("`", "").split(", ")
                values = defaults.split(", ") if len(names) > 1 else [defaults]
                values *= len(names) // len(values)
                rows += zip(names, map(value_of, values), strict=True)
    return rows


@pytest.mark.parametrize("pages", PAGES)
def test_every_setting_is_there_with_its_default_and_no_other(pages):
    defaults = [
        (name, list(value) if isinstance(value, tuple) else value)
        for record in PAGES[pages]
        for name, value in msgspec.to_builtins(record).items()
        if name not in ELSEWHERE and not isinstance(value, dict)
    ]
    assert sorted(told(pages), key=repr) == sorted(defaults, key=repr)


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
    page = (DOCS / "connections.md").read_text()
    kafka, redis = page.split("## Redis and Valkey")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", kafka, re.M)
    named = {name for row in rows for name in row.split(", ")}
    assert {name.strip("`") for name in named} <= set(KafkaSettings.__struct_fields__)
    for url in re.findall(r"`(redis\+?\w*://[^`]+:\d+\S*)`", redis):
        store_client(url).close()
