"""The stream of the demo: ``clicktide up`` in a process of its own, in a folder of its own."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from clicktide.spawn import Spawned, own_command
from clicktide.supervise import Child
from features.errors import ClicktideError

__all__ = ["DemoStream", "demo_stream", "make_room"]

_MARK = "demo"  # a folder that has it was made here, and may be removed
_STOP_S = 60.0
_SPEC = "market"
# A short stream of quick clicks: labels, and the monitor, must not wait as in a long one.
_OPTIONS = (
    *("--set", "join.join_window_s=90"),
    "--no-register",  # MLflow takes as long to start as the rest
    *("--set", "monitor.predict=served"),
    *("--set", "monitor.save_every_s=2"),
    *("--set", "monitor.detect.warmup_clicks=500"),
    # One chance alarm in 300 demos: the fault is loud enough for that, and whoever sees only one
    # demo should see no other.
    *("--set", "monitor.detect.false_alarm_clicks=1000000"),
)


class DemoStream:
    """A running ``clicktide up``.

    Parameters
    ----------
    folder
        Of the stream.
    port
        Where it serves; 0: any free port.
    """

    spec = _SPEC

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.log, self.settings = str(folder / "log.db"), folder / "stream.toml"
        port = port or _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = own_command("up", "--dir", str(folder), "--spec", _SPEC, "--port", str(port))
        command += _OPTIONS
        logs = folder / "logs"
        logs.mkdir()
        child = Child("up", command, {"CLICKTIDE_NICE": "0"})  # the market waits for the trainer
        self._up = Spawned(child, logs, lambda name, line: None)

    def check_alive(self) -> None:
        """Raise if it has ended."""
        if self._up.poll() is not None:
            self._up.kill()
            raise ClicktideError(
                f"clicktide up ended early: {self._up.last_line()}. "
                f"Fix: see {self.folder / 'logs' / 'up.log'}"
            )

    def lacks(self) -> str | None:
        """What is still waited for before it serves predictions; ``None``: nothing."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5.0)
        except httpx.HTTPError:
            return f"serve does not answer at {self.url}"
        return None if answer.is_success else f"serve has no weights yet ({answer.status_code})"

    def stop(self) -> None:
        """Stop all of its processes; none is left."""
        self._up.terminate()
        try:
            end = time.monotonic() + _STOP_S
            while self._up.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            self._up.kill()


@contextmanager
def demo_stream(folder: Path, port: int) -> Iterator[DemoStream]:
    """Give a stream that is stopped at the end."""
    stream = DemoStream(folder, port)
    try:
        yield stream
    finally:
        stream.stop()


def make_room(folder: Path) -> None:
    """Remove an earlier demo; nothing else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise ClicktideError(
                f"{folder}: holds something that is no earlier demo. Fix: --dir of a new folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("made by clicktide demo, which may remove this folder\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
