"""The settings that a stream was begun with, kept beside it in ``stream.toml``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from features.errors import ClicktideError
from streaming.settings import StreamSettings, load_stream_settings

__all__ = ["keep_settings", "settings_for", "settings_toml"]

_HEAD = """\
# Settings of this stream, written by `clicktide up` and read again by the next one.
# Their meaning: docs/stream.md. Fixed once the stream has begun: partitions and the windows
# and bounds of time in [join].
"""
# What the log or the joiner's commits were made with.
_FIXED = ("join_window_s", "late_window_s", "out_of_order_s", "max_ahead_s", "far_future_s")


def settings_for(folder: Path, file: Path | None, overrides: Sequence[str]) -> StreamSettings:
    """The settings to run a folder's stream with: the kept ones or a file's, then the changes.

    Raises
    ------
    ClicktideError
        A wrong setting, or a change of one that is fixed.
    """
    kept_in = folder / "stream.toml"
    kept = load_stream_settings(kept_in) if kept_in.exists() else None
    base = file if file is not None or kept is None else kept_in
    wanted = load_stream_settings(base, overrides)
    if kept is not None:
        _check_fixed(kept_in, kept, wanted)
    return wanted


def _check_fixed(kept_in: Path, kept: StreamSettings, wanted: StreamSettings) -> None:
    pairs = [("partitions", kept.partitions, wanted.partitions)] + [
        (f"join.{name}", getattr(kept.join, name), getattr(wanted.join, name)) for name in _FIXED
    ]
    changed = [f"{name} from {old:g} to {new:g}" for name, old, new in pairs if old != new]
    if changed:
        raise ClicktideError(
            f"{kept_in}: this stream has begun, and cannot change {', '.join(changed)}: what is "
            "in its log was made with it. Fix: keep the old values, or begin a new stream with "
            "another --dir (and, on Kafka, other topics)"
        )


def keep_settings(folder: Path, settings: StreamSettings) -> Path:
    """Write ``stream.toml``, whole or not at all."""
    path, new = folder / "stream.toml", folder / "stream.toml.new"
    new.write_text(_HEAD + settings_toml(settings), encoding="utf-8")
    os.replace(new, path)
    return path


def settings_toml(settings: StreamSettings) -> str:
    """Settings as TOML, each of them.

    Examples
    --------
    >>> settings_toml(StreamSettings(partitions=4)).splitlines()[0]
    'partitions = 4'
    """
    table = msgspec.to_builtins(settings)
    join = table.pop("join")
    lines = [f"{name} = {value!r}" for name, value in table.items()]
    lines += ["", "[join]"] + [f"{name} = {value!r}" for name, value in join.items()]
    return "\n".join(lines) + "\n"
