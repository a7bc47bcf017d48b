"""The jars of a Kafka broker, from Maven Central, once; as a script it fetches and says where."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BrokerError", "jars", "locked", "run", "tool"]

POM = Path(__file__).with_name("pom.xml")
# A mirror that takes the connection and then says nothing must not hold a run.
BOUNDS = ["-Daether.connector.connectTimeout=15000", "-Daether.connector.requestTimeout=30000"]


class BrokerError(RuntimeError):
    """No broker: no Java, no Maven, no jars, or it did not start."""


def jars(within_s: float = 150) -> Path:
    """The folder with the broker's jars, filled by Maven the first time.

    Raises
    ------
    BrokerError
        They could not be had in time.
    """
    version = re.search("<kafka.version>(.+)</kafka.version>", POM.read_text())[1]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clicktide/kafka"
    if (cache / version).is_dir():
        return cache / version
    end = time.monotonic() + within_s
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{version}.lock", end):
        if not (cache / version).is_dir():
            _fetch(cache / version, end)
    return cache / version


@contextlib.contextmanager
def locked(path: Path, end: float) -> Iterator[None]:
    """Hold a file's lock; a holder that dies lets go, and one that takes too long is an error."""
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise BrokerError(f"another process holds {path} for too long") from None
            time.sleep(0.05)
        yield


def _fetch(folder: Path, end: float) -> None:
    """From Maven's own cache if all is there, else from the net, twice."""
    partial = folder.with_name(folder.name + ".partial")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", *BOUNDS]
    command = [tool("mvn"), "-q", "-B", "-f", str(POM), *goal, f"-DoutputDirectory={partial}"]
    for extra in (["-o"], [], []):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            run([*command, *extra], max(1.0, end - time.monotonic()))
            partial.rename(folder)
            return
        except BrokerError as error:
            failure = error
    raise failure


def tool(name: str) -> str:
    """The path of a program.

    Raises
    ------
    BrokerError
        There is none.
    """
    path = shutil.which(name)
    if path is None:
        raise BrokerError(f"{name} is not on the PATH. Fix: install a JDK 17+ and Maven")
    return path


def run(command: list[str], within_s: float) -> None:
    """Run a program to its end; it and its children are killed when that takes too long.

    Raises
    ------
    BrokerError
        With what it said.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=within_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise BrokerError(f"{command[0]}: no end within {within_s:.0f} s") from None
    if process.returncode:
        raise BrokerError(f"{command[0]} failed: {said[-2000:]}")


if __name__ == "__main__":
    try:
        print(jars(within_s=600))
    except BrokerError as error:
        sys.exit(str(error))
