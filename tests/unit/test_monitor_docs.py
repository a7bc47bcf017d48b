"""docs/monitor.md says what every setting means, with its true default."""

import json
import re
from pathlib import Path

import pytest

from monitoring.watch.settings import MonitorSettings, WindowSettings

TEXT = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \| \S", TEXT, re.MULTILINE))
DEFAULTS = {
    name: getattr(settings, name)
    for settings in (MonitorSettings(), WindowSettings())
    for name in settings.__struct_fields__
    if name not in ("windows", "detect")
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_is_there_with_its_default(name):
    default = DEFAULTS[name]
    assert json.loads(ROWS[name]) == (list(default) if isinstance(default, tuple) else default)


def test_no_setting_is_there_that_does_not_exist():
    assert set(ROWS) == set(DEFAULTS)
