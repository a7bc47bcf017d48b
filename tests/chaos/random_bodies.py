"""Random bodies at every POST route: each is answered, by 2xx or 4xx, and memory stays flat.

    python tests/chaos/random_bodies.py --bodies 10000

Bodies are made from the examples of the description: values replaced by odd ones, keys dropped,
added and doubled, bytes flipped, cut and repeated, nested too deeply, too many, too large.
"""

import argparse
import asyncio
import collections
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import httpx

from clicktide.serving_worker import state_of
from clicktide.stream_folder import StreamFolder
from features.spec_file import load_spec
from learning import ClickLearner
from learning.live import create_live
from serving.app import build_app

ODD = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**70), 10**40, 0.5, -0.0, 1e308,
    "", "a", "\x00", "\x1f", "\ud800", "é" * 50, "x" * 3000, "NaN", "1e999", "null", "2024-01-01",
    [], {}, [[]], {"a": {}}, [None], [1, "a", None, True], ["x"] * 500, {"": ""}, float("nan"),
    float("inf"), -float("inf"), 1_736_121_600_000,
]  # fmt: skip
KEYS = ["fields", "impressions", "timestamp", "counters", "ad", "user", "bid", "context", "log",
        "candidates", "explore", "seed", "slots", "kind", "clicks", "v", "type", "", "x" * 200,
        "counter:ad_views_1h", "interests", "impression_id", "\x00", "__class__"]  # fmt: skip


def main():
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, grown = asyncio.run(run(Path(folder), given.bodies, given.seed))
    print(
        f"{sum(counts.values()):,} answers: {dict(sorted(counts.items()))}; memory +{grown:.1f} MB"
    )
    sys.exit(any(status >= 500 for status in counts))


async def run(folder, bodies, seed):
    """Send them; gives how often each status came, and MB grown in the last four fifths."""
    spec = load_spec("market")
    learner = ClickLearner(spec)
    create_live(folder / "live.weights", learner, time.time_ns() // 1_000_000)
    limits = ("access_log=none", "max_body_bytes=100000", "max_candidates=50")
    changes = tuple(f"serve.{one}" for one in limits)
    stream = StreamFolder(folder, str(folder / "log.db"), "market", changes=changes)
    state = state_of(stream, stream.serve_settings(), stream.stream_settings())
    counts = collections.Counter()
    rng, before = random.Random(seed), 0.0
    try:
        app = build_app(state)
        starts = list(examples(app.openapi()))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for i in range(bodies):
                if i == bodies // 5:
                    before = peak_mb()
                path, body = rng.choice(starts)
                answer = await client.post(path, content=spoiled(rng, body))
                counts[answer.status_code] += 1
                if answer.status_code >= 500:
                    print(path, answer.text[:300])
    finally:
        state.close()
    return counts, peak_mb() - before


def peak_mb():
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def examples(described):
    """Path and body of every example."""
    for path, methods in described["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            yield path, example["value"]


def spoiled(rng, body):
    """A body with some things wrong, or none."""
    body = json.loads(json.dumps(body))
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        body = changed(rng, body)
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.1:
        at = rng.randrange(len(raw) + 1)
        return raw[:at] + rng.randbytes(rng.randrange(4)) + raw[at + rng.randrange(3) :]
    if kind < 0.15:
        return raw[: rng.randrange(len(raw) + 1)]
    if kind < 0.17:
        return rng.randbytes(rng.randrange(200))
    if kind < 0.19:
        deep = rng.randrange(3000)
        return raw[:-1] + b', "deep": ' + b"[" * deep + b"]" * deep + b"}"
    if kind < 0.20:
        return raw[:-1] + b', "large": "' + b"x" * rng.randrange(200_000) + b'"}'
    return raw


def changed(rng, at):
    """One thing replaced, dropped, added or repeated, somewhere inside."""
    if isinstance(at, dict) and at and rng.random() < 0.85:
        key = rng.choice(list(at))
        kind = rng.random()
        if kind < 0.6:
            return {**at, key: changed(rng, at[key])}
        if kind < 0.8:
            return {**at, rng.choice(KEYS): rng.choice(ODD)}
        return {k: v for k, v in at.items() if k != key}
    if isinstance(at, list) and at and rng.random() < 0.85:
        i = rng.randrange(len(at))
        if rng.random() < 0.2:
            return at * rng.choice([0, 2, 40])
        return [*at[:i], changed(rng, at[i]), *at[i + 1 :]]
    return rng.choice(ODD)


if __name__ == "__main__":
    main()
