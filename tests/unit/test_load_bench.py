"""The load test's own parts: who asks, and what is said of the figures."""

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load_client import closed_loop, open_loop, percentile_ms
from benchmarks.load_measures import Figures, Times
from benchmarks.load_report import page


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(asked)
        self.send_response(500 if asked == b"bad" else 200)
        self.send_header("Content-Length", "70000")
        self.end_headers()
        self.wfile.write(b"x" * 70_000)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as one:
        one.daemon_threads, one.asked = True, []
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def url(server):
    return f"http://127.0.0.1:{server.server_port}/x"


def test_an_open_loop_asks_all_it_is_to_ask(server):
    flow = open_loop(url(server), [b"a", b"b"], 200.0, 0.25, seed=1)
    assert sorted(server.asked) == [b"a"] * 25 + [b"b"] * 25
    assert len(flow.latencies_s) == 50
    assert 0 < percentile_ms(flow, 50) <= percentile_ms(flow, 99)


def test_answers_that_are_refusals_are_told(server):
    with pytest.raises(RuntimeError, match="10 answers were not 200"):
        open_loop(url(server), [b"bad"], 1000.0, 0.01, seed=1)


def test_a_closed_loop_asks_until_its_time_is_over(server):
    flow = closed_loop(url(server), [b"a"], 0.1, connections=2)
    assert len(flow.latencies_s) == len(server.asked) >= 2
    assert flow.seconds >= 0.1


def test_what_is_asked_stands_beside_what_was_measured():
    figures = Figures()
    for name, value in {
        "predict requests/s": 60.0, "typed requests/s": 100.0, "raw requests/s": 150.0,
        "mlflow requests/s": 5.0, "rank p99 ms": 21.0,
    }.items():  # fmt: skip
        figures.add(name, value)
    text = page(figures, Times(), 1000, datetime(2026, 1, 2, tzinfo=UTC))
    assert "pydantic body | ≥ 50 % | 60 % | yes |" in text
    assert "raw body | ≥ 50 % | 40 % | **no** |" in text
    assert "mlflow models serve | ≥ 8× | 12× | yes |" in text
    assert "≤ 20 ms | 21.0 ms | **no** |" in text
    assert "trainer" not in text
