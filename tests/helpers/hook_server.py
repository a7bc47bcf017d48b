"""A web hook's server that keeps what it is sent, and answers as it is told."""

import http.server
import json
import threading
from contextlib import contextmanager


class HookServer:
    """Its URL, bodies and their content types; the first answers are those given, then 202."""

    def __init__(self, url, answers):
        self.url, self.answers = url, list(answers)
        self.bodies = []
        self.types = set()


@contextmanager
def hook_server(*answers):
    """Run one until the block ends."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            told.bodies.append(json.loads(body))
            told.types.add(self.headers["content-type"])
            self.send_response(told.answers.pop(0) if told.answers else 202)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        told = HookServer(f"http://127.0.0.1:{server.server_port}/T0/secret", answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()
