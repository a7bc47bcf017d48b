"""docs/models.md says what every setting of the registry means, with its true default."""

import re
from pathlib import Path

import msgspec
import pytest

from monitoring.registry import RegistrySettings

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([\w.]+) \| \S", TEXT, re.MULTILINE))
PLAIN = msgspec.to_builtins(RegistrySettings())
DEFAULTS = {name: value for name, value in (PLAIN | PLAIN["gate"]).items() if name != "gate"}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_is_there_with_its_default(name):
    assert type(DEFAULTS[name])(msgspec.json.decode(_json(ROWS[name]))) == DEFAULTS[name]


def test_no_setting_is_there_that_does_not_exist():
    assert set(ROWS) == set(DEFAULTS)


def _json(text):
    return text if re.fullmatch(r"[\d.]+|true|false", text) else f'"{text}"'
