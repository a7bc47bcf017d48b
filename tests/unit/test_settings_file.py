"""Settings of a file and of ``--set``: read together, and refused by name where they are wrong."""

import pytest
from command import invoke

from clicktide.cli import app
from features.errors import ClicktideError
from monitoring.registry.settings import GateSettings, RegistrySettings
from monitoring.watch.settings import MonitorSettings, WindowSettings
from serving.settings import ServeSettings
from streaming.settings import load_stream_settings
from streaming.settings_file import load_settings

KINDS = {"registry": RegistrySettings, "monitor": MonitorSettings, "serve": ServeSettings}
FILE = """
[registry]
keep_versions = 7
[registry.gate]
min_clicks = 3
[monitor]
slices = ["a"]
[monitor.windows]
window_s = 60
[serve]
port = 9000
cors_origins = ["https://a.example"]
"""


SECTIONS = {
    "registry": (
        ["registry.model=ads"],
        RegistrySettings(keep_versions=7, model="ads", gate=GateSettings(min_clicks=3)),
    ),
    "monitor": (
        ["monitor.windows.least_clicks=7", "monitor.bid=b"],
        MonitorSettings(
            slices=("a",), bid="b", windows=WindowSettings(window_s=60, least_clicks=7)
        ),
    ),
    "serve": (
        ["serve.workers=3"],
        ServeSettings(port=9000, cors_origins=("https://a.example",), workers=3),
    ),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_comes_from_a_file_and_changes(tmp_path, section):
    changes, expected = SECTIONS[section]
    for name, text in ("all", FILE), ("empty", ""):
        (tmp_path / f"{name}.toml").write_text(text)
    assert load_settings(KINDS[section], section, tmp_path / "all.toml", changes) == expected
    assert load_settings(KINDS[section], section, tmp_path / "empty.toml") == KINDS[section]()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("registry.keep_versions=0", "keep_versions"),
        ("registry.version_every_s=0", "version_every_s"),
        ("registry.model=a/b", "without /"),
        ("registry.gate.max_rate_change=1", "max_rate_change"),
        ("registry.gate.max_examples=5", "max_examples"),
        ("registry.gates.min_clicks=5", "gates"),
        ("registry.nothing=1", "docs/models.md"),
        ("registry.gate.min_clicks=many", "docs/models.md"),
        ("monitor.nothing=1", "nothing"),
        ("monitor.windows.window_s=-1", "window_s"),
        ("monitor.windows.window_s=nan", "window_s"),
        ("monitor.save_every_s=0", "save_every_s"),
        ("monitor.slices", "KEY=VALUE"),
        ("monitor.webhook=ftp://x", "webhook"),
        ("monitor.other.key=1", "other"),
        ("monitor.keep_windows=0", "keep_windows"),
        ("monitor.windows.values_per_field=0", "values_per_field"),
        ("monitor.predict=maybe", "maybe"),
        ("serve.port=70000", "0 to 65535"),
        ("serve.max_concurrent=0", "above 0"),
        ("serve.tls_cert=a.pem", "tls_key"),
        ("serve.unknown_fields=maybe", "maybe"),
    ],
)
def test_a_wrong_change_says_what_to_write(change, said):
    section = change.partition(".")[0]
    with pytest.raises(ClicktideError, match=f"{said}.*Fix: |Fix: .*{said}"):
        load_settings(KINDS[section], section, None, [change])


@pytest.mark.parametrize(
    ("text", "said"),
    [("[monitor", "TOML.*Fix"), ("monitor = 3", "monitor.*Fix"), (None, "cannot be read")],
)
def test_a_file_that_is_none_is_named(tmp_path, text, said):
    if text is not None:
        (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ClicktideError, match=rf"m\.toml.*{said}"):
        load_settings(MonitorSettings, "monitor", tmp_path / "m.toml")


@pytest.mark.parametrize("order", [1, -1])
def test_one_key_as_a_value_and_as_a_table_is_refused(order):
    changes = ["stream.partitions=2", "stream.partitions.x=3"][::order]
    with pytest.raises(ClicktideError, match=r"partitions.* table.*Fix: give only one"):
        load_stream_settings(None, changes, {})


def test_the_path_of_a_webhook_is_not_shown(tmp_path):
    url = "https://hooks.example.com/services/T1/SECRET"
    shown = invoke(app, "settings", "--dir", tmp_path, "--set", f"monitor.webhook={url}")
    assert shown.exit_code == 0, shown.output
    assert "https://hooks.example.com/***" in shown.output and "SECRET" not in shown.output
