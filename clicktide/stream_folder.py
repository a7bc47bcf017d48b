"""A stream's folder: what is in it, and the log, spec and settings that it remembers.

Every command of a stream is given the folder alone (``--dir``). The first of them that writes, in
whatever order they start, puts ``stream.toml`` there; the others take from it what they are not
told, and refuse what contradicts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from features.errors import ClicktideError
from features.spec import Spec
from features.spec_file import load_spec
from streaming.log.opening import SqliteSettings, log_settings
from streaming.settings import StreamSettings, load_stream_settings
from streaming.settings_file import merged_settings

if TYPE_CHECKING:
    from monitoring.registry.settings import RegistrySettings
    from monitoring.watch.settings import MonitorSettings
    from serving.settings import ServeSettings

__all__ = [
    "SPEC",
    "STREAM",
    "StreamFolder",
    "changes_by_section",
    "check_sections",
    "open_stream",
    "settings_toml",
]

DEFAULT_FOLDER, DEFAULT_SPEC = Path("run"), "market"
SPEC, STREAM = "spec", "stream"
_TABLES = ("monitor", "serve", "register")
_LISTS = ("slices", "cors_origins", "parents")
"""Settings in these tables whose values are given with commas between."""
_FILE = "stream.toml"
_HEAD = """\
# What this stream runs on, and its settings: every command with this --dir reads them.
# Their meaning: docs/stream.md. Fixed once the stream has begun: log, spec, partitions and the
# windows and bounds of time in [join].
"""
# What the log or the joiner's commits were made with.
_FIXED = ("join_window_s", "late_window_s", "out_of_order_s", "max_ahead_s", "far_future_s")


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
        ``KEY=VALUE`` changes to them, by section.
    """

    path: Path
    log: str
    spec: str
    file: Path | None = None
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)

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
        return _log_file(self.log)

    def store_url(self, given: str | None) -> str | None:
        """The feature store: the one given, or the folder's own."""
        own = self.path / "valkey" / "url"
        return given if given or not own.is_file() else own.read_text("utf-8")

    def load_spec(self) -> Spec:
        """Read the spec."""
        return load_spec(self.spec, self.changes.get(SPEC, ()))

    def stream_settings(self) -> StreamSettings:
        """Settings that all processes of the stream share."""
        return load_stream_settings(self.file, self.changes.get(STREAM, ()))

    def monitor_settings(self, more: Sequence[str] = ()) -> MonitorSettings:
        """Settings of the monitor."""
        from monitoring.watch.settings import load_monitor_settings

        return load_monitor_settings(self.file, [*self.changes.get("monitor", ()), *more])

    def serve_settings(self, more: Sequence[str] = ()) -> ServeSettings:
        """Settings of serving."""
        from serving.settings import load_serve_settings

        return load_serve_settings(self.file, [*self.changes.get("serve", ()), *more])

    def registry_settings(self) -> RegistrySettings:
        """Settings of the registry."""
        from monitoring.registry.settings import load_registry_settings

        return load_registry_settings(self.file, self.changes.get("register", ()))

    def text(self) -> str:
        """What ``stream.toml`` has to say."""
        log, spec = self.embedded_log, self.spec
        if log is not None:
            here = self.path.resolve()
            inside = log.resolve().is_relative_to(here)
            where = str(log.resolve().relative_to(here) if inside else log.resolve())
        else:
            where = self.log
        about = {"log": where} | ({"spec": _spec_key(spec)} if spec else {})
        tables = {name: self._table(name) for name in _TABLES}
        return _HEAD + settings_toml(about | msgspec.to_builtins(self.stream_settings()) | tables)

    def _table(self, name: str) -> dict[str, Any]:
        changes = self.changes.get(name, ())
        return merged_settings(self.file, changes, lists=_LISTS, table=name)

    def remember(self) -> Path:
        """Write ``stream.toml`` anew, whole or not at all."""
        path, new = self.path / _FILE, self.path / f"{_FILE}.new"
        new.write_text(self.text(), encoding="utf-8")
        os.replace(new, path)
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
        As given to the command; what is not given is what the folder remembers, else ``log.db`` in
        it and ``market``.
    settings
        A TOML file instead of the folder's.
    changes
        ``KEY=VALUE``, see :func:`changes_by_section`.
    reads
        The sections that the command reads: a change of another is refused.
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
    >>> stream = open_stream(Path("ads"), changes=changes, reads=[STREAM], begin=False)
    >>> stream.log, stream.spec, stream.stream_settings().join.join_window_s
    ('ads/log.db', 'market', 60.0)
    """
    parts = changes_by_section(changes or ())
    check_sections(parts, reads)
    given_file = None if log is None else _log_file(log)
    path = folder or (given_file.parent if given_file else DEFAULT_FOLDER)
    with _locked(path) if begin else nullcontext():
        file = path / _FILE
        kept = _remembered(file)
        own_spec = _spec_of(path, kept, spec) if needs_spec else kept.get("spec", "")
        stream = StreamFolder(
            path,
            _log_of(path, kept, log),
            own_spec,
            settings or (file if kept else None),
            parts,
        )
        if kept:
            _check_fixed(file, load_stream_settings(file), stream.stream_settings())
        if begin and (not kept or (own_spec and "spec" not in kept)):
            if own_spec:
                stream.load_spec()  # what is wrong is not remembered
            of_stream = {STREAM: parts.get(STREAM, ())}  # of one process: for its time only
            replace(stream, changes=of_stream).remember()
    return stream


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a folder while its file is read and perhaps written: processes start at one time."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / f"{_FILE}.lock").open("a")
    except OSError as error:
        raise ClicktideError(
            f"{path}: cannot be written ({error.strerror}). Fix: --dir FOLDER"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def changes_by_section(changes: Sequence[str], plain: str = STREAM) -> dict[str, list[str]]:
    """Sort ``KEY=VALUE`` changes by what they change.

    ``monitor.``, ``serve.`` and ``register.`` begin those of these processes; the keys of a feature
    spec are its own; all others are ``plain``'s.

    Examples
    --------
    >>> changes_by_section(["batch=5", "monitor.windows.window_s=300", "hash.bits=20"])
    {'stream': ['batch=5'], 'monitor': ['windows.window_s=300'], 'spec': ['hash.bits=20']}
    """
    parts: dict[str, list[str]] = {}
    for change in changes:
        first, dot, rest = change.partition(".")
        if dot and first in _TABLES:
            parts.setdefault(first, []).append(rest)
        else:
            of_spec = first.partition("=")[0] in Spec.__struct_fields__
            parts.setdefault(SPEC if of_spec else plain, []).append(change)
    return parts


def check_sections(parts: Mapping[str, Sequence[str]], reads: Sequence[str]) -> None:
    """Refuse changes of a section that a command does not read."""
    for section, changes in parts.items():
        if section not in reads:
            known = ", ".join(reads) or "none"
            change = f"{section}.{changes[0]}" if section in _TABLES else changes[0]
            raise ClicktideError(
                f"--set {change}: a setting of {section}, which this command does not read "
                f"(it reads those of: {known}). Fix: give it to the command that does, or write it "
                f"into {_FILE}"
            )


def _remembered(file: Path) -> dict[str, Any]:
    """What the folder's file says; nothing if there is none."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ClicktideError(f"{file}: cannot be read: {error}. Fix: mend it") from error


def _log_of(path: Path, kept: Mapping[str, Any], given: str | None) -> str:
    log = kept.get("log")
    if log is None:
        return given or str(path / "log.db")
    file = _log_file(log)
    own = log if file is None else str(path / file)
    if given is not None and _log_key(given) != _log_key(own):
        raise _contradiction(path, "event log", own, given, "--log")
    return given or own


def _log_key(url: str) -> str:
    file = _log_file(url)
    return url if file is None else str(file.resolve())


def _log_file(url: str) -> Path | None:
    settings = log_settings(url, {})
    return Path(settings.path) if isinstance(settings, SqliteSettings) else None


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
        f"Fix: leave {option} out (or unset its variable), or give another stream another --dir"
    )


def _check_fixed(file: Path, kept: StreamSettings, wanted: StreamSettings) -> None:
    pairs = [("partitions", kept.partitions, wanted.partitions)] + [
        (f"join.{name}", getattr(kept.join, name), getattr(wanted.join, name)) for name in _FIXED
    ]
    changed = [f"{name} from {old:g} to {new:g}" for name, old, new in pairs if old != new]
    if changed:
        raise ClicktideError(
            f"{file}: this stream has begun, and cannot change {', '.join(changed)}: what is "
            "in its log was made with it. Fix: keep the old values, or begin a new stream with "
            "another --dir (and, on Kafka, other topics)"
        )


def settings_toml(table: Mapping[str, Any], name: str = "") -> str:
    """Settings as TOML: values first, then the tables.

    Examples
    --------
    >>> print(settings_toml({"batch": 5, "join": {"join_window_s": 60.0}, "monitor": {}}), end="")
    batch = 5
    <BLANKLINE>
    [join]
    join_window_s = 60.0
    """
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [
        f"{key} = {json.dumps(value)}\n"
        for key, value in table.items()
        if key not in tables and value is not None
    ]
    head = f"\n[{name}]\n" if name and lines else ""
    inner = (settings_toml(value, f"{name}.{key}".lstrip(".")) for key, value in tables.items())
    return head + "".join([*lines, *inner])
