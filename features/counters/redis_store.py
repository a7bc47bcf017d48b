"""Counters in Redis or Valkey: each update counts once, whatever is killed and replayed.

The updates of a partition come from two topics that are read side by side. A view is known by the
offset of its impression, a click by that and its own; both are functions of the log, so any reader
finds the same ones. Each shard keeps, in the same atomic step as its sums, how far the two topics
had been read (its *guard*): what lies within the guard is in, all else is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from features.counters.panes import PANES
from features.counters.redis_clients import (
    APPLY,
    RESUME,
    Call,
    RedisLink,
    StoreClient,
    store_client,
)
from features.counters.redis_format import (
    Floats,
    Ints,
    Keys,
    Plan,
    Updates,
    faded,
    pack_rows,
    shard_of,
    tags_of,
)
from features.counters.store_errors import StoreError, StoreRewoundError
from features.public_url import public_url

__all__ = ["RedisCounters", "open_counters"]

Offsets = tuple[int, int]
GRACE_MS = 7 * 86_400_000
TRIES = 20


def open_counters(
    url: str, plan: Mapping[int, Sequence[int]], name: str, *, timeout_s: float = 5.0
) -> RedisCounters:
    """Open the counters at a URL; nothing is sent yet.

    Parameters
    ----------
    url
        See :mod:`features.counters.redis_clients`.
    plan
        Half-lives in ms by the counter's number.
    name
        What sets these counters apart from others in the same store.
    timeout_s
        How long to wait for an answer.

    Raises
    ------
    StoreError
        It is no store's URL.
    """
    client = store_client(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2),  # who calls has patience enough
    )
    return RedisCounters(client, plan, name, where=public_url(url))


class RedisCounters(RedisLink):
    """Counters of one name in a store. For one thread.

    Parameters
    ----------
    client
        Without ``decode_responses``.
    plan
        Half-lives in ms by the counter's number. Another plan needs another name.
    name
        Such as the identity of the spec's counters.
    grace_ms
        How much longer than it can count a counter is kept, by the server's clock: more than any
        pause of the counting, so no less than the log's retention. None: for ever.
    where
        What messages call the store: its URL without secrets.
    """

    def __init__(
        self,
        client: StoreClient,
        plan: Mapping[int, Sequence[int]],
        name: str,
        grace_ms: int | None = GRACE_MS,
        where: str = "store",
    ) -> None:
        if not name or set(name) & set("{} \n"):
            raise ValueError(f"name {name!r}. Fix: no braces or spaces, and not empty")
        super().__init__(client, where)
        self.plan, self.name = Plan(plan), name
        self._tags = tags_of(name)
        lives = {} if grace_ms is None else self.plan.lives_ms(grace_ms)
        self._lives = " ".join(f"{counter}:{life}" for counter, life in lives.items())
        self._guards: dict[int, Ints] = {}
        self._held: dict[int, Updates] = {}
        self._resumes: dict[int, Offsets] = {}

    def ping(self) -> None:
        """Raise :class:`StoreError` unless the store answers."""
        self._send([("GET", self._tags[0] + b"guard:0")])

    def apply(self, partition: int, read_to: Offsets, updates: Updates) -> bool:
        """Count what is not in yet. After an error call it again with the same arguments.

        Parameters
        ----------
        partition
            Of both topics.
        read_to
            Next offsets to read of impressions and of clicks: all updates that lie before both,
            from the resume point on, have been given by now.
        updates
            Those since the last call that returned (or since the resume point).

        Returns
        -------
        bool
            Whether all of it is in. If not, another reader has been further in one topic and less
            far in the other; the rest is kept here until ``read_to`` has passed where that was.

        Raises
        ------
        StoreRewoundError
            The store has lost what was in. Start again from :meth:`resume_point`.
        """
        self._check(read_to, updates)
        waiting = self._held[partition].plus(updates) if partition in self._held else updates
        if partition not in self._guards:
            self._guards[partition] = self._load_guards(partition)
        guards = self._guards[partition]
        for _ in range(TRIES):
            shard = shard_of(waiting.keys)
            new = ~_within(waiting, guards[shard])
            waiting, shard = waiting.where(new), shard[new]
            reached = (guards[:, 0] <= read_to[0]) & (guards[:, 1] <= read_to[1])
            ready = reached[shard]
            if not ready.any():
                break
            self._apply_once(partition, read_to, waiting.where(ready))
        else:
            raise StoreError(
                f"{self.where}: partition {partition} is written by others all the time. Fix: run"
                " one count process to a partition",
                passing=True,
            )
        self._held[partition] = waiting
        return not len(waiting.keys)

    def _check(self, read_to: Offsets, updates: Updates) -> None:
        beyond = (updates.impressions >= read_to[0]) | (updates.clicks >= read_to[1])
        if beyond.any() or (updates.impressions < 0).any():
            raise ValueError(f"an update's offset is not before read_to {read_to}")
        if not np.isin(updates.counters, list(self.plan.half_lives_ms)).all():
            raise ValueError("an update's counter is not in the plan")

    def _load_guards(self, partition: int) -> Ints:
        found = self._send([("GET", tag + b"guard:%d" % partition) for tag in self._tags])
        return np.array([_offsets(guard or b"0 0") for guard in found], dtype=np.int64)

    def _apply_once(self, partition: int, read_to: Offsets, updates: Updates) -> None:
        """Send each shard its sums; take over the guards that the store has then."""
        guards, rows = self._guards[partition], pack_rows(updates, self.plan)
        shard = shard_of(rows["key"])
        touched, first = np.unique(shard, return_index=True)
        calls: list[Call] = []
        for number, part in zip(touched, np.split(rows, first[1:]), strict=True):
            tag, now = self._tags[number], _text(guards[number])
            key = tag + b"guard:%d" % partition
            sums = part.tobytes()
            calls.append((key, now, _text(read_to), tag + b":", self._lives, PANES, sums))
        for number, answer in zip(touched, self._scripts(APPLY, calls), strict=True):
            self._take(partition, number, read_to if answer == 1 else _offsets(answer))

    def _take(self, partition: int, shard: int, guard: Offsets) -> None:
        known = self._guards[partition]
        if (known[shard] > guard).any():
            raise self._rewound(partition, f"shard {shard}: {guard} < {known[shard].tolist()}")
        known[shard] = guard

    def _rewound(self, partition: int, detail: str) -> StoreRewoundError:
        for known in (self._guards, self._held, self._resumes):
            known.pop(partition, None)
        return StoreRewoundError(
            f"{self.where}: {self.name}, partition {partition}: the store has gone back"
            f" ({detail}). Fix: start again from its resume point, as a restart does"
        )

    def save_resume_point(self, partition: int, read_to: Offsets, text: str) -> bool:
        """Keep where a restart goes on, if all before it is in.

        Parameters
        ----------
        partition
            Of both topics.
        read_to
            As of the last :meth:`apply`.
        text
            Whatever the reader needs to go on from there.

        Returns
        -------
        bool
            Whether it is kept: not while something waits, nor behind another reader's.
        """
        if partition in self._held and len(self._held[partition].keys):
            return False
        known = self._resumes.get(partition, (0, 0))
        call = (self._resume_key(partition), *known, *read_to, text)
        (answer,) = self._scripts(RESUME, [call])
        if answer < 0:
            raise self._rewound(partition, f"its resume point lies before {known}")
        if answer:
            self._resumes[partition] = read_to
        return bool(answer)

    def resume_point(self, partition: int) -> str | None:
        """Give the text that was kept last, and forget what waits to be applied."""
        self._held.pop(partition, None)
        self._guards.pop(partition, None)
        (found,) = self._send([("GET", self._resume_key(partition))])
        if found is None:
            self._resumes.pop(partition, None)
            return None
        offsets, _, text = found.partition(b"\n")
        self._resumes[partition] = _offsets(offsets)
        return str(text, "utf-8")

    def _resume_key(self, partition: int) -> bytes:
        return f"{{{self.name}}}resume:{partition}".encode()

    def values(self, keys: Keys, counters: Ints | int, at_ms: Ints | int) -> tuple[Floats, Floats]:
        """Give views and clicks as of a time, in one round trip; zero if unknown.

        Parameters
        ----------
        keys
            Counters to read.
        counters
            Number in the plan, of all of them or of each.
        at_ms
            When, for all or for each.

        Returns
        -------
        tuple
            Views and clicks, a row to a key and a column to a half-life; with counters of several
            lengths, zeros fill the shorter rows.
        """
        halves = self.plan.table[np.broadcast_to(np.asarray(counters), keys.shape)]
        if isinstance(counters, int):
            halves = halves[:, : len(self.plan.half_lives_ms[counters])]
        return faded(self.states(keys), halves, np.broadcast_to(np.asarray(at_ms), keys.shape))

    def states(self, keys: Keys) -> list[bytes]:
        """Give states as they are stored: one MGET to a shard of a cluster, else one for all."""
        data, shard = keys.astype("<u8").tobytes(), shard_of(keys)
        tags = [tag + b":" for tag in self._tags]
        names = [tags[s] + data[8 * i : 8 * i + 8] for i, s in enumerate(shard.tolist())]
        if not names:
            return []
        if not self._cluster:
            return [state or b"" for state in self._send([("MGET", *names)])[0]]
        order = np.argsort(shard, kind="stable")
        ends = np.flatnonzero(np.diff(shard[order])) + 1
        groups = [[names[i] for i in group] for group in np.split(order, ends)]
        found = [state for answer in self._send([("MGET", *g) for g in groups]) for state in answer]
        states = [b""] * len(names)
        for i, state in zip(order.tolist(), found, strict=True):
            states[i] = state or b""
        return states


def _within(updates: Updates, guards: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return (updates.impressions < guards[:, 0]) & (updates.clicks < guards[:, 1])


def _text(guard: Offsets | Ints) -> str:
    return f"{guard[0]} {guard[1]}"


def _offsets(guard: bytes) -> Offsets:
    impressions, clicks = guard.split()
    return int(impressions), int(clicks)
