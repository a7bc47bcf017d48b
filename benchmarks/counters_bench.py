"""What counting a batch in the store costs beside plain HINCRBYFLOATs; medians of 7.

Run ``python -m benchmarks.counters_bench`` (starts an embedded Valkey in a temporary folder).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import redis

from features.counters.redis_format import Updates
from features.counters.redis_store import RedisCounters, open_counters
from tests.helpers.valkey_server import start_valkey

EVENTS, KEYS, ROUNDS = 1_000, 3, 7
DAY_MS = 86_400_000
START = 1_736_121_600_000


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        server = start_valkey(folder)
        try:
            with redis.Redis.from_url(server.url) as client:
                _compare(client, open_counters(server.url, {0: (DAY_MS,)}, "bench"))
        finally:
            server.stop()


def _compare(client: redis.Redis, store: RedisCounters) -> None:
    rng = np.random.default_rng(0)
    batches = [_batch(rng, i) for i in range(ROUNDS + 1)]
    store.apply(0, (EVENTS, 0), batches[0])  # guards, script, connections
    times = {
        f"apply {EVENTS} views of {KEYS} keys": _median(
            lambda i: store.apply(0, ((i + 2) * EVENTS, 0), batches[i + 1])
        ),
        f"{EVENTS} HINCRBYFLOAT": _median(lambda i: _plain(client, batches[i + 1], EVENTS)),
        f"{EVENTS * KEYS} HINCRBYFLOAT": _median(
            lambda i: _plain(client, batches[i + 1], EVENTS * KEYS)
        ),
        f"values of {EVENTS} keys": _median(
            lambda i: store.values(batches[i].keys[:EVENTS], 0, START)
        ),
    }
    for name, seconds in times.items():
        print(f"{name:28} {seconds * 1e3:8.2f} ms")
    names = [name for name in client.scan_iter("{bench:*}:*", count=1000)]
    sizes = [client.memory_usage(name) or 0 for name in names[:2_000]]
    print(f"MEMORY USAGE of a key        {statistics.mean(sizes):8.1f} bytes, one pane")


def _batch(rng: np.random.Generator, number: int) -> Updates:
    shown = np.repeat(np.arange(number * EVENTS, (number + 1) * EVENTS), KEYS)
    keys = rng.zipf(1.3, len(shown)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    none = np.full(len(shown), -1)
    return Updates(keys, np.zeros(len(shown), np.int64), START + shown, shown, none)


def _plain(client: redis.Redis, batch: Updates, count: int) -> None:
    pipe = client.pipeline(transaction=False)
    for key in batch.keys[:count].tolist():
        pipe.hincrbyfloat(f"plain:{key}", "views", 1.0)
    pipe.execute()


def _median(action: Callable[[int], object]) -> float:
    times = []
    for i in range(ROUNDS):
        start = time.perf_counter()
        action(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
