"""Clients of Redis and Valkey by URL (one server, a cluster, Sentinels' primary), and their calls.

========================================================= ======================================
``redis://[user:password@]host:6379/0``                   one server
``unix:///path/of/socket``                                one server of this machine
``redis+cluster://host:6379,host2:6379``                  a cluster, by some of its nodes
``redis+sentinel://host:26379,host2:26379/primary/0``     the primary of that name, database 0
========================================================= ======================================

``rediss`` in place of ``redis`` is TLS. Settings of redis-py's connections follow a ``?``:
``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``password`` and so on; and the Sentinels' own
``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, cast

import redis
from redis.cluster import ClusterNode
from redis.connection import SSLConnection, parse_url
from redis.exceptions import NoScriptError
from redis.sentinel import Sentinel

from features.counters.store_errors import STORE_FAULTS, StoreError, store_error
from features.public_url import public_url

__all__ = [
    "APPLY",
    "RESUME",
    "Call",
    "ClusterClient",
    "RedisLink",
    "Script",
    "StoreClient",
    "is_cluster_url",
    "store_client",
]

_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}
_WAITS = ("socket_timeout", "socket_connect_timeout", "retry")
_FORMS = (
    "redis://host:6379/0, unix:///path, redis+cluster://host:6379 or "
    "redis+sentinel://host:26379/primary/0; rediss for TLS"
)


class ClusterClient:
    """A cluster's client, made at the first call: redis-py's own asks the cluster for its slots.

    Parameters
    ----------
    connect
        Makes redis-py's.
    """

    def __init__(self, connect: Callable[[], redis.RedisCluster]) -> None:
        self._connect = connect
        self._client: redis.RedisCluster | None = None

    def pipeline(self, transaction: bool = False) -> Any:
        """Commands for several nodes, sent together."""
        if self._client is None:
            self._client = self._connect()
        client: Any = self._client
        return client.pipeline(transaction=transaction)

    def close(self) -> None:
        """Let go of all connections."""
        if self._client is not None:
            self._client.close()


StoreClient = redis.Redis | redis.RedisCluster | ClusterClient


def is_cluster_url(url: str) -> bool:
    """Whether a URL is that of a cluster."""
    return url.partition("://")[0].endswith("+cluster")


def store_client(url: str, **options: Any) -> redis.Redis | ClusterClient:
    """Give a client of the store at a URL; nothing is sent yet.

    Parameters
    ----------
    url
        As above.
    options
        For redis-py's connections, over what the URL says.

    Raises
    ------
    StoreError
        It is no such URL.

    Examples
    --------
    >>> store_client("redis+sentinel://a:26379,b:26379/ads/1")
    <redis.client.Redis(<redis.sentinel.SentinelConnectionPool(service=ads(master))>)>
    """
    try:
        return _client(url, options)
    except _UrlError as error:
        problem = str(error)
    except (ValueError, TypeError, redis.RedisError) as error:
        problem = _problem(url, str(error))
    raise StoreError(f"{public_url(url)}: not a store's URL: {problem}. Fix: {_FORMS}")


class _UrlError(ValueError):
    """A URL that parses, and yet is none of ours."""


def _problem(url: str, said: str) -> str:
    """What is wrong, where the parser's own words cannot hold a part of a password."""
    if said.startswith(("Invalid value for", "Invalid SSL", "protocol must", "AbstractConnection")):
        return said.rstrip(".").removeprefix("AbstractConnection.__init__() got an ")
    if "@" in url:
        return "in a user or password, / is %2F, ? is %3F, # is %23 and @ is %40"
    return "its host, port or database cannot be read"


def _client(url: str, options: dict[str, Any]) -> redis.Redis | ClusterClient:
    scheme, _, rest = url.partition("://")
    base, plus, mode = scheme.partition("+")
    if (plus and not mode) or mode not in _PORTS or (mode and base not in ("redis", "rediss")):
        raise _UrlError(f"unknown scheme {scheme[:20]!r}" if rest else "no scheme")
    if not mode:
        client = redis.Redis.from_url(url, **options)
        client.connection_pool.make_connection()  # a setting that there is not is told now
        return client
    nodes, path, given = _nodes(base, rest, _PORTS[mode])
    given |= options
    _check_settings(given)
    if mode == "cluster":
        if path.strip("/0"):
            raise _UrlError("a cluster has database 0 alone")
        return _cluster(nodes, given)
    return _primary(nodes, path, given)


def _nodes(base: str, rest: str, port: int) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Hosts with their ports, what follows them, and redis-py's settings of a connection."""
    head, mark, query = rest.partition("?")
    users, at, places = head.rpartition("@")
    hosts, _, path = places.partition("/")
    parse: Any = parse_url
    each = [parse(f"{base}://{users}{at}{host}/{mark}{query}") for host in hosts.split(",")]
    given = dict(each[0])
    if given.pop("connection_class", None) is SSLConnection:
        given["ssl"] = True
    for key in ("host", "port"):
        given.pop(key, None)
    nodes = [(one.get("host", "localhost"), int(one.get("port", port))) for one in each]
    return nodes, path, given


def _check_settings(given: dict[str, Any]) -> None:
    """Refuse a setting that there is not, before anything connects."""
    known = {k: v for k, v in given.items() if k not in ("ssl", "db") and "sentinel_" not in k}
    kind = SSLConnection if given.get("ssl") else redis.Connection
    kind(**known)


def _cluster(nodes: list[tuple[str, int]], given: dict[str, Any]) -> ClusterClient:
    if given.pop("db", 0):
        raise _UrlError("a cluster has database 0 alone")

    def connect() -> redis.RedisCluster:
        node: Any = ClusterNode  # redis-py has no types here
        first = [node(host, port) for host, port in nodes]
        return redis.RedisCluster(startup_nodes=first, **given)

    return ClusterClient(connect)


def _primary(nodes: list[tuple[str, int]], path: str, given: dict[str, Any]) -> redis.Redis:
    name, _, db = path.strip("/").partition("/")
    if not name:
        raise _UrlError("after a Sentinel comes / and the name of a primary")
    if db:
        given["db"] = int(db)
    login = {
        key: given.pop(f"sentinel_{key}", None) for key in ("username", "password")
    }  # they have users of their own
    tls = {key: value for key, value in given.items() if key.startswith("ssl")}
    waits = {key: given[key] for key in _WAITS if key in given}
    sentinels: Any = Sentinel
    found = sentinels(nodes, sentinel_kwargs=login | tls | waits, **given).master_for(name)
    return cast(redis.Redis, found)


Call = tuple[Any, ...]


class Script:
    """A Lua script, sent by its digest, and in full to a server that does not know it."""

    def __init__(self, file: str) -> None:
        self.text = (files("features.counters") / file).read_bytes()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


APPLY, RESUME = Script("apply.lua"), Script("resume.lua")


class RedisLink:
    """A client, and the ways in which the counters use it.

    Parameters
    ----------
    client
        Without ``decode_responses``.
    where
        What messages call it.
    """

    def __init__(self, client: StoreClient, where: str) -> None:
        if not isinstance(client, ClusterClient) and client.get_encoder().decode_responses:
            raise ValueError("decode_responses is on. Fix: make the client without it")
        self._client: Any = client
        self._cluster = not isinstance(client, redis.Redis)
        self.where = where

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        answers = self._pipeline([("EVALSHA", script.sha, 1, *call) for call in calls])
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        again = self._pipeline([("EVAL", script.text, 1, *calls[i]) for i in unknown])
        for i, answer in zip(unknown, again, strict=True):
            answers[i] = answer
        return self._raised(answers)

    def _send(self, calls: Iterable[Call]) -> list[Any]:
        return self._raised(self._pipeline(list(calls)))

    def _pipeline(self, calls: Sequence[Call]) -> list[Any]:
        """One round trip; an error of a single call comes as its answer."""
        if not calls:
            return []
        try:
            pipe = self._client.pipeline(transaction=False)
            for call in calls:
                # redis-py would ask for each script which of its words are keys: the first node,
                # for ever, also when it is dead
                script = self._cluster and call[0] in ("EVAL", "EVALSHA")
                node = {"target_nodes": pipe.get_node_from_key(call[3])} if script else {}
                pipe.execute_command(*call, **node)
            return list(pipe.execute(raise_on_error=False))
        except STORE_FAULTS as error:
            raise store_error(error, self.where) from error

    def _raised(self, answers: list[Any]) -> list[Any]:
        for answer in answers:
            if isinstance(answer, Exception):
                raise store_error(answer, self.where) from answer
        return answers
