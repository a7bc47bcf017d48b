"""`clicktide serve` as it runs: several workers, a real store, weights learned elsewhere."""

import csv
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from command import run_clicktide
from steady_load import workers_of
from valkey_server import start_valkey
from waiting import until

from clicktide.valkey import free_port
from features.spec_file import load_spec
from learning import ClickLearner
from learning.live import create_live, open_live
from learning.progress import Progress
from learning.snapshot import Snapshot, save_snapshot
from streaming.log import TopicPartition, open_log

NOW = 1_736_121_600_000
SPEC = """
name = "shop"
[source]
label = "click"
event_id = "impression_id"
timestamp = "timestamp"
timestamp_format = "ms"
[[fields]]
names = ["ad", "site", "user"]
[[fields]]
names = ["tags"]
transform = "categories"
[[fields]]
names = ["hour"]
transform = "hour_of_day"
column = "timestamp"
[[counters]]
keys = ["ad", "user"]
half_lives_h = [1, 24]
[crosses]
all_pairs = true
[hash]
bits = 12
cross_bits = 12
"""


def impression(i):
    return {
        "ad": f"a{i % 7}", "site": i % 3, "user": f"u{i % 11}", "tags": ["x", "y", "z"][: i % 4],
        "timestamp": NOW + 1000 * i,
    }  # fmt: skip


class Served:
    """A running `clicktide serve`, the store and the writer of its weights."""

    def __init__(self, folder, workers=2):
        self.folder, self.port = folder, free_port()
        (folder / "shop.toml").write_text(SPEC)
        self.spec = load_spec(str(folder / "shop.toml"))
        self.learner = ClickLearner(self.spec)
        self.live = create_live(folder / "live.weights", self.learner, NOW)
        self.learn(0, 300)
        self.store = start_valkey(folder)
        self.said = (folder / "said.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clicktide", "serve", "--spec", folder / "shop.toml",
             "--live", folder / "live.weights", "--redis", self.store.url, "--log",
             folder / "log.db", "--port", str(self.port), "--workers", str(workers),
             "--set", "serve.store_budget_ms=200"],
            stdout=self.said, stderr=self.said,
        )  # fmt: skip
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        until(self.ready, self.text)

    def ready(self):
        assert self.process.poll() is None, self.text()
        try:
            return httpx.get(f"{self.client.base_url}/readyz", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    def text(self):
        return (self.folder / "said.txt").read_text()

    def learn(self, start, stop):
        for i in range(start, stop):
            self.learner.learn_one(impression(i), i % 3 == 0)
        self.live.update(stop, NOW, (), int(time.time() * 1000), new=True)

    def workers(self):
        """Process numbers of those that serve, not of the processes that start them."""
        return workers_of(self.process.pid)

    def ask(self, path, **body):
        """On a connection of its own, so that any worker may take it."""
        with httpx.Client(base_url=self.client.base_url, timeout=60) as client:
            return client.post(path, json=body)

    def end(self):
        self.client.close()
        self.process.kill()
        self.process.wait(10)
        self.said.close()
        self.store.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    one = Served(tmp_path_factory.mktemp("serve"))
    yield one
    one.end()


def with_counters(fields, prediction):
    return fields | {f"counter:{name}": v for name, v in prediction["counters"].items()}


def test_all_workers_give_the_bits_of_river_and_of_predict(served, tmp_path):
    fields = [impression(i) for i in range(300)]
    many = served.ask("/v1/predict", impressions=[{"fields": one} for one in fields]).json()
    reader = open_live(served.folder / "live.weights", served.spec).learner
    rows = []
    for i, (one, told) in enumerate(zip(fields, many["predictions"], strict=True)):
        rows.append(with_counters(one, told))
        assert told["probability"] == reader.predict_proba_one(rows[i])[True]
        if i % 5 == 0:
            [alone] = served.ask("/v1/predict", fields=one).json()["predictions"]
            given = reader.predict_proba_one(with_counters(one, alone))[True]
            assert alone["probability"] == given
    save_snapshot(tmp_path / "model", Snapshot(served.learner, Progress()))
    log = "\n".join(json.dumps(row | {"impression_id": f"i{i}"}) for i, row in enumerate(rows))
    (tmp_path / "log.jsonl").write_text(log + "\n")
    done = run_clicktide(
        "predict", tmp_path / "log.jsonl", "--model", tmp_path / "model",
        "--out", tmp_path / "scored.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "scored.csv").open() as file:
        offline = [float(row["probability"]) for row in csv.DictReader(file)]
    assert offline == [told["probability"] for told in many["predictions"]]


def test_what_is_learned_is_served_at_once_by_every_worker(served):
    body = {"fields": impression(3)}
    before = {served.ask("/v1/predict", **body).json()["model_version"] for _ in range(8)}
    served.learn(300, 400)
    after = {served.ask("/v1/predict", **body).json()["model_version"] for _ in range(8)}
    assert len(before) == len(after) == 1
    assert before != after
    assert served.client.get("/v1/model").json()["events"] == 400


def test_events_are_in_the_log_when_they_are_acknowledged(served):
    shown = served.ask("/v1/impressions", impression_id="i1", fields={"ad": "a1"})
    clicked = served.ask("/v1/clicks", impression_id="i1")
    assert (shown.status_code, clicked.status_code) == (200, 200), served.text()
    with open_log(str(served.folder / "log.db")) as log:
        for topic in ("impressions", "clicks"):
            records = log.read(TopicPartition(topic, 0), 0, 10)
            assert any(b'"impression_id":"i1"' in record.value for record in records)


def test_metrics_are_of_all_workers_together(served):
    served.ask("/v1/predict", fields={"ad": "a1"})
    text = served.client.get("/metrics").text
    line = 'clicktide_request_seconds_count{route="/v1/predict",status="200"}'
    before = float(text.split(line)[1].split()[0])
    for _ in range(20):
        served.ask("/v1/predict", fields={"ad": "a1"})
    counts = {float(served.client.get("/metrics").text.split(line)[1].split()[0]) for _ in range(3)}
    assert counts == {before + 20}


def connect(served):
    return socket.create_connection(("127.0.0.1", served.port), timeout=60)


def answer(lines):
    """One whole answer with a stated length."""
    status = lines.readline().decode().strip()
    length, line = 0, b"."
    while line.strip():
        line = lines.readline()
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status.partition(" ")[2], json.loads(lines.read(length) or b"null")


def answer_on(connection):
    with connection.makefile("rb") as lines:
        return answer(lines)


BODY = json.dumps({"fields": {"ad": "a1"}}).encode()
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
REQUEST = HEAD % len(BODY) + BODY


def test_a_killed_worker_breaks_its_own_requests_only(served):
    until(lambda: len(served.workers()) == 2, why=served.text)
    first, second = served.workers()
    os.kill(second, signal.SIGSTOP)  # the first one accepts
    with connect(served) as broken:
        broken.sendall(REQUEST)
        assert answer_on(broken)[0] == "200 OK"
        os.kill(second, signal.SIGCONT)
        os.kill(first, signal.SIGKILL)
        assert broken.recv(1) == b""
    assert served.ask("/v1/predict", fields={"ad": "a1"}).status_code == 200
    until(lambda: len(served.workers()) == 2, why=served.text)
    assert second in served.workers()


def test_workers_are_renewed_with_no_request_lost(served):
    until(lambda: len(served.workers()) == 2, why=served.text)
    before = set(served.workers())
    served.process.send_signal(signal.SIGHUP)
    with connect(served) as connection:
        lines, closed = connection.makefile("rb"), False
        while not closed:  # until its worker, which stops, says that this answer is the last
            connection.sendall(REQUEST)
            assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = dict(
                line.rstrip().lower().split(b": ") for line in iter(lines.readline, b"\r\n")
            )
            assert json.loads(lines.read(int(headers[b"content-length"])))["predictions"]
            closed = headers.get(b"connection") == b"close"
        assert lines.read() == b""
    until(lambda: len(served.workers()) == 2 and not before & set(served.workers()))


def test_headers_alone_and_two_requests_at_once(served):
    with connect(served) as connection:
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).endswith(b"\r\n\r\n")
        connection.sendall(REQUEST + REQUEST)
        with connection.makefile("rb") as lines:
            assert [answer(lines)[0] for _ in range(2)] == ["200 OK", "200 OK"]


def test_a_dead_store_costs_no_answer(served):
    served.store.stop()
    for _ in range(30):
        answer = served.ask("/v1/predict", fields={"ad": "a1", "user": "u1"})
        assert answer.status_code == 200
        assert answer.json()["predictions"][0]["fallbacks"][0].startswith("store:")


def test_it_stops_when_asked(served):
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0, served.text()
    assert not served.workers()
    assert served.text().splitlines()[-1].endswith(" INFO serve: stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_single_worker_says_where_it_serves_and_that_it_stopped(tmp_path, number):
    running = Served(tmp_path, workers=1)
    try:
        until(lambda: "serving at" in running.text())
        running.process.send_signal(number)
        assert running.process.wait(60) == 0, running.text()
        serving, stopped = running.text().splitlines()
        assert serving.endswith(f" INFO serve: serving at http://127.0.0.1:{running.port}/")
        assert stopped.endswith(" INFO serve: stopped")
    finally:
        running.end()


def test_a_single_worker_is_replaced_and_ends_with_its_manager(tmp_path):
    running = Served(tmp_path, workers=1)
    try:
        [first] = running.workers()
        os.kill(first, signal.SIGKILL)
        assert running.ask("/v1/predict", fields={"ad": "a1"}).status_code == 200
        [second] = running.workers()
        running.process.kill()
        until(lambda: not Path(f"/proc/{second}").exists(), why=running.text)
        with pytest.raises(ConnectionRefusedError):
            connect(running)
    finally:
        running.end()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_workers_refuse_is_told_and_ends_it(tmp_path, workers):
    done = subprocess.run(
        [sys.executable, "-m", "clicktide", "serve", "--model", "nosuch", "--port", "0",
         "--workers", workers],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = set(done.stderr.splitlines())
    assert line.startswith("error: nosuch: no saved model here")


def test_wrong_options_are_told_before_it_starts(tmp_path):
    (tmp_path / "no.pem").write_text("no key")
    for options, said in [
        (["--set", "serve.tls_cert=nosuch", "--set", "serve.tls_key=nosuch"], "tls_cert nosuch"),
        (["--set", "serve.tls_cert=no.pem", "--set", "serve.tls_key=no.pem"], "PEM"),
        (["--fd", "1000000"], "--fd 1000000: no socket"),  # more than a process may have open
        (["--spec", "nosuch"], "nosuch"),
        (["--set", "serve.port=99999"], "0 to 65535"),
        (["--model", "m", "--follow"], "one of them"),
    ]:
        done = run_clicktide("serve", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


CANNOT_BEGIN = """
import socket, sys
from fastapi import FastAPI
from serving.workers import Workers

async def life(app):
    raise RuntimeError("no")
    yield

def make_app():
    return FastAPI(lifespan=life)

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as one:
        workers = Workers("begins:make_app", [], {}, one, count=2)
        workers.run()
    sys.exit(workers.code)
"""


def test_an_application_that_cannot_begin_is_not_tried_for_ever(tmp_path):
    (tmp_path / "begins.py").write_text(CANNOT_BEGIN)
    done = subprocess.run(
        [sys.executable, "begins.py"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])[1:]},
    )  # fmt: skip
    assert done.returncode == 3
    assert "RuntimeError: no" in done.stderr


RENEWED = """
import os, socket
from fastapi import FastAPI
from serving.workers import Workers

def make_app():
    if os.path.exists("broken"):
        with open("tried", "a") as file:
            file.write("x")
        raise SystemExit(2)
    return FastAPI()

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as one:
        print(one.getsockname()[1], flush=True)
        Workers("renewed:make_app", [], {}, one, on_serving=lambda: print("on", flush=True)).run()
"""


def test_a_worker_stays_where_its_successor_cannot_begin(tmp_path):
    (tmp_path / "renewed.py").write_text(RENEWED)
    with subprocess.Popen(
        [sys.executable, "renewed.py"], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])[1:]},
    ) as manager:  # fmt: skip
        try:
            port = int(manager.stdout.readline())
            assert manager.stdout.readline() == "on\n"
            (tmp_path / "broken").touch()

            def tried_thrice():
                manager.send_signal(signal.SIGHUP)
                tried = tmp_path / "tried"
                return tried.exists() and len(tried.read_text()) >= 3

            until(tried_thrice)
            answer = httpx.get(f"http://127.0.0.1:{port}/openapi.json", timeout=60)
            assert answer.status_code == 200
        finally:
            manager.terminate()


@pytest.fixture
def certificates(tmp_path):
    """Certificates of an authority, and of a server and a client that it vouches for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("CLIENTS' CERTIFICATES ARE NOT TESTED: no openssl")

    def made(name, *signed_by):
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        about = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        command = [openssl, "req", "-x509", *key, *about, *signed_by]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    made("ca")
    for name in ("server", "client"):
        made(name, "-CA", "ca.pem", "-CAkey", "ca.key")
    return tmp_path


TOKENS = '[a]\nscopes = ["admin"]\ntoken = "0123456789abcdef"'


def test_others_need_a_certificate_of_the_authority_and_a_token(certificates, tmp_path):
    files = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"}
    changes = [part for key, name in files.items() for part in ("--set", f"serve.{key}={name}")]
    port = free_port()
    with (tmp_path / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "clicktide", "serve", "--host", "0.0.0.0", "--port", str(port),
             *changes],
            stdout=said, stderr=said, cwd=tmp_path,
            env=os.environ | {"CLICKTIDE_TOKENS": TOKENS},
        )  # fmt: skip
    try:
        until(lambda: "serving at" in (tmp_path / "said.txt").read_text())
        trusted = ssl.create_default_context(cafile=certificates / "ca.pem")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"https://127.0.0.1:{port}/healthz", verify=trusted)
        trusted.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/metrics").status_code == 401
            token = {"Authorization": "Bearer 0123456789abcdef"}
            assert client.get("/metrics", headers=token).status_code == 200
    finally:
        process.terminate()
        assert process.wait(60) == 0
