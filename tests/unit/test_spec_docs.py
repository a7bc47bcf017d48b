"""docs/spec.md is complete, states the true defaults, and its examples are specs."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from features import spec as records
from features.spec_file import parse_spec

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
