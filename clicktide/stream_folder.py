"""A stream's folder: what is in it, and the log, spec and settings that it remembers.

Every command of a stream is given the folder alone (``--dir``). The first of them that writes, in
whatever order they start, puts ``clicktide.toml`` there; the others take from it what they are not
told, and refuse what contradicts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from clicktide.settings import STREAM, Effective, check_sections, settings_toml, split_changes
from features.errors import ClicktideError
from features.spec import Spec
from features.spec_file import load_spec
from features.whole_file import whole_file
from streaming.file_lock import lock_file
from streaming.log import EventLog, open_log
from streaming.log.settings import SqliteSettings, log_settings
from streaming.settings import StreamSettings, load_stream_settings
from streaming.settings_file import (
    SECTIONS,
    SETTINGS_FILE,
    Setting,
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

__all__ = ["StreamFolder", "log_file", "open_existing", "open_stream"]

DEFAULT_FOLDER, DEFAULT_SPEC = Path("run"), "market"
_FORMER_FILE = "stream.toml"
_HEAD = """\
# What this stream runs on, and its settings: every command with this --dir reads them.
# Their meaning: docs/stream.md. Fixed once the stream has begun: log, spec, partitions and the
# windows and bounds of time in [join].

"""
# What the log or the joiner's commits were made with.
_FIXED = (
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
        about = {"log": where} | ({"spec": _spec_key(spec)} if spec else {})
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
        fixed = {name: getattr(wanted.join, name) for name in _FIXED}
        join = msgspec.structs.replace(own.join, **fixed)
        return msgspec.structs.replace(own, partitions=wanted.partitions, join=join)

    def remember(self) -> Path:
        """Write ``clicktide.toml`` anew, whole or not at all."""
        path, text = self.path / SETTINGS_FILE, self.text()
        with whole_file(path) as file:
            file.write(text.encode())
        return path


def open_stream(
    folder: Path | None = None,
    *,
    log: str | None = None,
    spec: str | None = None,
    settings: Path | None = None,
    changes: Sequence[str] | None = None,
    reads: Sequence[str] = (),
    needs_spec: bool = True,
    begin: bool = True,
) -> StreamFolder:
    """Find out what stream a command is about.

    Parameters
    ----------
    folder
        Its folder; by default that of the embedded log, else ``run``.
    log, spec
        As given to the command; what is not given is what the settings say, else what the folder
        remembers, else ``log.db`` in it and ``market``.
    settings
        A TOML file instead of the folder's; its log is named as in that, from the folder.
    changes
        ``KEY=VALUE``, see :func:`split_changes`.
    reads
        The sections that the command reads, and ``spec``: a change of another is refused.
    needs_spec
        Whether the command works by the stream's spec.
    begin
        Whether the folder is to remember what it does not yet.

    Raises
    ------
    ClicktideError
        A wrong setting, or something that contradicts what the folder remembers.

    Examples
    --------
    >>> changes = ["join.join_window_s=60"]
    >>> stream = open_stream(Path("ads"), changes=changes, reads=STREAM, begin=False)
    >>> stream.log, stream.spec, stream.stream_settings().join.join_window_s
    ('ads/log.db', 'market', 60.0)
    """
    of_settings, of_spec = split_changes(changes or ())
    check_sections(of_settings, of_spec, reads)
    given = given_settings("stream", None, of_settings)
    log, spec = (own or _text(given.get(key)) for key, own in (("log", log), ("spec", spec)))
    given_file = None if log is None else log_file(log)
    path = folder or (given_file.parent if given_file else DEFAULT_FOLDER)
    told = {} if settings is None else read_tables(settings).get("stream", {})
    log, spec = log or _log_in(path, told.get("log")), spec or told.get("spec")
    lock = path / f"{SETTINGS_FILE}.lock"  # processes of a stream start at one time
    with lock_file(lock) if begin else nullcontext():
        file = path / SETTINGS_FILE
        begun = file.exists()
        kept = read_tables(file).get("stream", {}) if begun else {}
        if not begun and (path / _FORMER_FILE).exists():
            raise _former_file(path / _FORMER_FILE)
        own_spec = _spec_of(path, kept, spec) if needs_spec else kept.get("spec", "")
        stream = StreamFolder(
            path,
            _log_of(path, kept, log),
            own_spec,
            settings or (file if begun else None),
            tuple(of_settings),
            tuple(of_spec),
        )
        if begun:
            _check_fixed(file, load_stream_settings(file, (), {}), stream.stream_settings())
        if begin and (not begun or (own_spec and "spec" not in kept)):
            if own_spec:
                stream.load_spec()  # what is wrong is not remembered
            shared = tuple(one for one in of_settings if one.partition(".")[0] in STREAM)
            replace(stream, changes=shared).remember()  # others: of one process, for its time
    return stream


def _text(setting: Setting | None) -> str | None:
    return None if setting is None else str(setting.value)


def _former_file(file: Path) -> ClicktideError:
    return ClicktideError(
        f"{file}: settings of before 0.2. Fix: rename it to {SETTINGS_FILE}; put the keys that "
        "stand before the first table under [stream], but those that end in _every_s under "
        "[train]; rename [register] to [registry]"
    )


def _log_of(path: Path, kept: Mapping[str, Any], given: str | None) -> str:
    own = _log_in(path, kept.get("log"))
    if given is not None and own is not None and _log_key(given) != _log_key(own):
        raise _contradiction(path, "event log", own, given, "--log")
    return given or own or str(path / "log.db")


def _log_in(path: Path, log: str | None) -> str | None:
    """A log as a stream's folder names it, for whoever is elsewhere."""
    file = None if log is None else log_file(log)
    return log if file is None else str(path / file)


def _log_key(url: str) -> str:
    file = log_file(url)
    return url if file is None else str(file.resolve())


def log_file(url: str) -> Path | None:
    """The file of an embedded event log; ``None``: it is no file."""
    settings = log_settings(url, {})
    return Path(settings.path) if isinstance(settings, SqliteSettings) else None


def open_existing(url: str) -> EventLog:
    """Open an event log that is there: a look must not make a new, empty file.

    Raises
    ------
    ClicktideError
        There is none.
    """
    file = log_file(url)
    if file is not None and not file.is_file():
        raise ClicktideError(
            f"{file}: there is no event log. Fix: clicktide up starts a stream and makes it, "
            "or name another with --dir or --log"
        )
    return open_log(url)


def _spec_of(path: Path, kept: Mapping[str, Any], given: str | None) -> str:
    own = kept.get("spec")
    if given is not None and own is not None and _spec_key(given) != _spec_key(own):
        raise _contradiction(path, "feature spec", own, given, "--spec")
    return given or own or DEFAULT_SPEC


def _spec_key(spec: str) -> str:
    return str(Path(spec).resolve()) if _is_file(spec) else spec


def _is_file(spec: str) -> bool:
    return spec.endswith(".toml") or os.sep in spec


def _contradiction(path: Path, what: str, own: str, given: str, option: str) -> ClicktideError:
    return ClicktideError(
        f"{path}: the {what} of this stream is {own}, not {given}. "
        f"Fix: leave {option} out (or unset its variable, or remove it from --settings), "
        "or give another stream another --dir"
    )


def _check_fixed(file: Path, kept: StreamSettings, wanted: StreamSettings) -> None:
    pairs = [("stream.partitions", kept.partitions, wanted.partitions)] + [
        (f"join.{name}", getattr(kept.join, name), getattr(wanted.join, name)) for name in _FIXED
    ]
    changed = [f"{name} from {old:g} to {new:g}" for name, old, new in pairs if old != new]
    if changed:
        raise ClicktideError(
            f"{file}: this stream has begun, and cannot change {', '.join(changed)}: what is "
            "in its log was made with it. Fix: keep the old values, or begin a new stream with "
            "another --dir (and, on Kafka, other topics)"
        )
