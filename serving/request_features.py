"""Counter features of a request, in one round trip to the store, with what they fell back to.

**Blocking, not asyncio.** The event loop waits for the store: 40 µs on its socket, of which the
loop could use half for something else. Measured on the same MGET of 7 keys (2 cores, uvloop,
2026-11-21): a connection of redis-py's, blocking, 37 µs; a bare socket 24; a protocol of our own
on asyncio 28; ``redis.asyncio`` 111. What a protocol of our own would gain is less than the
logins, TLS and parsing that it would have to do again. A slow store is what makes blocking
dangerous: so each answer has a budget, and the first late one opens the breaker
(:mod:`serving.store_reader`). Requests that arrive together share a round trip
(:mod:`serving.scorer`).

**Falling back.** A counter that the store does not know is new, or expired. It takes its parent's
click rate, with no more views than the prior is worth (``prior_views``): what is expected of a new
ad is what its campaign's ads do. Without any known parent it has no views, which is the prior
itself. While the store is late or down, the counters that were read last stand in, as old as
``age_ms`` says, then parents and prior. A value that the event itself lacks stays missing.

The values given here are served, logged with the impression and learned on: a fallback is known to
the learner as what was served, so training equals serving.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.counters.names import COLUMN_PREFIX, value_names
from features.counters.stored import StoredCounters
from features.public_url import public_url
from features.spec import Spec
from serving.event_batch import SharedFields
from serving.feature_kernels import find_distinct
from serving.feature_layout import CounterLayout, EventKeys, Request
from serving.store_reader import Link, States, StoreReader, open_link

__all__ = ["DEFAULT_PARENTS", "FeatureSource", "Fetched"]

DEFAULT_PARENTS = ("ad>campaign>advertiser",)
_MOST_KNOWN = 20_000
Events = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The counter values of a request's events.

    Parameters
    ----------
    values
        float64 (events, values), as ``Counters.value_names`` names them; ``None``: the spec has
        no counters.
    age_ms
        Since the store gave them: 0, unless it is late or down; ``None``: it never has.
    fallbacks
        Of each event: ``store:late`` or ``store:down``, then such as ``ad>campaign`` or
        ``user>prior``: what was not known, and what stood in.
    """

    values: NDArray[np.float64] | None
    age_ms: float | None
    fallbacks: list[tuple[str, ...]]


class FeatureSource:
    """Reads the counters of events as they are now. For one thread.

    Parameters
    ----------
    spec
        The model's.
    url
        Of the store; ``None``: there is none, and everything falls back.
    budget_ms
        How long the store may take. Longer: fewer fallbacks, more of a request's time.
    clock
        Seconds that only rise.
    parents
        Chains of counters, such as ``ad>campaign>advertiser``; each is replaced by the next ones.
        Names that the spec does not count are passed over.
    connect
        Makes a connection to the store, in place of ``url``.

    Attributes
    ----------
    names
        Of the values, as served: ``counter:ad_views_24h`` and so on.

    Raises
    ------
    StoreError
        The URL is none.

    Examples
    --------
    >>> from features.spec import CounterSpec, SourceSpec
    >>> spec = Spec(name="x", source=SourceSpec(label="y"), fields=(),
    ...             counters=(CounterSpec(keys=("ad",), half_lives_h=(24,), prior_rate=0.1),))
    >>> source = FeatureSource(spec, None)
    >>> source.fetch([{"ad": "shoes"}], at_ms=0).fallbacks
    [('store:down', 'ad>prior')]
    """

    def __init__(
        self,
        spec: Spec,
        url: str | None,
        budget_ms: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        parents: Sequence[str] = DEFAULT_PARENTS,
        connect: Callable[[], Link] | None = None,
    ) -> None:
        self._clock = clock
        self.names = [COLUMN_PREFIX + n for one in spec.counters for n in value_names(one)]
        self._reader: StoreReader | None = None
        self._read_at: float | None = None
        self._known: dict[int, bytes | None] = {}
        self._known_before: dict[int, bytes | None] = {}
        if not spec.counters:
            return
        stored = StoredCounters(spec)
        self._keys = EventKeys(spec)
        self._layout = CounterLayout(spec, stored, self._keys.names, parents)
        self.fetch([{}], 0)  # compiles the kernels now, not at the first request
        if url is not None and connect is None:
            connect = open_link(url, stored.name, stored.plan, budget_ms)
        if connect is not None:
            self._reader = StoreReader(connect, public_url(url or "store"), clock)

    @property
    def problem(self) -> str | None:
        """What is wrong with the store, for people; ``None``: nothing."""
        return None if self._reader is None else self._reader.problem

    def fetch(self, events: Events, at_ms: int) -> Fetched:
        """Read the counters of one request's events.

        Parameters
        ----------
        events
            Raw fields.
        at_ms
            Time at which they are read.
        """
        return self.fetch_all([(events, at_ms)])[0]

    def fetch_all(self, requests: Sequence[Request]) -> list[Fetched]:
        """Read the counters of several requests in one round trip; see :meth:`fetch`."""
        if not self.names:
            return [Fetched(None, None, [()] * len(events)) for events, _ in requests]
        keys = self._keys_of(requests)
        if not len(keys):
            return [Fetched(np.empty((0, len(self.names))), 0.0, []) for _ in requests]
        distinct, place = _distinct(keys)
        states = None if self._reader is None else self._reader.read(distinct)
        head: tuple[str, ...] = ()
        if states is None:
            head = (f"store:{'down' if self._reader is None else self._reader.state}",)
            states = self._remembered(distinct)
        else:
            self._remember(distinct, states)
        values, taken = self._layout.read(states, place, keys, requests)
        fallbacks = self._layout.fallbacks(taken, head)
        return _parted(requests, values, self._age_ms(), fallbacks)

    def close(self) -> None:
        """Let go of the connection."""
        if self._reader is not None:
            self._reader.close()

    def _keys_of(self, requests: Sequence[Request]) -> NDArray[np.uint64]:
        if len(requests) == 1:
            return self._keys(requests[0][0])
        if any(isinstance(events, SharedFields) for events, _ in requests):
            return np.concatenate([self._keys(events) for events, _ in requests])
        return self._keys([event for events, _ in requests for event in events])

    def _age_ms(self) -> float | None:
        if self._read_at is None:
            return None
        return max(0.0, (self._clock() - self._read_at) * 1000.0) if self.problem else 0.0

    def _remember(self, keys: NDArray[np.uint64], states: States) -> None:
        """Keep what was read, for when the store is away: the last 20,000 counters or more."""
        if len(self._known) > _MOST_KNOWN:
            self._known_before, self._known = self._known, {}
        self._known.update(zip(keys.tolist(), states, strict=True))
        self._read_at = self._clock()

    def _remembered(self, keys: NDArray[np.uint64]) -> States:
        now, before = self._known, self._known_before
        return [now.get(key) or before.get(key) for key in keys.tolist()]


def _distinct(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Each key once, and where each is: the candidates of a request have most in common."""
    flat = keys.ravel()
    if len(keys) == 1:
        return flat, np.arange(len(flat)).reshape(keys.shape)
    distinct, place = np.empty(flat.size, np.uint64), np.empty(flat.size, np.int64)
    return distinct[: find_distinct(flat, distinct, place)], place.reshape(keys.shape)


def _parted(
    requests: Sequence[Request],
    values: NDArray[np.float64],
    age_ms: float | None,
    fallbacks: list[tuple[str, ...]],
) -> list[Fetched]:
    if len(requests) == 1:
        return [Fetched(values, age_ms, fallbacks)]
    out, at = [], 0
    for events, _ in requests:
        end = at + len(events)
        out.append(Fetched(values[at:end], age_ms, fallbacks[at:end]))
        at = end
    return out
