"""A steady HTTP load from a thread, every answer noted; nothing is ever sent again."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass

import httpx

PREDICT, RANK, EVENT = "predict", "rank", "event"


@dataclass(slots=True)
class Answer:
    """One request and what became of it; status 0: no answer."""

    at: float
    kind: str
    status: int
    ms: float
    version: str = ""
    said: str = ""


def fields(rng):
    ad = rng.randrange(40)
    return {
        "user": f"u{rng.randrange(2000):08d}", "ad": f"ad{ad:012d}", "campaign": f"c{ad % 9}",
        "advertiser": f"v{ad % 4}", "site": f"site-{rng.randrange(20):03d}", "device": "phone",
        "interests": ["sport", "music", "cars"][: rng.randrange(4)],
    }  # fmt: skip


class Load:
    """So many requests a second, each sent when it is due, however slow the others are.

    Most are predictions, some rankings; one in five brings an impression for the log. `accepted`
    has the ids of those that were acknowledged. Several clients, each with connections of its own
    that it keeps, so that every worker has some. Counts go by `mark`: what was sent after it.
    """

    def __init__(self, url, rate, clients=12, seed=0):
        self.url, self.rate, self.clients = url, rate, clients
        self.answers, self.accepted, self.lacked = [], [], []
        self.rng = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._over.set()
        self._thread.join(60)

    # --- what came of it --------------------------------------------------------------------

    def since(self, mark, kinds=(PREDICT, RANK, EVENT)):
        return [a for a in list(self.answers) if a.at >= mark and a.kind in kinds]

    def failed(self, mark=0.0):
        """What a client would call an error: no answer, or no 200; a refused event is told so."""
        return [
            a for a in self.since(mark)
            if a.status != 200 and not (a.kind == EVENT and a.status == 503)
        ]  # fmt: skip

    def refused(self, mark=0.0):
        return [a for a in self.since(mark, [EVENT]) if a.status == 503]

    def said(self, mark=0.0):
        """What replies lacked, and how often."""
        return Counter(said for at, said in list(self.lacked) if at >= mark)

    # --- the load ---------------------------------------------------------------------------

    async def _run(self):
        limits = httpx.Limits(keepalive_expiry=60)
        tls = httpx.create_ssl_context()  # slow to make, and one will do
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(self.clients):
                one = httpx.AsyncClient(base_url=self.url, timeout=20, limits=limits, verify=tls)
                clients.append(await stack.enter_async_context(one))
            under_way, due = set(), time.monotonic()
            for client in itertools.cycle(clients):
                if self._over.is_set():
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += 1 / self.rate
                task = asyncio.create_task(self._one(client))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)

    async def _one(self, client):
        kind = self.rng.choices([PREDICT, RANK, EVENT], [7, 1, 2])[0]
        path, body = self._request(kind)
        at = time.monotonic()
        try:
            reply = await client.post(path, json=body)
        except httpx.HTTPError as error:
            self._note(at, kind, 0, f"{type(error).__name__}: {error}")
            return
        if reply.status_code != 200:
            self._note(at, kind, reply.status_code, reply.text)
            assert reply.status_code != 503 or "Retry-After" in reply.headers
            return
        told = reply.json()
        self._note(at, kind, 200, "", told.get("model_version", ""))
        if kind == EVENT:
            self.accepted.append(body["impression_id"])
        self._lacking(at, told)

    def _note(self, at, kind, status, said, version=""):
        ms = 1000 * (time.monotonic() - at)
        self.answers.append(Answer(at, kind, status, ms, version, said))

    def _lacking(self, at, told):
        parts = [told, *told.get("predictions", ()), *told.get("candidates", ())]
        for said in {said for part in parts for said in part.get("fallbacks", ())}:
            self.lacked.append((at, said))

    def _request(self, kind):
        one = fields(self.rng)
        if kind == EVENT:
            return "/v1/impressions", {"impression_id": uuid.uuid4().hex, "fields": one}
        if kind == PREDICT:
            return "/v1/predict", {"fields": one}
        others = [{"fields": {"ad": f"ad{n:012d}"}, "bid": 1.0} for n in range(20)]
        return "/v1/rank", {"context": {"user": one["user"]}, "candidates": others}


def quantile(answers, share):
    """Milliseconds that so many of the answers needed at most."""
    ordered = sorted(a.ms for a in answers if a.status)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def private_mb(pid):
    """Its own memory, without the weights that it maps like all others."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    return 0.0


def children(pid):
    """Process numbers of its children; none when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(one) for one in file.read().split()]
    return []


def workers_of(pid):
    """Process numbers of the workers of `clicktide serve` that serve.

    They are children of the process that they are forked from, and each has an event loop.
    """
    return [worker for forker in children(pid) for worker in children(forker) if _has_loop(worker)]


def _has_loop(pid):
    with contextlib.suppress(OSError):
        for one in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # a connection that was closed meanwhile
                if os.readlink(f"/proc/{pid}/fd/{one}") == "anon_inode:[eventpoll]":
                    return True
    return False


def as_json(tally):
    return json.dumps(tally, indent=1)
