"""The store as serving reads it: one round trip within a budget, and never a wait for a dead one.

A request that is late or fails opens the breaker and drops the connection, whose answer may still
come; a thread makes the next one, aside from the requests, and closes the breaker once the store
answers a probe within the budget. So a dead store costs one budget and then nothing.

The thread is patient where no request pays for it: the connection, its handshake and a first read
may take ``_PATIENCE_S``, and only the probe behind them must keep the budget. Else a busy machine,
on which a handshake of several round trips seldom keeps it, would be without its store for seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import redis
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from features.counters.redis_clients import is_cluster_url, store_client
from features.counters.redis_format import SHARDS, tags_of
from features.counters.redis_store import open_counters
from features.counters.store_errors import STORE_FAULTS, StoreError, store_error
from features.errors import ClicktideError
from serving.feature_kernels import pack_mget

__all__ = ["Breaker", "Link", "StoreReader", "open_link"]

_PATIENCE_S, _NAP_S = 1.0, 0.01
_PROBE = np.ones(1, np.uint64)
_FAULTS: tuple[type[Exception], ...] = (*STORE_FAULTS, ClicktideError)
States = Sequence[bytes | None]


class Link(Protocol):
    """A connection to the store."""

    def read(self, keys: NDArray[np.uint64]) -> States:
        """The states of counters, ``None`` or empty where there is none."""

    def close(self) -> None:
        """Let go of it."""


class _OneServer:
    """A connection of redis-py's, without its client: that takes five times as long."""

    def __init__(self, url: str, name: str, budget_s: float) -> None:
        self._wait_s = max(budget_s, _PATIENCE_S)
        options: dict[str, Any] = {
            "socket_timeout": self._wait_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        pool: Any = cast(redis.Redis, store_client(url, **options)).connection_pool
        self._connection = pool.make_connection()
        self._connection.connect()
        heads = [b"$%d\r\n%s" % (len(t) + 9, t + b":") for t in tags_of(name)]
        self._lengths = np.array([len(head) for head in heads])
        self._heads = np.zeros((SHARDS, int(self._lengths.max())), np.uint8)
        for row, head in zip(self._heads, heads, strict=True):
            row[: len(head)] = np.frombuffer(head, np.uint8)
        self._room = np.empty(0, np.uint8)
        self.read(_PROBE)
        self._wait_s = budget_s

    def read(self, keys: NDArray[np.uint64]) -> States:
        most = len(keys) * (self._heads.shape[1] + 10)
        if len(self._room) < most:
            self._room = np.empty(most, np.uint8)
        size = pack_mget(keys, self._heads, self._lengths, self._room)
        head = b"*%d\r\n$4\r\nMGET\r\n" % (len(keys) + 1)
        self._connection.send_packed_command([head + self._room[:size].tobytes()], False)
        states: States = self._connection.read_response(timeout=self._wait_s)
        return states

    def close(self) -> None:
        self._connection.disconnect()


class _Cluster:
    """A cluster, through redis-py's client: a command to each slot's node."""

    def __init__(
        self, url: str, name: str, plan: Mapping[int, Sequence[int]], budget_s: float
    ) -> None:
        self._store = open_counters(url, plan, name, timeout_s=budget_s)

    def read(self, keys: NDArray[np.uint64]) -> States:
        return self._store.states(keys)

    def close(self) -> None:
        self._store.close()


def open_link(
    url: str, name: str, plan: Mapping[int, Sequence[int]], budget_ms: float
) -> Callable[[], Link]:
    """Give what connects to the store at a URL; see ``docs/counters.md`` for what it reads there.

    Parameters
    ----------
    url
        As for :func:`features.counters.redis_store.open_counters`.
    name, plan
        Of the counters.
    budget_ms
        How long an answer may take.

    Raises
    ------
    StoreError
        It is no store's URL.
    """
    budget_s = budget_ms / 1000.0
    open_counters(url, plan, name)  # sends nothing; a wrong URL is told now
    if is_cluster_url(url):
        return lambda: _Cluster(url, name, plan, budget_s)
    pack_mget(_PROBE, np.zeros((1, 1), np.uint8), np.zeros(1, np.int64), np.zeros(10, np.uint8))
    return lambda: _OneServer(url, name, budget_s)


class StoreReader:
    """Reads counters' states, or says at once that there are none to be had. For one thread.

    Parameters
    ----------
    connect
        Makes a connection; such as :func:`open_link` gives.
    where
        The store's URL without its password.
    clock
        Seconds that only rise.

    Attributes
    ----------
    breaker
        When to try again.
    state
        ``ok``, ``late`` (the last answer did not come within the budget), ``down``.
    problem
        What went wrong last; ``None`` while all is well.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        where: str,
        clock: Callable[[], float],
    ) -> None:
        self._connect, self.where, self._clock = connect, where, clock
        self.breaker = Breaker()
        self.state = "down"
        self.problem: str | None = None
        self._link: Link | None = None
        self._closed = threading.Event()
        if not self._probe():
            self._mend_aside()

    def read(self, keys: NDArray[np.uint64]) -> States | None:
        """States of counters, in one round trip; ``None`` if the store is late or down."""
        link = self._link
        if link is None:
            return None
        try:
            states = link.read(keys)
        except _FAULTS as error:
            self._failed(error)
            self._mend_aside()
            return None
        if self.problem is not None:
            self.breaker.passed()
            self.problem, self.state = None, "ok"
        return states

    def close(self) -> None:
        """Let go of the connection."""
        self._closed.set()
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _failed(self, error: Exception) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
        cause = error.__cause__ if isinstance(error, StoreError) else error
        self.state = "late" if isinstance(cause, (RedisTimeoutError, TimeoutError)) else "down"
        known = error if isinstance(error, ClicktideError) else store_error(error, self.where)
        self.problem = str(known)
        self.breaker.failed(self._clock() * 1000.0, late=self.state == "late")

    def _probe(self) -> bool:
        """Connect, and ask for one counter."""
        link: Link | None = None
        try:
            link = self._connect()
            link.read(_PROBE)
        except _FAULTS as error:
            if link is not None:
                link.close()
            self._failed(error)
            return False
        self.breaker.mended()
        if self.problem is None:
            self.state = "ok"
        self._link = link
        return True

    def _mend_aside(self) -> None:
        threading.Thread(target=self._mend, name="store-probe", daemon=True).start()

    def _mend(self) -> None:
        while not self._closed.is_set():
            if self.breaker.may_probe(self._clock() * 1000.0) and self._probe():
                break
            self._closed.wait(_NAP_S)
        if self._closed.is_set():
            self.close()


class Breaker:
    """Opens at a failure and stays open for longer, the more failures follow each other.

    Parameters
    ----------
    first_ms, most_ms
        How long it stays open after a second failure in a row, and at the most; it doubles in
        between. After the first failure, a new try may be made at once. Longer: a sick store is
        spared more, and its return is noticed later.
    late_ms
        The most after an answer that was only late: a busy machine's store is back in a moment.

    Examples
    --------
    >>> breaker = Breaker(first_ms=50, most_ms=1000)
    >>> breaker.failed(now_ms=0), breaker.failed(now_ms=10)
    (None, None)
    >>> breaker.closed, breaker.may_probe(59), breaker.may_probe(60)
    (False, False, True)
    >>> breaker.mended()
    >>> breaker.closed
    True
    """

    def __init__(
        self, first_ms: float = 50.0, most_ms: float = 1000.0, late_ms: float = 100.0
    ) -> None:
        self.first_ms, self.most_ms, self.late_ms = first_ms, most_ms, late_ms
        self.failures = 0
        self.closed = True
        self._probe_at = 0.0

    def failed(self, now_ms: float, *, late: bool = False) -> None:
        """Note that a request or a probe failed, or came late."""
        self.failures += 1
        self.closed = False
        doubled = self.first_ms * 2.0 ** min(self.failures - 2, 30)
        most = self.late_ms if late else self.most_ms
        self._probe_at = now_ms + (0.0 if self.failures < 2 else min(doubled, most))

    def may_probe(self, now_ms: float) -> bool:
        """Whether it is time to see if the store answers again."""
        return not self.closed and now_ms >= self._probe_at

    def mended(self) -> None:
        """A probe was answered in time: requests may pass; they prove the rest."""
        self.closed = True

    def passed(self) -> None:
        """A request was answered in time: the failures before it are forgotten."""
        self.failures = 0
