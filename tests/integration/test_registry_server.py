"""Versions on MLflow's own server: over HTTP, with its files, as its pages show them."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow_warnings
import pytest
from small_spec import spec_of
from stream_runs import stream_log
from waiting import until

from clicktide.valkey import free_port
from learning.click_learner import ClickLearner
from learning.progress import Progress
from learning.snapshot import Snapshot, save_snapshot
from monitoring.registry.actions import promote, roll_back
from monitoring.registry.client import Registry
from monitoring.registry.follow import ChampionSource, Follower
from monitoring.registry.process import Register, purge
from monitoring.registry.settings import RegistrySettings
from monitoring.registry.versions import NoVersionError
from streaming.log import open_log

pytestmark = [*mlflow_warnings.IGNORED, pytest.mark.timeout(300)]
SPEC = spec_of("ad", "site", name="shop", bits=8)


class Server:
    """`mlflow server` in a folder; it may be stopped and started again."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        with (self.folder / "server.txt").open("ab") as said:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "mlflow", "server", "--workers", "1",
                    "--host", "127.0.0.1", "--port", str(self.port),
                    "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}",
                    "--artifacts-destination", str(self.folder / "artifacts"),
                ],
                stdout=said, stderr=said, start_new_session=True,
                env={
                    **os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # ten seconds of CPU a start
                },
            )  # fmt: skip
        until(self.answers, (self.folder / "server.txt").read_text)

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait(20)
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.stop()


class Learned:
    """A model folder as a trainer leaves it, and a register process on a clock."""

    def __init__(self, folder, url, name):
        self.folder, self.now_s, self.events, self.said = folder, 1e9, 0, []
        self.learner, self.progress = ClickLearner(SPEC), Progress()
        self.registry = Registry(url, name)
        stream_log(folder / "log.db").close()
        self.report = folder / "report.html"
        self.report.write_text("<h1>Drift report</h1>")
        self.register = Register(
            folder / "model", folder / "registry", self.registry,
            lambda: open_log(str(folder / "log.db")),
            RegistrySettings(model=name, keep_versions=2, keep_champions=1),
            now=lambda: self.now_s, report=self.said.append, attach=(self.report,),
        )  # fmt: skip

    def version(self):
        import numpy as np
        import pandas as pd

        frame = pd.DataFrame({"ad": [f"a{self.events + i}" for i in range(50)], "site": "x"})
        hashed = self.learner.vectoriser.hash_frame(frame)
        labels = (np.arange(50) % 4 == 0).astype(float)
        self.progress.add(self.learner.learn_hashed(hashed, labels), labels)
        self.events += 50
        extra = {"offsets": [self.events], "event_time": 1_736_121_600_000 + self.events}
        save_snapshot(self.folder / "model", Snapshot(self.learner, self.progress, extra))
        self.now_s += 300
        self.register.step()


def test_a_server_keeps_versions_and_really_deletes_files(server, tmp_path):
    learned = Learned(tmp_path, server.url, "deleting")
    for _ in range(4):
        learned.version()
    assert [v.number for v in learned.registry.versions()] == [3, 4], learned.said
    kept = list(server.folder.glob("artifacts/*/*/artifacts/versions/*"))
    assert len(kept) == 2
    with pytest.raises(NoVersionError):
        learned.registry.version(1)
    purge(server.url, 1, learned.said.append)  # nothing of ours: left alone


def test_a_restarted_server_is_caught_up_with(server, tmp_path):
    learned = Learned(tmp_path, server.url, "restarting")
    learned.version()
    server.stop()
    for _ in range(2):
        learned.version()
    assert "versions wait on disk" in learned.said[-1]
    server.start()
    learned.now_s += 100
    learned.register.step()
    assert [v.events for v in learned.registry.versions()] == [100, 150]
    assert "answers again" in learned.said[-1]


def test_servers_follow_over_http(server, tmp_path):
    learned = Learned(tmp_path, server.url, "followed")
    learned.version()
    learned.version()
    promote(learned.registry, 1, 1, "test")
    promote(learned.registry, 2, 2, "test")
    follower = Follower(learned.registry, tmp_path / "served", now=time.time, report=print)
    source = ChampionSource(tmp_path / "served", SPEC, "champion", every_s=0.05)
    assert follower.step()
    source.start()
    try:
        assert source.current().version == "v2"
        roll_back(learned.registry, None, 3, "test")
        assert follower.step()
        until(lambda: source.current().version == "v1")
        assert source.current().events == 50
    finally:
        source.close()


def test_its_pages_show_versions_figures_and_report(server, browser, tmp_path):
    learned = Learned(tmp_path, server.url, "shown")
    learned.version()
    learned.version()
    promote(learned.registry, 2, 1, "calibration ratio 1.01")
    run = json.loads((tmp_path / "registry" / "run.json").read_text())["run"]
    shots = Path(os.environ.get("CLICKTIDE_TEST_SCREENSHOTS", tmp_path))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(f"{server.url}/#/models/shown")
    page.get_by_text("Version 2").first.wait_for()
    page.get_by_text("champion").first.wait_for()
    page.screenshot(path=shots / "mlflow_versions.png")
    page.goto(f"{server.url}/#/models/shown/versions/2")
    page.get_by_text("calibration ratio").first.wait_for()
    page.screenshot(path=shots / "mlflow_version.png")
    [experiment] = [p.name for p in server.folder.glob("artifacts/*") if (p / run).exists()]
    page.goto(f"{server.url}/#/experiments/{experiment}/runs/{run}/model-metrics")
    page.get_by_text("calibration_ratio").first.wait_for()
    page.screenshot(path=shots / "mlflow_metrics.png")
    page.goto(f"{server.url}/#/experiments/{experiment}/runs/{run}/artifacts")
    page.get_by_text("versions").first.wait_for()
    page.get_by_text("report.html").first.click()
    page.frame_locator("iframe").get_by_text("Drift report").wait_for()
    page.screenshot(path=shots / "mlflow_artifacts.png")
