"""One broker for all workers of a test run, kept by a process of its own.

The run's main process holds the lock of ``FOLDER/run`` (``held_run``). The first worker that needs
the broker starts a keeper (``shared_broker``), which starts it, writes ``FOLDER/address`` or
``FOLDER/failed``, and stops it when that lock is free: at the end of the run, however it ended.
No worker waits for another, and no process number is trusted: the kernel frees a dead one's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from broker import start_broker
from broker_jars import BrokerError, locked

__all__ = ["held_run", "shared_broker"]

START_S = 240.0  # under the tests' own limit of 300 s
STOP_S = 20.0


@contextlib.contextmanager
def held_run() -> Iterator[Path]:
    """The folder of a run; at the end its broker is stopped, if there is one."""
    folder = Path(tempfile.mkdtemp(prefix="clicktide-kafka-"))
    try:
        with (folder / "run").open("w") as run:
            fcntl.flock(run, fcntl.LOCK_EX)
            yield folder
        _wait_for_keeper(folder / "keeper")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_keeper(keeper: Path) -> None:
    """Wait for its end; kill it when that takes too long (its broker dies with it)."""
    if not keeper.exists():
        return
    end = time.monotonic() + STOP_S
    while not _is_free(keeper):
        if time.monotonic() >= end:
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(keeper.read_text()), signal.SIGKILL)
            return
        time.sleep(0.05)


def _is_free(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # the other side has cleaned up
        return True
    return True


def shared_broker(folder: Path) -> str:
    """``host:port`` of the run's broker, started by whoever asks first.

    Raises
    ------
    BrokerError
        With the reason, also to those who ask later: nobody tries for minutes again.
    """
    end = time.monotonic() + START_S
    address, failed = folder / "address", folder / "failed"
    with locked(folder / "starting", end):
        if not address.exists() and not failed.exists():
            with (folder / "keeper.log").open("a") as log:
                command = [sys.executable, __file__, str(folder)]
                subprocess.run(command, stdout=log, stderr=log, timeout=30, check=True)
        while not address.exists() and not failed.exists():
            if time.monotonic() >= end:
                _write(failed, f"no answer within {START_S:.0f} s")
            time.sleep(0.05)
    if failed.exists():
        raise BrokerError(failed.read_text())
    return address.read_text()


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    partial = path.with_name(path.name + f".{os.getpid()}")
    partial.write_text(text)
    partial.rename(path)


def keep(folder: Path) -> None:
    """Start a broker and stop it when the run is over."""
    with (folder / "keeper").open("w") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        mine.write(str(os.getpid()))
        mine.flush()
        try:
            cluster = start_broker(under=folder)
        except BrokerError as error:
            _write(folder / "failed", str(error))
            return
        with cluster:
            _write(folder / "address", cluster.bootstrap)
            while not _is_free(folder / "run"):
                time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)  # where the run was killed, nobody else does


def main() -> None:
    """Keep, in the background."""
    if os.fork() == 0:
        os.setsid()  # Ctrl-C is for the run, whose end ends us
        keep(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
