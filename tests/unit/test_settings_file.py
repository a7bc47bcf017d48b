"""Settings that contradict each other are refused by name, in whatever order they come."""

import pytest
from typer.testing import CliRunner

from clicktide.cli import app
from features.errors import ClicktideError
from streaming.settings import load_stream_settings


@pytest.mark.parametrize(
    "changes",
    [
        ["stream.partitions=2", "stream.partitions.x=3"],
        ["stream.partitions.x=3", "stream.partitions=2"],
    ],
)
def test_one_key_as_a_value_and_as_a_table_is_refused(changes):
    with pytest.raises(ClicktideError, match=r"partitions.* table.*Fix: give only one"):
        load_stream_settings(None, changes, {})


def test_the_path_of_a_webhook_is_not_shown(tmp_path):
    url = "https://hooks.example.com/services/T1/SECRET"
    shown = CliRunner().invoke(
        app, ["settings", "--dir", str(tmp_path), "--set", f"monitor.webhook={url}"]
    )
    assert shown.exit_code == 0, shown.output
    assert "https://hooks.example.com/***" in shown.output and "SECRET" not in shown.output
