"""Opening a stream: which one a command is about, by its folder and by what it is told; its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from clicktide.settings import STREAM, check_sections, split_changes
from clicktide.stream_folder import FIXED, StreamFolder, log_file, spec_key
from features.errors import ClicktideError
from streaming.file_lock import lock_file
from streaming.log import EventLog, open_log
from streaming.settings import StreamSettings, load_stream_settings
from streaming.settings_file import SETTINGS_FILE, Setting, given_settings, read_tables
from streaming.signals import stop_request

__all__ = ["DEFAULT_FOLDER", "DEFAULT_SPEC", "open_existing", "open_stream", "running_stream"]

DEFAULT_FOLDER, DEFAULT_SPEC = Path("run"), "market"
_FORMER_FILE = "stream.toml"


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
    log, spec = log or _text(given.get("log")), spec or _text(given.get("spec"))
    given_file = None if log is None else log_file(log)
    path = folder or (given_file.parent if given_file else DEFAULT_FOLDER)
    in_settings = {} if settings is None else read_tables(settings).get("stream", {})
    log, spec = log or _log_in(path, in_settings.get("log")), spec or in_settings.get("spec")
    lock = path / f"{SETTINGS_FILE}.lock"  # processes of a stream start at one time
    with lock_file(lock) if begin else nullcontext():
        file = path / SETTINGS_FILE
        begun = file.exists()
        remembered = read_tables(file).get("stream", {}) if begun else {}
        if not begun and (path / _FORMER_FILE).exists():
            raise _former_file(path / _FORMER_FILE)
        stream = StreamFolder(
            path,
            _log_of(path, remembered, log),
            _spec_of(path, remembered, spec) if needs_spec else remembered.get("spec", ""),
            settings or (file if begun else None),
            tuple(of_settings),
            tuple(of_spec),
        )
        if begun:
            _check_fixed(file, load_stream_settings(file, (), {}), stream.stream_settings())
        if begin and (not begun or (stream.spec and "spec" not in remembered)):
            _remember(stream)
    return stream


def _remember(stream: StreamFolder) -> None:
    """Have the folder remember what all its processes share; the rest is of one, for its time."""
    if stream.spec:
        stream.load_spec()  # what is wrong is not remembered
    shared = tuple(one for one in stream.changes if one.partition(".")[0] in STREAM)
    replace(stream, changes=shared).remember()


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


class RunningStream(NamedTuple):
    """What a process of a stream works with."""

    log: EventLog
    settings: StreamSettings
    stopping: Callable[[], bool]


@contextmanager
def running_stream(
    stream: StreamFolder, group: str = "", health: str | None = None
) -> Iterator[RunningStream]:
    """Open a stream's log, with all topics, until the process is asked to stop.

    Parameters
    ----------
    stream
        Which.
    group
        As which the process reads the log.
    health
        Where its health is told, if anywhere.
    """
    from clicktide.health_server import Steps, health_server  # of commands that stay

    settings = stream.stream_settings()
    with open_log(stream.log) as log, stop_request() as request:
        topics = settings.topics()
        if {topic.name for topic in topics} - log.topics().keys():
            log.create_topics(topics)
        steps = Steps(lambda: request.asked)
        with health_server(health, group, steps, lag=lambda: _lag(stream.log, group)):
            yield RunningStream(log, settings, steps.stopping)


def _lag(url: str, group: str) -> int:
    from streaming.status import look_at
    from streaming.time_text import now_ms

    with open_existing(url) as log:
        return look_at(log, now_ms(), newest=False).lag(group)


def _spec_of(path: Path, kept: Mapping[str, Any], given: str | None) -> str:
    own = kept.get("spec")
    if given is not None and own is not None and spec_key(given) != spec_key(own):
        raise _contradiction(path, "feature spec", own, given, "--spec")
    return given or own or DEFAULT_SPEC


def _contradiction(path: Path, what: str, own: str, given: str, option: str) -> ClicktideError:
    return ClicktideError(
        f"{path}: the {what} of this stream is {own}, not {given}. "
        f"Fix: leave {option} out (or unset its variable, or remove it from --settings), "
        "or give another stream another --dir"
    )


def _check_fixed(file: Path, kept: StreamSettings, wanted: StreamSettings) -> None:
    pairs = [("stream.partitions", kept.partitions, wanted.partitions)] + [
        (f"join.{name}", getattr(kept.join, name), getattr(wanted.join, name)) for name in FIXED
    ]
    changed = [f"{name} from {old:g} to {new:g}" for name, old, new in pairs if old != new]
    if changed:
        raise ClicktideError(
            f"{file}: this stream has begun, and cannot change {', '.join(changed)}: what is "
            "in its log was made with it. Fix: keep the old values, or begin a new stream with "
            "another --dir (and, on Kafka, other topics)"
        )
