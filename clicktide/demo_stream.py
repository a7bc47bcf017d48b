"""The demo's stream: a running ``clicktide up``, and the folder that is its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from clicktide.child_processes import Spawned, clicktide_command, lock_folder
from clicktide.supervisor import Child
from clicktide.valkey import free_port
from features.errors import ClicktideError
from streaming.file_lock import lock_file

__all__ = ["DemoStream", "demo_folder", "demo_stream"]

_MARK = "demo"  # a folder that has it was made here, and may be removed
_STOP_S = 60.0
_SPEC = "market"
# A short stream of quick clicks: labels, and the monitor, must not wait as in a long one.
_OPTIONS = (
    *("--set", "join.join_window_s=90"),
    "--no-register",  # MLflow takes as long to start as the rest
    *("--set", "monitor.predict=served"),
    # Repairs follow the monitor as soon as it is: at another event in each run of the demo.
    *("--set", "monitor.repair.on=false"),
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
        self.log, self.settings = str(folder / "log.db"), folder / "clicktide.toml"
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = clicktide_command(
            "up", "--dir", str(folder), "--spec", _SPEC, "--port", str(port)
        )
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


@contextmanager
def demo_folder(folder: Path) -> Iterator[None]:
    """Remove an earlier demo, and nothing else; hold the folder for this one.

    Raises
    ------
    ClicktideError
        The folder is somebody's, or a demo or a stream runs in it.
    """
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise ClicktideError(
                f"{folder}: holds something that is no earlier demo. Fix: --dir of a new folder"
            )
        with _lock(mark), lock_folder(folder):  # no stream runs in what goes now
            shutil.rmtree(folder)
    with _lock(mark) as file:
        file.write("made by clicktide demo, which may remove this folder\n")
        file.flush()
        yield


def _lock(mark: Path) -> IO[str]:
    conflict = f"{mark.parent}: another demo runs here. Fix: wait for it, or --dir of a new folder"
    return lock_file(mark, lambda: conflict)
