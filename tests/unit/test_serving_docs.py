"""docs/serving.md has every setting with its default, and every route."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from serving.settings import ServeSettings

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (`[a-z_`, ]+`) \| ([^|]+) \|", PAGE, re.M))
NAMES = [field.name for field in msgspec.structs.fields(ServeSettings)]


def shown(default):
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return json.dumps(default)
    text = {"True": "true", "False": "false"}.get(repr(default), repr(default))
    text = text.replace("'", '"').removesuffix(".0")
    return text if not isinstance(default, str) else default


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_there_with_its_default(name):
    [(keys, defaults)] = [row for row in ROWS.items() if f"`{name}`" in row[0]]
    place = keys.split(", ").index(f"`{name}`")
    told = [part.strip('`"') for part in defaults.strip().split(", ")]
    told = told if len(told) > 1 else told * 2
    assert told[place] == shown(getattr(ServeSettings(), name))
