"""docs/monitor.md and docs/detectors.md say what every setting means, with its true default."""

import json
import re
from pathlib import Path

import pytest

from monitoring.watch.settings import DetectSettings, MonitorSettings, WindowSettings

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "monitor.md").read_text() + (DOCS / "detectors.md").read_text()
ROWS = {
    f"{section}.{name}": value
    for section, table in re.findall(r"^\| in `\[([a-z.]+)\]` .*\n\|.*\n((?:\|.*\n)+)", TEXT, re.M)
    for name, value in re.findall(r"^\| `(\w+)` \| `(.+?)` \| \S", table, re.M)
}
DEFAULTS = {
    f"{section}.{name}": getattr(settings, name)
    for section, settings in (
        ("monitor", MonitorSettings()),
        ("monitor.windows", WindowSettings()),
        ("monitor.detect", DetectSettings()),
    )
    for name in settings.__struct_fields__
    if name not in ("windows", "detect")
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_is_there_with_its_default(name):
    default = DEFAULTS[name]
    assert json.loads(ROWS[name]) == (list(default) if isinstance(default, tuple) else default)


def test_no_setting_is_there_that_does_not_exist():
    assert set(ROWS) == set(DEFAULTS)
