"""Errors of the counter store: what Redis said, where, and what to do."""

from __future__ import annotations

from typing import Any

from redis import exceptions

from features.errors import ClicktideError

__all__ = ["StoreError", "StoreRewoundError", "store_error", "store_url"]


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


# The first class that fits: what happened, what to do, whether it may pass.
_KNOWN: list[tuple[type[Exception], str, str, bool]] = [
    (exceptions.AuthenticationError, "refused the login", "put user:password in the URL", False),
    (exceptions.NoPermissionError, "refused permission", "allow this user ~* +@all -@admin", False),
    (exceptions.BusyLoadingError, "is still loading its data", "wait", True),
    (exceptions.ReadOnlyError, "is a replica", "give the primary's URL", True),
    (exceptions.OutOfMemoryError, "is out of memory", "raise its maxmemory", True),
    (exceptions.TimeoutError, "did not answer in time", "see whether it is overloaded", True),
    (exceptions.ClusterDownError, "has slots without a server", "mend the cluster", True),
    (exceptions.ConnectionError, "cannot be reached", "start it, or correct the URL", True),
    (exceptions.RedisClusterException, "cannot be reached", "start it, or correct the URL", True),
    (OSError, "cannot be reached", "start it, or correct the URL", True),
]


def store_error(error: Exception, where: str) -> StoreError:
    """Say in Clicktide's words what the client raised."""
    text = str(error)
    for kind, what, fix, passing in _KNOWN:
        if isinstance(error, kind):
            return StoreError(f"{where}: the store {what}: {text}. Fix: {fix}", passing=passing)
    if text.startswith(("MISCONF", "OOM", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS")):
        return StoreError(
            f"{where}: the store takes no writes: {text}. Fix: see its log", passing=True
        )
    return StoreError(f"{where}: the store refused: {text}. Fix: Redis 6 or newer, or Valkey")


def store_url(client: Any) -> str:
    """Give the URL of a client without its password.

    Examples
    --------
    >>> import redis
    >>> store_url(redis.Redis.from_url("redis://me:secret@example.com:6380/2"))
    'redis://example.com:6380/2'
    """
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        nodes = [f"{node.host}:{node.port}" for node in client.get_nodes()]
        return f"redis+cluster://{','.join(nodes)}"
    about = pool.connection_kwargs
    if "path" in about:
        return f"unix://{about['path']}"
    return (
        f"redis://{about.get('host', 'localhost')}:{about.get('port', 6379)}/{about.get('db') or 0}"
    )
