"""A web hook's server that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class HookServer:
    """Its URL, bodies and their content types; the first answers are those given, then 202."""

    def __init__(self, url: str, answers: Sequence[int]) -> None:
        self.url, self.answers = url, list(answers)
        self.bodies: list[Any] = []
        self.types: set[str] = set()


@contextmanager
def hook_server(*answers: int) -> Iterator[HookServer]:
    """Run one until the block ends."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.bodies.append(json.loads(body))
            told.types.add(self.headers["content-type"])
            self.send_response(told.answers.pop(0) if told.answers else 202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        told = HookServer(f"http://127.0.0.1:{server.server_port}/T0/secret", answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()
