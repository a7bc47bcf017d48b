"""Settings on the command line: ``--set``, the text of the file, and ``clicktide settings``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import typer

from clicktide import options
from features.errors import ClicktideError
from features.public_url import public_text
from features.spec import Spec
from streaming.settings_file import SECTIONS, SETTINGS_FILE

__all__ = [
    "SPEC",
    "STREAM",
    "Effective",
    "check_sections",
    "given_changes",
    "settings",
    "settings_toml",
    "split_changes",
]


SPEC = "spec"
STREAM = ("stream", "join", "count", "train")
"""The sections that all processes of a stream share."""


class Effective(msgspec.Struct, frozen=True):
    """A setting in effect: its value, and where that comes from."""

    key: str
    value: Any
    origin: str


def settings(
    folder: options.DirOption = None,
    file: options.SettingsOption = None,
    changes: options.SetOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Print every setting of a stream: its value, and where that comes from.

    A value comes from its default, from clicktide.toml in the stream's
    folder, from a variable such as CLICKTIDE_SERVE__WORKERS=4, or from
    --set serve.workers=4; each of these goes before the ones named
    before it. Nothing is started or written.

    clicktide settings

    clicktide settings --dir ads --set serve.workers=4 --json
    """
    from clicktide.stream_opening import open_stream  # which needs this module

    stream = open_stream(folder, settings=file, changes=changes, reads=tuple(SECTIONS), begin=False)
    rows = [_public(one) for one in stream.effective()]
    if as_json:
        about = {one.key: {"value": one.value, "origin": one.origin} for one in rows}
        typer.echo(msgspec.json.format(msgspec.json.encode(about)).decode())
        return
    widest = max(len(one.key) for one in rows)
    for one in rows:
        value = msgspec.json.encode(one.value).decode()
        typer.echo(f"{one.key:<{widest}}  {value:<20}  {one.origin}")


def _public(setting: Effective) -> Effective:
    """The setting without what is secret in its URL: of a webhook, all but its host."""
    if not isinstance(setting.value, str):
        return setting
    shown = public_text(setting.value)
    if setting.key == "monitor.webhook" and "://" in shown:
        shown = "/".join([*shown.split("/")[:3], "***"])
    return msgspec.structs.replace(setting, value=shown)


def split_changes(changes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell ``KEY=VALUE`` changes of the settings, which begin with a section, from the spec's.

    Examples
    --------
    >>> split_changes(["stream.batch=5", "monitor.windows.window_s=300", "hash.bits=20"])
    (['stream.batch=5', 'monitor.windows.window_s=300'], ['hash.bits=20'])
    """
    of_settings = [one for one in changes if one.partition(".")[0] in SECTIONS]
    return of_settings, [one for one in changes if one not in of_settings]


def given_changes(section: str, **values: object) -> list[str]:
    """Options that were given, as changes of the settings that they stand for.

    Examples
    --------
    >>> given_changes("serve", port=9000, workers=None)
    ['serve.port=9000']
    """
    return [f"{section}.{key}={value}" for key, value in values.items() if value is not None]


def check_sections(changes: Sequence[str], of_spec: Sequence[str], reads: Sequence[str]) -> None:
    """Refuse changes of a section that a command does not read."""
    for change in (*changes, *of_spec):
        first = change.partition("=")[0].partition(".")[0]
        section = SPEC if change in of_spec else first
        if section in reads:
            continue
        if section == SPEC and first not in Spec.__struct_fields__:
            known = ", ".join(f"{name}.KEY" for name in reads) or "none"
            raise ClicktideError(
                f"--set {change}: no such setting. Fix: SECTION.KEY=VALUE, such as "
                f"stream.partitions=4 (this command reads {known})"
            )
        raise ClicktideError(
            f"--set {change}: a setting of {section}, which this command does not read "
            f"(it reads those of: {', '.join(reads) or 'none'}). Fix: give it to the command that "
            f"does, or write it into {SETTINGS_FILE}"
        )


def settings_toml(table: Mapping[str, Any], name: str = "") -> str:
    """Settings as TOML: values first, then the tables.

    Examples
    --------
    >>> print(settings_toml({"stream": {"batch": 5}, "join": {}, "monitor": {"slices": ["ad"]}}))
    [stream]
    batch = 5
    <BLANKLINE>
    [monitor]
    slices = ["ad"]
    <BLANKLINE>
    """
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [
        f"{key} = {json.dumps(value)}\n"
        for key, value in table.items()
        if key not in tables and value is not None
    ]
    head = f"[{name}]\n" if lines else ""
    inner = (settings_toml(value, f"{name}.{key}".lstrip(".")) for key, value in tables.items())
    return "\n".join(filter(None, [head + "".join(lines), *inner]))
