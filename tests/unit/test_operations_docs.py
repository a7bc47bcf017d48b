"""docs/operations.md says what to do for every alarm, and every command is documented."""

import re
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml

from clicktide.cli import app
from monitoring.watch.detect.alarm import What

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()


def test_every_alarm_of_the_monitor_has_its_row():
    assert all(f"| `{what}` |" in TEXT for what in get_args(What))


@pytest.mark.parametrize("page", ["operations.md", "report.md"])
def test_every_prometheus_alert_has_its_row_and_no_other(page):
    groups = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    told = re.findall(r"\| `(Clicktide\w+)` \|", (ROOT / "docs" / page).read_text())
    assert set(told) == alerts


def test_every_page_it_names_exists():
    for page in re.findall(r"\]\((\w+\.md)\)", TEXT):
        assert (ROOT / "docs" / page).exists(), page


def test_every_command_is_documented_somewhere():
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    told = "\n".join(page.read_text() for page in texts)
    for name in typer.main.get_command(app).commands:
        assert f"clicktide {name}" in told, name


def test_every_page_of_docs_is_reached_from_the_readme_or_another_page():
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    told = "\n".join(
        page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    )
    assert all(re.search(rf"\]\((docs/)?{re.escape(page)}(#[^)]*)?\)", told) for page in pages)
