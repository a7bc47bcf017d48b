"""The settings of a Kafka log: servers, encryption, SASL, prefix, time limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

__all__ = ["KafkaSettings"]

# What Kafka takes in the name of a topic, with room for the name itself.
_Prefix = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=100)]


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
            options |= self._tls()
        if self.security.startswith("sasl"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options

    def _tls(self) -> dict[str, Any]:
        files = {
            "ssl_cafile": self.ca_file,
            "ssl_certfile": self.cert_file,
            "ssl_keyfile": self.key_file,
        }
        return files | {"ssl_password": self.key_password, "ssl_check_hostname": True}
