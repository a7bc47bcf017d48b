"""The settings of a log, from its URL; secrets come from the environment only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from features.public_url import public_url
from streaming.log.base import LogSettingsError
from streaming.log.kafka_settings import KafkaSettings

__all__ = ["SqliteSettings", "log_settings"]

_SECRETS = {
    "username": "CLICKTIDE_KAFKA_USERNAME",
    "password": "CLICKTIDE_KAFKA_PASSWORD",
    "key_password": "CLICKTIDE_KAFKA_KEY_PASSWORD",
}


class SqliteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An embedded log: ``sqlite:///relative/path``, ``sqlite:////absolute/path``, or a path.

    Parameters
    ----------
    path
        The file; its folder must exist.
    sync
        ``normal``: commits survive kill -9, a power cut may take back the last ones (whole).
        ``full``: they survive that too, at one disk flush a commit.
    lease_s
        A silent member of a group loses its partitions after so long. Shorter: a dead one is
        replaced sooner; longer: it may work longer between two polls.
    """

    path: str
    sync: Literal["normal", "full"] = "normal"
    lease_s: float = 30.0


def log_settings(url: str, environ: Mapping[str, str]) -> SqliteSettings | KafkaSettings:
    """The settings that a log's URL and the environment state.

    Parameters
    ----------
    url
        ``kafka://host:port[,host:port][?setting=value&...]``, ``sqlite:///path[?...]``, or a path.
    environ
        Where the secrets are.

    Raises
    ------
    LogSettingsError
        Another scheme, no or a broken server, an unknown setting, a wrong value, a secret in the
        URL, SASL without user name or password.

    Examples
    --------
    >>> log_settings("kafka://a:9092,b:9092?timeout_s=5", {}).servers
    ('a:9092', 'b:9092')
    >>> log_settings("sqlite:///run/log.db?sync=full", {})
    SqliteSettings(path='run/log.db', sync='full', lease_s=30.0)
    """
    if "://" not in url:
        return _record({"path": url}, SqliteSettings, url)
    parts = urlsplit(url)
    if "@" in parts.netloc or (parts.scheme != "sqlite" and "@" in parts.path):
        raise _wrong(url, "a user name or password in it", _secrets_fix())
    if parts.scheme == "sqlite":
        return _sqlite(parts, url)
    if parts.scheme == "kafka":
        return _kafka(parts, url, environ)
    raise _wrong(url, f"unknown scheme {parts.scheme!r}", "use kafka://host:port or sqlite:///path")


def _sqlite(parts: SplitResult, url: str) -> SqliteSettings:
    path = parts.path.removeprefix("/")
    if parts.netloc or not path:
        fix = "write sqlite:///relative/path or sqlite:////absolute/path"
        raise _wrong(url, "no path after sqlite:///", fix)
    return _record(_options(parts, url) | {"path": path}, SqliteSettings, url)


def _kafka(parts: SplitResult, url: str, environ: Mapping[str, str]) -> KafkaSettings:
    given = _options(parts, url)
    for name, variable in _SECRETS.items():
        if name in given:
            raise _wrong(url, f"a secret ({name}) in it", f"set {variable} instead")
    secrets = {name: environ[v] for name, v in _SECRETS.items() if environ.get(v)}
    servers = tuple(_server(server, url) for server in parts.netloc.split(","))
    settings = _record(given | secrets | {"servers": servers}, KafkaSettings, url)
    if settings.security.startswith("sasl") and not (settings.username and settings.password):
        raise _wrong(url, "SASL without user name and password", _secrets_fix())
    return settings


def _server(server: str, url: str) -> str:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise _wrong(url, f"{server!r} is not host:port", "write kafka://host:9092")
    return server


def _options(parts: SplitResult, url: str) -> dict[str, Any]:
    try:
        return dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    except ValueError:
        if parts.query:
            raise _wrong(url, "what follows ? is not name=value&...", "write it so") from None
        return {}


S = TypeVar("S", SqliteSettings, KafkaSettings)


def _record(given: dict[str, Any], kind: type[S], url: str) -> S:
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(f for f in kind.__struct_fields__ if f not in {"path", *_SECRETS})
        raise _wrong(url, str(error), f"the settings are {known}") from None


def _secrets_fix() -> str:
    return f"set {_SECRETS['username']} and {_SECRETS['password']} in the environment"


def _wrong(url: str, what: str, fix: str) -> LogSettingsError:
    return LogSettingsError(f"log URL {public_url(url)!r}: {what}. Fix: {fix}")
