"""Every process of a stream started by hand in one folder, told nothing but ``--dir``."""

import os
import signal
import subprocess
import sys
import tomllib

from command import run_clicktide
from live_stream import free_port
from valkey_server import start_valkey
from waiting import until

SIGNS = {
    "join": "join window",
    "count": "",
    "train": "reading early_examples from offset",
    "monitor": "reading examples from offset",
    "challenge": "",
    "register": "versions of",
    "serve": "",
}


def test_processes_with_their_defaults_agree(tmp_path):
    store = start_valkey(tmp_path / "run")
    env = {**os.environ, "CLICKTIDE_PORT": str(free_port())}
    processes, said = {}, {name: tmp_path / f"{name}.txt" for name in SIGNS}
    try:
        for name, path in said.items():
            more = ["shadow", "--no-mlflow"] if name == "challenge" else []
            with path.open("wb") as out:
                command = [sys.executable, "-P", "-m", "clicktide", name, *more, "--dir", "run"]
                processes[name] = subprocess.Popen(
                    command, cwd=tmp_path, env=env, stdout=out, stderr=out
                )
        for name, sign in SIGNS.items():
            until(
                lambda n=name, s=sign: s in said[n].read_text() or processes[n].poll() is not None,
                said[name].read_text,
            )
        until((tmp_path / "run" / "live.weights").exists, said["train"].read_text)
        assert {name: of.poll() for name, of in processes.items()} == dict.fromkeys(SIGNS)
        done = run_clicktide("status", "--dir", tmp_path / "run", "--json", "--every", "0.1")
        assert done.returncode == 0, done.stderr
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        store.stop()
    kept = tomllib.loads((tmp_path / "run" / "clicktide.toml").read_text())
    assert (kept["stream"]["log"], kept["stream"]["spec"]) == ("log.db", "market")
