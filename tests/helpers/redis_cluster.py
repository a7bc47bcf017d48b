"""A Redis Cluster of three primaries, each with a replica, for tests and stages."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import redis
from waiting import until

from clicktide.valkey import _binary, free_port

__all__ = ["RedisCluster", "answer"]

_SLOTS = 16_384


def answer(ask: Callable[[], object]) -> object:
    """What a node says; ``None`` while it does not."""
    try:
        return ask()
    except redis.RedisError:
        return None


class RedisCluster:
    """Six nodes; the first three begin as primaries.

    Parameters
    ----------
    folder
        Gets a folder for each node.
    """

    def __init__(self, folder: Path) -> None:
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        for _ in range(6):
            self._start(folder)
        for i, port in enumerate(self.ports[:3]):
            first, last = i * _SLOTS // 3, (i + 1) * _SLOTS // 3 - 1
            self._ask(port, "CLUSTER ADDSLOTSRANGE", first, last)
        until(lambda: all(self._about(port)["cluster_known_nodes"] == "6" for port in self.ports))
        for primary, replica in zip(self.ports[:3], self.ports[3:], strict=True):
            name = self._ask(primary, "CLUSTER MYID")
            until(lambda r=replica, n=name: answer(lambda: self._ask(r, "CLUSTER REPLICATE", n)))
        until(lambda: all(self._is_well(port) for port in self.ports))

    def _start(self, folder: Path) -> None:
        port, bus = free_port(), free_port()
        home = folder / f"node-{port}"
        home.mkdir(parents=True)
        command = [
            _binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", "",
            "--cluster-enabled", "yes", "--cluster-port", str(bus),
            "--cluster-node-timeout", "2000", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        with (home / "log").open("wb") as log:
            self.nodes[port] = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: answer(self.node(port).ping))
        if port != self.ports[0]:
            self._ask(self.ports[0], "CLUSTER MEET", "127.0.0.1", port, bus)

    @property
    def ports(self) -> list[int]:
        """Of all nodes, in the order in which they were made."""
        return list(self.nodes)

    def node(self, port: int) -> redis.Redis:
        """A client of one node."""
        return redis.Redis(port=port, socket_timeout=5.0)

    def _ask(self, port: int, *command: object) -> object:
        return self.node(port).execute_command(*command)

    def _about(self, port: int) -> dict[str, str]:
        return self._ask(port, "CLUSTER INFO")

    def _is_well(self, port: int) -> bool:
        about = self.node(port).info("replication")
        linked = about["role"] == "master" or about["master_link_status"] == "up"
        return linked and self._about(port)["cluster_state"] == "ok"

    @property
    def url(self) -> str:
        """Of the cluster."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def primaries(self) -> list[int]:
        """Ports of those that are primaries now."""
        running = [port for port, process in self.nodes.items() if process.poll() is None]
        return [p for p in running if self.node(p).info("replication")["role"] == "master"]

    def kill(self, port: int) -> None:
        """End a node with kill -9."""
        self.nodes[port].kill()
        self.nodes[port].wait()

    def stop(self) -> None:
        """End all nodes."""
        for port in self.ports:
            self.kill(port)
