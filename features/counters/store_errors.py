"""Errors of the counter store: what Redis said, where, and what to do."""

from __future__ import annotations

import re

from redis import exceptions
from redis.sentinel import MasterNotFoundError

from features.errors import ClicktideError
from features.public_url import public_text

__all__ = ["STORE_FAULTS", "StoreError", "StoreRewoundError", "store_error"]


class StoreError(ClicktideError):
    """The counter store cannot be used.

    Parameters
    ----------
    message
        What, where and what to do.
    passing
        The same call may well succeed later: the server is away, loading or full.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class StoreRewoundError(StoreError):
    """The store knows less than it did: it was emptied, restored, or lost its last moments."""


STORE_FAULTS: tuple[type[Exception], ...] = (
    exceptions.RedisError,
    exceptions.RedisClusterException,  # no RedisError, whatever its name says
    exceptions.ChildDeadlockedError,
    OSError,
    UnicodeError,  # of a host whose name no resolver takes
)
"""All that a call to the store may raise: each becomes a :class:`StoreError`."""

_Verdict = tuple[str, str, bool]  # what happened, what to do, whether it may pass
_REACH = ("cannot be reached", "start it, or correct the URL", True)
_LATE = ("did not answer in time", "see whether it is overloaded", True)
_LOGIN = ("refused the login", "put user:password in the URL", False)
_SENTINEL_LOGIN = ("has Sentinels that refuse the login", "add ?sentinel_password=... to it", False)
_HOLES = ("has slots without a server", "mend the cluster", True)
_FULL = ("takes no writes", "see its log", True)
_NODE = ("is a node of a cluster", "give redis+cluster://HOST:PORT", False)
_NO_CLUSTER = ("is no cluster", "give redis://HOST:PORT", False)
_TLS = ("was not reached by TLS", "see that both sides speak it, and ssl_ca_certs=FILE", True)
_OLD = ("does not know a command", "Redis 6 or newer, or Valkey; no Sentinel itself", False)

# A part of the message, or else the first class that fits. redis-py wraps most errors of a cluster
# or of Sentinels in one class each, so their texts come first.
_TEXTS: dict[str, _Verdict] = {
    "CROSSSLOT": _NODE,
    "Cluster mode is not enabled": _NO_CLUSTER,
    "cluster support disabled": _NO_CLUSTER,
    "unknown command": _OLD,
    "auth:Auth": _SENTINEL_LOGIN,
    "CERTIFICATE_VERIFY": _TLS,
    "SSL": _TLS,
    "NOAUTH": _LOGIN,
    "WRONGPASS": _LOGIN,
    "invalid username-password": _LOGIN,
    "already authenticated": _LOGIN,
} | dict.fromkeys(("MISCONF", "OOM ", "TRYAGAIN", "NOREPLICAS", "EXECABORT"), _FULL)
_KINDS: list[tuple[type[Exception], _Verdict]] = [
    (exceptions.AuthenticationError, _LOGIN),
    (
        exceptions.NoPermissionError,
        ("refused permission", "allow this user ~* +@all -@admin", False),
    ),
    (exceptions.BusyLoadingError, ("is still loading its data", "wait", True)),
    (exceptions.ReadOnlyError, ("is a replica", "give the primary's URL", True)),
    (exceptions.OutOfMemoryError, ("is out of memory", "raise its maxmemory", True)),
    (exceptions.TimeoutError, _LATE),
    (TimeoutError, _LATE),
    (MasterNotFoundError, ("has no primary", "see the Sentinels, or correct its name", True)),
    (exceptions.ClusterDownError, _HOLES),
    (exceptions.SlotNotCoveredError, _HOLES),
    (exceptions.MaxConnectionsError, ("takes no more connections", "raise its maxclients", True)),
    (exceptions.InvalidResponse, ("is no Redis or Valkey", "correct the URL", False)),
    (exceptions.AskError, _NODE),  # MovedError too
    (exceptions.ClusterCrossSlotError, _NODE),
    (exceptions.ConnectionError, _REACH),
    (exceptions.RedisClusterException, _REACH),
    (UnicodeError, ("has a host that is no name", "correct the URL", False)),
    (OSError, _REACH),
]
_REFUSED: _Verdict = ("refused", "Redis 6 or newer, or Valkey", False)


def store_error(error: Exception, where: str) -> StoreError:
    """Say in Clicktide's words what the client raised.

    Examples
    --------
    >>> str(store_error(exceptions.MovedError("1 10.0.0.1:7000"), "redis://host:7000/0"))
    'redis://host:7000/0: the store is a node of a cluster: 1 10.0.0.1:7000. Fix: give \
redis+cluster://HOST:PORT'
    """
    text = public_text(re.sub(r" : <.*>", "", str(error))).rstrip(".")  # without a client's repr
    kind = next((verdict for kind, verdict in _KINDS if isinstance(error, kind)), _REFUSED)
    verdict = next((verdict for part, verdict in _TEXTS.items() if part in text), kind)
    what, fix, passing = verdict
    return StoreError(f"{where}: the store {what}: {text}. Fix: {fix}", passing=passing)
