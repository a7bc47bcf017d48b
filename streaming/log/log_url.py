"""Opens the log that a URL names: its settings are in the URL, secrets in the environment only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from features.public_url import public_url
from streaming.log.base import EventLog, LogSettingsError
from streaming.log.sqlite_log import SqliteLog
from streaming.time_text import now_ms

__all__ = ["KafkaSettings", "SqliteSettings", "log_settings", "open_log"]

_SECRETS = {
    "username": "CLICKTIDE_KAFKA_USERNAME",
    "password": "CLICKTIDE_KAFKA_PASSWORD",
    "key_password": "CLICKTIDE_KAFKA_KEY_PASSWORD",
}


# What Kafka takes in the name of a topic, with room for the name itself.
_Prefix = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=100)]


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


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Kafka cluster: ``kafka://host:9092[,host2:9092]?security=sasl_ssl&mechanism=...``.

    User name and password are never in the URL but in ``CLICKTIDE_KAFKA_USERNAME`` and
    ``CLICKTIDE_KAFKA_PASSWORD`` (of the client key: ``CLICKTIDE_KAFKA_KEY_PASSWORD``).

    Parameters
    ----------
    servers
        ``host:port`` of some brokers; the others are learned from them.
    security
        How to talk to them; ``ssl`` and ``sasl_ssl`` encrypt and check the brokers' names.
    mechanism
        SASL mechanism, for ``sasl_plaintext`` and ``sasl_ssl``.
    ca_file, cert_file, key_file
        PEM files: the authority to trust (default: the system's), our certificate and key.
    replication
        Copies of each topic that is created; -1: as the cluster does by default. From 3 on a write
        counts as done when two copies have it, so that the loss of any one broker loses nothing.
    prefix
        Put before every topic, group and transactional id on the brokers and taken off again, such
        as ``staging.``: streams of different prefixes share brokers and never meet.
    compression
        Of what is appended.
    timeout_s
        Bound of every operation, retries included. Longer: rides out longer outages.
    session_timeout_s
        A dead member of a group loses its partitions after so long.
    max_poll_interval_s
        A living one that does not poll for so long loses them too.
    transaction_timeout_s
        The broker aborts a transaction open for so long.
    """

    servers: tuple[str, ...]
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    replication: int = -1
    prefix: _Prefix = ""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    timeout_s: float = 60.0
    session_timeout_s: float = 10.0
    max_poll_interval_s: float = 300.0
    transaction_timeout_s: float = 60.0
    username: str | None = None
    password: str | None = None
    key_password: str | None = None

    def __repr__(self) -> str:
        return f"KafkaSettings({','.join(self.servers)}, {self.security})"

    def connection(self) -> dict[str, Any]:
        """What every kafka-python client is given to connect."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.security.upper(),
            "bootstrap_timeout_ms": int(self.timeout_s * 1000),
            "reconnect_backoff_max_ms": 1000,
        }
        if "ssl" in self.security:
            options |= {
                "ssl_cafile": self.ca_file,
                "ssl_certfile": self.cert_file,
                "ssl_keyfile": self.key_file,
                "ssl_password": self.key_password,
                "ssl_check_hostname": True,
            }
        if self.security.startswith("sasl"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options


def open_log(url: str, *, clock_ms: Callable[[], int] = now_ms) -> EventLog:
    """Open the event log that a URL names.

    Parameters
    ----------
    url
        ``kafka://host:port[,host:port][?...]`` (``KafkaSettings``), ``sqlite:///path[?...]`` or a
        plain path (``SqliteSettings``).
    clock_ms
        Time for the embedded log; Kafka's brokers use their own.

    Raises
    ------
    LogSettingsError
        The URL cannot be used.
    LogUnavailableError
        Kafka does not answer.

    Examples
    --------
    >>> open_log(":memory:").topics()
    {}
    """
    settings = log_settings(url, os.environ)
    if isinstance(settings, SqliteSettings):
        lease_ms = int(settings.lease_s * 1000)
        return SqliteLog(
            Path(settings.path), clock_ms=clock_ms, lease_ms=lease_ms, sync=settings.sync
        )
    from streaming.log.kafka_log import KafkaLog  # spares the embedded log its import time

    return KafkaLog(settings)


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
