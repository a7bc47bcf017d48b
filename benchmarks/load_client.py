"""Who asks: `wrk` as fast as answers come, and an open loop that asks at its own pace.

The open loop does not wait for answers: a request is due when its time has come, and its latency
counts from then, also where it had to wait for a free connection. So a server that stalls is
charged for all who came meanwhile. Gaps are drawn (a Poisson process), as many users' are.
"""

from __future__ import annotations

import json
import select
import shutil
import socket
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Flow", "closed_loop", "generator", "open_loop", "percentile_ms", "requests_per_s"]

_CONNECTIONS = 16
_WRK = Path(__file__).with_name("load_post.lua")
_PATIENCE_S = 10.0


@dataclass(slots=True)
class Flow:
    """What an open or a closed loop saw.

    Parameters
    ----------
    seconds
        From the first request's time to the last answer.
    latencies_s
        Of each answer.
    errors
        Answers that were not 200.
    """

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0


def generator() -> str:
    """Name what asks for the most requests a second."""
    found = shutil.which("wrk") is not None
    return f"wrk, {_CONNECTIONS} connections" if found else f"{_CONNECTIONS} connections"


def requests_per_s(url: str, bodies: Path, seconds: float) -> float:
    """As many as come with 16 connections that each wait for an answer.

    Parameters
    ----------
    url
        ``http://HOST:PORT/PATH``.
    bodies
        A file of JSON lines, asked in turn.
    seconds
        How long.
    """
    if shutil.which("wrk") is None:
        flow = closed_loop(url, bodies.read_bytes().splitlines(), seconds)
        _no_errors(url, flow.errors)
        return len(flow.latencies_s) / flow.seconds
    whole = max(1, round(seconds))
    done = subprocess.run(
        ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{whole}s", "-s", _WRK, url, "--", bodies],
        check=True, capture_output=True, text=True, timeout=seconds + 60,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    _no_errors(url, told["errors"])
    return float(told["requests"] / told["seconds"])


def open_loop(url: str, bodies: Sequence[bytes], rate: float, seconds: float, seed: int) -> Flow:
    """Ask at a mean rate, whatever the answers do."""
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, round(rate * seconds))
    flow = _Loop(url, bodies).run(np.cumsum(gaps).tolist())
    _no_errors(url, flow.errors)
    return flow


def closed_loop(url: str, bodies: Sequence[bytes], seconds: float, connections: int = 16) -> Flow:
    """Ask whenever a connection is free."""
    return _Loop(url, bodies, connections).run(None, seconds)


def percentile_ms(flow: Flow, percent: float) -> float:
    """A percentile of the latencies, in ms."""
    return float(np.percentile(flow.latencies_s, percent)) * 1000.0


def _no_errors(url: str, errors: int) -> None:
    if errors:
        raise RuntimeError(f"{url}: {errors} answers were not 200. Fix: look what it says")


class _Loop:
    """Connections, and requests that are due; waits with select, whose clock counts in µs."""

    def __init__(self, url: str, bodies: Sequence[bytes], connections: int = _CONNECTIONS) -> None:
        host, _, path = url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        head = (
            f"POST /{path} HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._requests = [head + b"%d\r\n\r\n%s" % (len(body), body) for body in bodies]
        self._free = deque(_connected(name, int(port)) for _ in range(connections))
        self._busy: dict[socket.socket, tuple[float, bytes]] = {}
        self._flow = Flow(0.0)
        self._sent = 0

    def run(self, due: list[float] | None, seconds: float = 0.0) -> Flow:
        """Ask at these times, or, without any, as often as answers come."""
        start = time.perf_counter()
        last = start
        while True:
            now = time.perf_counter()
            self._send(due, start, seconds, now)
            if not self._busy and self._is_over(due, now - start, seconds):
                break
            if self._busy and now - last > _PATIENCE_S:
                raise RuntimeError(f"no answer for {_PATIENCE_S:g} s")
            answered, _, _ = select.select(list(self._busy), [], [], self._nap(due, start))
            for one in answered:
                self._receive(one)
                last = time.perf_counter()
            last = last if self._busy else time.perf_counter()
        self._flow.seconds = last - start
        for one in self._free:
            one.close()
        return self._flow

    def _is_over(self, due: list[float] | None, at: float, seconds: float) -> bool:
        return at >= seconds if due is None else self._sent >= len(due)

    def _nap(self, due: list[float] | None, start: float) -> float:
        if due is None or self._sent >= len(due) or not self._free:
            return 1.0
        return max(0.0, start + due[self._sent] - time.perf_counter())

    def _send(self, due: list[float] | None, start: float, seconds: float, now: float) -> None:
        while self._free and not self._is_over(due, now - start, seconds):
            wanted = now if due is None else start + due[self._sent]
            if wanted > now:
                return
            one = self._free.popleft()
            one.sendall(self._requests[self._sent % len(self._requests)])
            self._busy[one] = (wanted, b"")
            self._sent += 1

    def _receive(self, one: socket.socket) -> None:
        wanted, before = self._busy[one]
        data = before + one.recv(1 << 20)
        if not _is_whole(data):
            if len(data) == len(before):
                raise RuntimeError("the server ended a connection")
            self._busy[one] = (wanted, data)
            return
        self._flow.latencies_s.append(time.perf_counter() - wanted)
        self._flow.errors += not data.startswith(b"HTTP/1.1 200")
        del self._busy[one]
        self._free.append(one)


def _connected(host: str, port: int) -> socket.socket:
    one = socket.create_connection((host, port), 10.0)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def _is_whole(data: bytes) -> bool:
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return False
    _, found, length = data[:head].lower().partition(b"content-length:")
    if not found:
        raise RuntimeError("an answer without Content-Length")
    length = length.partition(b"\r\n")[0]
    return len(data) >= head + 4 + int(length)
