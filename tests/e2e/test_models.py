"""Versions as a user has them: real processes, a rollback under load, followed within seconds."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import mlflow_warnings
import pytest
from stream_runs import stream_log
from waiting import until

from monitoring.registry.actions import promote
from monitoring.registry.client import open_registry
from monitoring.registry.follow import ChampionSource
from streaming.log import NewRecord, TopicPartition, open_log
from streaming.settings import EARLY_EXAMPLES, EXAMPLES

pytestmark = [*mlflow_warnings.IGNORED, pytest.mark.timeout(400)]
SMALL = ("--set", "hash.bits=12", "--set", "hash.cross_bits=12")


ENV = {**os.environ, "PYTHONPATH": os.getcwd()}
ENV.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def register(tmp_path):
    """`clicktide register`, running."""
    with (tmp_path / "register.txt").open("wb") as said:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "clicktide", "register", "--set",
                "registry.version_every_s=0.1", "--set", "registry.poll_s=0.2",
                "--set", "registry.gate.max_examples=1000000",
                "--set", "registry.gate.min_examples=1000000",  # promoted by hand here
            ],
            cwd=tmp_path, stdout=said, stderr=said, env=ENV,
        )  # fmt: skip
    yield process
    process.kill()
    process.wait(20)


class Served(threading.Thread):
    """Predicts all the time, as a server would, and notes each version it served."""

    def __init__(self, source):
        super().__init__(daemon=True)
        self.source, self.over, self.failed, self.versions = source, False, None, []

    def run(self):
        event = {"ad": "ad1", "site": "s", "user": "u", "timestamp": 1_736_121_600_000}
        while not self.over:
            try:
                now = self.source.current()
                if now is None:
                    time.sleep(0.01)
                    continue
                assert 0 < now.learner.predict_proba_one(event)[True] < 1
                if self.versions[-1:] != [now.version]:
                    self.versions.append(now.version)
            except Exception as error:
                self.failed = error
                return


def examples(clicktide, folder):
    """Records of joined examples of a simulated market."""
    clicktide("replay", "sim:stationary?events=16000", "--to", "whole.db", "--speed", "max")
    clicktide("join", "--log", "whole.db", "--until-idle", "0.5")
    with open_log(str(folder / "whole.db")) as log:
        return log.read(TopicPartition(EXAMPLES, 0), 0, 10_000)


def test_from_a_stream_to_a_champion_and_back(clicktide, register, tmp_path):
    def said():
        return (tmp_path / "register.txt").read_text()

    records = examples(clicktide, tmp_path)
    (tmp_path / "run").mkdir(exist_ok=True)
    part = len(records) // 2
    source = ChampionSource(tmp_path / "run" / "served", policy="champion", every_s=0.1)
    served = Served(source)
    with stream_log(tmp_path / "run" / "log.db") as log:
        for number in range(2):
            with log.producer("fill").transaction() as tx:
                values = [r.value for r in records[number * part : (number + 1) * part]]
                for topic in (EARLY_EXAMPLES, EXAMPLES):  # learned, and judged on
                    tx.append(topic, [NewRecord(None, value, 0) for value in values])
            clicktide("train", "--until-idle", "0", *SMALL)
            until(lambda want=number + 1: f"version {want} of clicktide" in said(), said)
    registry = open_registry(None, tmp_path / "run")
    promote(registry, 1, 1, "test")
    source.start()
    served.start()
    until(lambda: served.versions == ["v1"], said)
    promote(registry, 2, 2, "test")
    until(lambda: served.versions == ["v1", "v2"], said)
    back = json.loads(clicktide("models", "rollback", "--json")[0])
    assert back == {"left": 2, "champion": 1, "serve": 1}
    until(lambda: served.versions == ["v1", "v2", "v1"], said)
    register.send_signal(signal.SIGTERM)
    assert register.wait(60) == 0, said()
    served.over = True
    served.join(10)
    source.close()
    assert served.failed is None
    assert "Traceback" not in said() and "Warning" not in said(), said()
