"""A stream's folder: what is in it, and the log, spec and settings that it remembers.

Every command of a stream is given the folder alone (``--dir``). The first of them that writes, in
whatever order they start, puts ``clicktide.toml`` there; the others take from it what they are not
told, and refuse what contradicts it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from clicktide.settings import STREAM, Effective, settings_toml
from features.spec import Spec
from features.spec_file import load_spec
from features.whole_file import whole_file
from streaming.log.log_url import SqliteSettings, log_settings
from streaming.settings import StreamSettings, load_stream_settings
from streaming.settings_file import (
    SECTIONS,
    SETTINGS_FILE,
    given_settings,
    keys_of,
    load_settings,
    read_tables,
    tables_of,
)

if TYPE_CHECKING:
    from monitoring.registry.settings import RegistrySettings
    from monitoring.watch.settings import MonitorSettings
    from serving.settings import ServeSettings

__all__ = ["FIXED", "StreamFolder", "log_file", "spec_key"]

_HEAD = """\
# What this stream runs on, and its settings: every command with this --dir reads them.
# Their meaning: docs/stream.md. Fixed once the stream has begun: log, spec, partitions and the
# windows and bounds of time in [join].

"""
# What the log or the joiner's commits were made with.
FIXED = (
    "join_window_s", "late_window_s", "out_of_order_s", "max_ahead_s", "far_future_s",
    "label_after_s", "label_out_of_order_s",
)  # fmt: skip


@dataclass(frozen=True)
class StreamFolder:
    """A stream, as a command of it sees it.

    Parameters
    ----------
    path
        The folder.
    log
        URL of the event log.
    spec
        Name or file of the feature spec; empty where the command has no need of it.
    file
        TOML of settings, if there is one.
    changes
        Changes to them, such as ``serve.workers=4``.
    spec_changes
        Changes to the spec, such as ``hash.bits=20``.
    """

    path: Path
    log: str
    spec: str
    file: Path | None = None
    changes: tuple[str, ...] = ()
    spec_changes: tuple[str, ...] = ()

    @property
    def model(self) -> Path:
        """The trainer's snapshot."""
        return self.path / "model"

    @property
    def live(self) -> Path:
        """The weights as they are learned, mapped."""
        return self.path / "live.weights"

    @property
    def served(self) -> Path:
        """Model versions for servers on this machine."""
        return self.path / "served"

    @property
    def monitor(self) -> Path:
        """The monitor's state, windows and alarms."""
        return self.path / "monitor"

    @property
    def embedded_log(self) -> Path | None:
        """The file of the event log, if it is one."""
        return log_file(self.log)

    def store_url(self) -> str | None:
        """The feature store: the one in the settings, or the folder's own."""
        own = self.path / "valkey" / "url"
        return self.stream_settings().redis or (own.read_text("utf-8") if own.is_file() else None)

    def load_spec(self) -> Spec:
        """Read the spec."""
        return load_spec(self.spec, self.spec_changes)

    def stream_settings(self) -> StreamSettings:
        """Settings that all processes of the stream share."""
        return load_stream_settings(self.file, self.changes)

    def monitor_settings(self) -> MonitorSettings:
        """Settings of the monitor."""
        from monitoring.watch.settings import MonitorSettings

        return load_settings(MonitorSettings, "monitor", self.file, self.changes)

    def serve_settings(self) -> ServeSettings:
        """Settings of serving."""
        from serving.settings import ServeSettings

        return load_settings(ServeSettings, "serve", self.file, self.changes)

    def registry_settings(self) -> RegistrySettings:
        """Settings of the registry."""
        from monitoring.registry.settings import RegistrySettings

        return load_settings(RegistrySettings, "registry", self.file, self.changes)

    def effective(self) -> list[Effective]:
        """Every setting: its value, and where that comes from."""
        stream = self.stream_settings()
        known = {"log": self.log, "spec": self.spec, "redis": self.store_url() or ""}
        records: dict[str, msgspec.Struct] = {
            "stream": msgspec.structs.replace(stream, **known),
            "join": stream.join,
            "count": stream.count,
            "train": stream.train,
            "serve": self.serve_settings(),
            "monitor": self.monitor_settings(),
            "registry": self.registry_settings(),
        }
        rows = []
        for section, record in records.items():
            given = given_settings(section, self.file, self.changes)
            for key, value in keys_of(msgspec.to_builtins(record)):
                if key.partition(".")[0] not in records:  # those of [join] in [stream]
                    origin = given[key].origin if key in given else "default"
                    rows.append(Effective(f"{section}.{key}", value, origin))
        return rows

    def text(self) -> str:
        """What ``clicktide.toml`` has to say."""
        log, spec = self.embedded_log, self.spec
        where = self.log
        if log is not None:
            here, file = self.path.resolve(), log.resolve()
            where = str(file.relative_to(here) if file.is_relative_to(here) else file)
        in_file = {} if self.file is None else read_tables(self.file)
        about = {"log": where} | ({"spec": spec_key(spec)} if spec else {})
        if redis := in_file.get("stream", {}).get("redis"):
            about["redis"] = redis
        shared = msgspec.to_builtins(self._shared())
        apart = {name: shared.pop(name) for name in STREAM[1:]}
        own = {key: value for key, value in shared.items() if key not in ("log", "spec", "redis")}
        tables = {"stream": about | own} | apart
        for name in SECTIONS.keys() - set(STREAM):
            given = given_settings(name, self.file, self.changes, {})
            tables[name] = tables_of({key: setting.value for key, setting in given.items()})
        return _HEAD + settings_toml({name: tables[name] for name in SECTIONS})

    def _shared(self) -> StreamSettings:
        """Settings to remember: of the environment, only what cannot change once it has begun."""
        own, wanted = load_stream_settings(self.file, self.changes, {}), self.stream_settings()
        fixed = {name: getattr(wanted.join, name) for name in FIXED}
        join = msgspec.structs.replace(own.join, **fixed)
        return msgspec.structs.replace(own, partitions=wanted.partitions, join=join)

    def remember(self) -> Path:
        """Write ``clicktide.toml`` anew, whole or not at all."""
        path, text = self.path / SETTINGS_FILE, self.text()
        with whole_file(path) as file:
            file.write(text.encode())
        return path


def log_file(url: str) -> Path | None:
    """The file of an embedded event log; ``None``: it is no file."""
    settings = log_settings(url, {})
    return Path(settings.path) if isinstance(settings, SqliteSettings) else None


def spec_key(spec: str) -> str:
    """A spec as its stream's folder names it: wherever a command is called from."""
    return str(Path(spec).resolve()) if spec.endswith(".toml") or os.sep in spec else spec
