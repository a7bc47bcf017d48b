"""What the load test runs on: a learned market, its counters in Valkey, and the servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from clicktide.valkey import free_port
from features.errors import ClicktideError
from features.spec_file import load_spec
from learning.live import open_live
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.settings import EXAMPLES, IMPRESSIONS
from tests.helpers.valkey_server import start_valkey

__all__ = ["Server", "Stage", "Trainer"]

SPEC = "market"
_TOLD = ("timestamp", "p_true")  # by the simulator; who asks for a prediction does not know them
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
_BATCH = 50


class Server:
    """A process that answers at a port of this machine; ended with its group."""

    def __init__(self, folder: Path, name: str, command: Sequence[str], port: int, ping: str):
        self.url, self._said = f"http://127.0.0.1:{port}", folder / f"{name}.txt"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                command, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, **_QUIET},
            )  # fmt: skip
        _wait(lambda: self._answers(ping), self._why)

    def ask(self, path: str, body: Any) -> Any:
        """Post JSON."""
        asked = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=30) as reply:
            return json.load(reply)

    def cpu_s(self) -> float:
        """CPU time of the server so far, its worker's too."""
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text("ascii").split()
        return sum(cpu_s(pid) for pid in [first, *map(int, children)])

    def stop(self) -> None:
        """End it, and what it has started."""
        os.killpg(self._process.pid, 9)
        self._process.wait(30)

    def _answers(self, path: str) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended: {self._why()}")
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _why(self) -> str:
        return self._said.read_text("utf-8", "replace")[-2000:]


class Trainer:
    """A trainer that has more to learn than it can, and may be held still."""

    def __init__(self, stage: Stage) -> None:
        self._live, self._spec = stage.live, load_spec(SPEC)
        self._said = stage.folder / "train.txt"
        command = ["train", *stage.log, "--spec", SPEC]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                _clicktide(*command, "--live", str(stage.live)), stdout=said, stderr=said,
                start_new_session=True,  # Linux shares cores by session: not that of the client
            )  # fmt: skip
        _wait(lambda: self.events > stage.impressions, lambda: self._said.read_text("utf-8"))

    @property
    def events(self) -> int:
        """Learned so far."""
        try:
            return open_live(self._live, self._spec).events
        except ClicktideError:  # it is just being made anew
            return 0

    def hold(self, still: bool) -> None:
        """Let it wait, or go on."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the trainer ended: {self._said.read_text('utf-8')[-2000:]}")
        self._process.send_signal(19 if still else 18)

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(30)


class Stage:
    """The folder, and all that runs.

    Parameters
    ----------
    folder
        Where it all lies.
    impressions
        How many are simulated, counted and learned.
    """

    def __init__(self, folder: Path, impressions: int) -> None:
        self.folder, self.run, self.impressions = folder, folder / "run", impressions
        self.live = self.run / "live.weights"
        self.log = ["--log", str(self.run / "log.db")]
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- the model ---------------------------------------------------------------------------

    def learn(self) -> None:
        """Simulate, count, learn, and register what is learned, unless it is all there."""
        known = (self.run / "mlflow.db").exists()
        self.run.mkdir(parents=True, exist_ok=True)
        store = start_valkey(self.run)
        self._stack.callback(store.stop)
        self.store_url, self.store_id = store.url, store.process_id
        if not known:
            self._learn()

    def _learn(self) -> None:
        source = f"sim:stationary?events={self.impressions}"
        hours = 0.44 * self.impressions / 1000 + 1  # so long do they take: the last are of now
        _run("replay", source, "--to", self.log[1], "--speed", "max", "--shift", f"now-{hours}h")
        _run("join", *self.log, "--until-idle", "0")
        of = [*self.log, "--spec", SPEC]
        _run("count", *of, "--redis", self.store_url, "--until-idle", "0")
        _run("train", *of, "--live", str(self.live), "--until-idle", "0")
        _run("register", *self.log, "--once")

    def shown(self, count: int) -> list[dict[str, Any]]:
        """The fields of the last impressions, as one who asks would send them."""
        found: list[dict[str, Any]] = []
        with open_log(self.log[1]) as log:
            at = TopicPartition(IMPRESSIONS, 0)
            end = log.end_offsets(IMPRESSIONS)[0]
            for record in log.read(at, max(0, end - count - _BATCH), count + _BATCH):
                event = json.loads(record.value)
                if event["type"] == "impression":
                    fields = event["fields"].items()
                    found.append({name: value for name, value in fields if name not in _TOLD})
        return found[-count:]

    def more_to_learn(self, times: int) -> None:
        """Put the examples into the log again and again."""
        with open_log(self.log[1]) as log, log.producer("load") as producer:
            at, start, end = (
                TopicPartition(EXAMPLES, 0), log.start_offsets(EXAMPLES)[0],
                log.end_offsets(EXAMPLES)[0],
            )  # fmt: skip
            values = [record.value for record in log.read(at, start, end - start)]
            for _ in range(times):
                records = (NewRecord(None, value, 0) for value in values)
                while batch := list(islice(records, _BATCH)):
                    with producer.transaction() as written:
                        written.append(EXAMPLES, batch)

    # --- the servers -------------------------------------------------------------------------

    def clicktide(self) -> Server:
        """`clicktide serve`, one worker."""
        port = free_port()
        command = ["serve", "--spec", SPEC, *self.log, "--live", str(self.live)]
        command += ["--redis", self.store_url, "--port", str(port)]
        return self._server("serve", _clicktide(*command), port, "/readyz")

    def empty(self) -> Server:
        """FastAPI that does nothing."""
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.load_empty", str(port)]
        return self._server("empty", command, port, "/openapi.json")

    def mlflow(self) -> Server:
        """`mlflow models serve` of the registered model."""
        port = free_port()
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.run / 'mlflow.db'}"
        command = [
            sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/clicktide/1",
            "--env-manager", "local", "--workers", "1", "--port", str(port),
        ]  # fmt: skip
        return self._server("mlflow", command, port, "/ping")

    def trainer(self) -> Trainer:
        """A trainer on the weights that are served."""
        one = Trainer(self)
        self._stack.callback(one.stop)
        return one

    def _server(self, name: str, command: list[str], port: int, ping: str) -> Server:
        server = Server(self.folder, name, command, port, ping)
        self._stack.callback(server.stop)
        return server


def cpu_s(process_id: int) -> float:
    """CPU time of a process so far, all its threads."""
    words = Path(f"/proc/{process_id}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _clicktide(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "clicktide", *arguments]


def _run(*arguments: str) -> None:
    done = subprocess.run(
        _clicktide(*arguments), capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise RuntimeError(f"clicktide {arguments[0]}: {done.stderr[-2000:]}")


def _wait(holds: Callable[[], bool], why: Callable[[], str], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:g} s in vain: {why()}")
        time.sleep(0.1)
