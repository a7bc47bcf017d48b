"""Real Kafka brokers on loopback for tests, from Maven Central; also a script.

``python tests/kafka/broker.py --brokers 3`` prints the bootstrap servers and runs until Ctrl-C.
It needs Java 17+ and Maven; the jars go to ``~/.cache/clicktide/kafka/VERSION`` once.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from broker_jars import BrokerError, jars, run, tool

__all__ = ["BrokerError", "Cluster", "start_broker"]

TIED = Path(__file__).with_name("tied.py")
LOOPBACK = "127.0.0.1"
START_S = 60.0
# Loopback brokers live for minutes: start fast rather than run fast, and stay small. That the jars
# are sound bytecode need not be verified: it is a quarter of a start.
JAVA_FLAGS = [
    *("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"),
]

_EMPTY: dict[str, bytes] = {}  # the files of a folder that Kafka's tool has formatted


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has and, on Linux, that no connection is given by chance.

    A port of the system's own range would be lost to a broker that is down for a moment: a client
    that tries to reach it there can be given that very port as its own, and so reach itself.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with contextlib.suppress(OSError):
            socket.create_server((LOOPBACK, port)).close()
            ports += [port] if port not in ports else []
    return ports


@dataclass
class Cluster:
    """Running brokers. ``bootstrap`` is ``host:port[,host:port]``."""

    folder: Path
    ports: list[int]
    voters: str
    processes: list[subprocess.Popen | None]
    said: dict[int, int] = field(default_factory=dict)  # length of a broker's log at its start

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port in self.ports)

    def start(self, node: int) -> None:
        """Start broker ``node`` (0-based), fresh or after ``kill``; returns once it answers."""
        self.launch(node)
        self.wait_ready(node)

    def launch(self, node: int) -> None:
        """Start a broker without waiting for it."""
        with (self.folder / f"{node}.log").open("ab") as out:
            self.said[node] = out.tell()
            self.processes[node] = subprocess.Popen(
                [
                    *(sys.executable, str(TIED), str(os.getpid())),
                    *_java(self.folder),
                    *("kafka.Kafka", str(self.folder / f"{node}.properties")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for us to pass on, in order
            )

    def wait_ready(self, node: int, within_s: float = START_S) -> None:
        """Wait until the broker says that it has started and its port answers."""
        process, end = self.processes[node], time.monotonic() + within_s
        while time.monotonic() < end:
            if process.poll() is not None:
                break
            if "Kafka Server started" in self._log(node) and _answers(self.ports[node]):
                return
            time.sleep(0.05)
        raise BrokerError(f"broker {node} did not start: {self._log(node)[-2000:]}")

    def _log(self, node: int) -> str:
        return (self.folder / f"{node}.log").read_bytes()[self.said[node] :].decode()

    def kill(self, node: int) -> None:
        """End a broker with kill -9."""
        self.processes[node].kill()
        self.processes[node].wait()

    def stop(self) -> None:
        """End all brokers with kill -9, for their data is removed."""
        for process in filter(None, self.processes):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _answers(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
    except OSError:
        return False
    return True


def _java(folder: Path) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    return [tool("java"), *JAVA_FLAGS, logging, "-cp", f"{jars()}/*"]


LOGGING = """\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server
logger.server.level = info
"""


def _properties(folder: Path, node: int, brokers: int, ports: list[int], voters: str) -> str:
    quorum = min(2, brokers)
    return f"""\
node.id={node + 1}
process.roles=broker,controller
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{LOOPBACK}:{ports[node]},CONTROLLER://{LOOPBACK}:{ports[brokers + node]}
advertised.listeners=PLAINTEXT://{LOOPBACK}:{ports[node]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder / f"{node}-data"}
default.replication.factor={brokers}
min.insync.replicas={quorum}
offsets.topic.replication.factor={brokers}
offsets.topic.num.partitions=3
transaction.state.log.replication.factor={brokers}
transaction.state.log.min.isr={quorum}
transaction.state.log.num.partitions=3
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


def start_broker(n: int = 1, tries: int = 3, under: Path | None = None) -> Cluster:
    """Format and start n brokers (each also a controller) on free loopback ports.

    Their data is in a new folder ``under`` another one, by default the system's for such things.

    Raises
    ------
    BrokerError
        With the reason, when they could not be had.
    """
    jars()  # without them, another try is no use
    for left in reversed(range(tries)):
        try:
            return _start(n, under)
        except BrokerError:  # a port that was free may be taken when the broker binds it
            if not left:
                raise
    raise AssertionError("unreachable")


def _start(n: int, under: Path | None) -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="clicktide-kafka-", dir=under))
    ports = _free_ports(2 * n)
    voters = ",".join(f"{i + 1}@{LOOPBACK}:{ports[n + i]}" for i in range(n))
    cluster = Cluster(folder, ports[:n], voters, [None] * n)
    try:
        (folder / "log4j2.properties").write_text(LOGGING)
        identity = _identity()
        for node in range(n):
            config = folder / f"{node}.properties"
            config.write_text(_properties(folder, node, n, ports, voters))
            _format(folder, node, identity)
            cluster.launch(node)
        for node in range(n):
            cluster.wait_ready(node)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _identity() -> str:
    """A new one, as Kafka writes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _format(folder: Path, node: int, cluster: str) -> None:
    """Make a broker's data folder; Kafka's tool makes the first of a process, in a Java of its own.

    But for the names in ``meta.properties`` they are all alike.
    """
    data = folder / f"{node}-data"
    if not _EMPTY:
        config = str(folder / f"{node}.properties")
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", config]
        run([*_java(folder), *tool], START_S)
        _EMPTY.update({file.name: file.read_bytes() for file in data.iterdir()})
        return
    data.mkdir()
    for name, content in _EMPTY.items():
        (data / name).write_bytes(content)
    names = {"node.id": node + 1, "directory.id": _identity(), "cluster.id": cluster, "version": 1}
    meta = "".join(f"{name}={value}\n" for name, value in names.items())
    (data / "meta.properties").write_text(meta)


def main() -> None:
    """Run brokers until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with start_broker(parser.parse_args().brokers) as cluster:
        print(cluster.bootstrap, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
