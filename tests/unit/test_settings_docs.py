"""The pages of docs/ say what every setting means, with its true default, and name no other."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
import typer
from docs_commands import SHELLS, blocks, inline_commands, words

from clicktide.cli import app
from clicktide.settings import settings_toml
from features import spec as records
from features.counters.redis_clients import store_client
from features.spec_file import parse_spec
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


# --- docs/spec.md is complete, states the true defaults, and its examples are specs.

PAGE = (Path(__file__).parents[2] / "docs" / "spec.md").read_text(encoding="utf-8")
SECTIONS = {
    records.Spec: "## At the top",
    records.SourceSpec: "## `[source]`",
    records.FieldSpec: "## `[[fields]]`",
    records.CrossSpec: "## `[crosses]`",
    records.CounterSpec: "## `[[counters]]`",
    records.HashSpec: "## `[hash]`",
    records.LearnerSpec: "## `[learner]`",
    records.Rates: "### Rates",
}


def rows_of(heading):
    """The key and the default of each row of the table under a heading."""
    section = re.split(r"^##", PAGE.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[
        0
    ]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))


@pytest.mark.parametrize("record", SECTIONS, ids=lambda record: record.__name__)
def test_every_key_is_explained_and_no_other(record):
    assert set(rows_of(SECTIONS[record])) == set(record.__struct_fields__)


def test_every_record_has_a_section():
    found = {
        record
        for record in vars(records).values()
        if isinstance(record, type) and issubclass(record, msgspec.Struct)
    }
    assert {record for record in found if record.__struct_fields__} == set(SECTIONS)


@pytest.mark.parametrize("record", SECTIONS, ids=lambda record: record.__name__)
def test_every_default_is_the_true_one(record):
    told = rows_of(SECTIONS[record])
    for field in msgspec.structs.fields(record):
        if field.required:
            assert told[field.name] == "required"
        elif field.default is None:
            assert told[field.name] == "none"
        else:
            factory = field.default_factory
            default = field.default if factory is msgspec.NODEFAULT else factory()
            value = tomllib.loads(f"value = {told[field.name].strip('`')}")["value"]
            assert msgspec.convert(value, field.type) == default, field.name


@pytest.mark.parametrize("values", ["transform", "format", "text", "kind"])
def test_every_choice_is_explained(values):
    record = {"transform": records.FieldSpec, "text": records.FieldSpec}.get(
        values, records.SourceSpec if values == "format" else records.LearnerSpec
    )
    field = next(f for f in msgspec.structs.fields(record) if f.name == values)
    choices = msgspec.inspect.type_info(field.type)
    assert all(f"`{choice}`" in PAGE for choice in choices.values)


def test_every_example_is_a_spec():
    examples = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert [parse_spec(text).name for text in examples] == ["shop"]


# --- Every ``clicktide ...`` of the README and docs/ is a command with options that exist.

FENCED = [
    (block.page, command)
    for block in blocks()
    if block.kind in SHELLS
    for command in block.commands()
    if command.startswith("clicktide ")
]


@pytest.mark.parametrize("page, command", [*FENCED, *inline_commands()])
def test_the_command_and_its_options_exist(page, command):
    at, arguments = typer.main.get_command(app), words(command)[1:]
    while hasattr(at, "commands") and arguments and arguments[0][0].islower():
        name = arguments.pop(0)
        found = at.get_command(None, name)
        assert found is not None, f"there is no command {name!r}"
        at = found
    known = {option for parameter in at.params for option in parameter.opts}
    known |= {option for parameter in at.params for option in parameter.secondary_opts}
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert given <= known | {"--help"}


def test_no_command_hides_in_a_block_that_is_not_the_shells():
    for block in blocks():
        if block.kind not in SHELLS:
            for line in block.text.splitlines():
                if "─" in line:  # a picture of the flow
                    continue
                assert not line.startswith(("clicktide ", "curl ", "make ", "$ ")), block
