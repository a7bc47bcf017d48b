"""What ``clicktide up`` runs, and what it tells of it."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clicktide.stream_folder import StreamFolder
from features.public_url import public_url
from features.spec_file import load_spec
from serving.bodies import EXAMPLE

__all__ = ["Serving", "Stream", "Watching", "announce"]


@dataclass(frozen=True)
class Serving:
    """Where predictions are asked for, and how many processes answer.

    The socket stays open while they are replaced: who asks meanwhile waits, and is not refused.
    """

    listening: socket.socket
    workers: int = 1

    @property
    def port(self) -> int:
        """The port."""
        return int(self.listening.getsockname()[1])

    @property
    def url(self) -> str:
        """Where to ask."""
        return f"http://localhost:{self.port}"


@dataclass(frozen=True)
class Watching:
    """What looks after the model: the monitor, and versions in MLflow."""

    monitor: bool = True
    register: bool = True
    mlflow: str | None = None


@dataclass(frozen=True)
class Stream:
    """A stream that is ready to run."""

    of: StreamFolder
    redis: str | None
    counters: bool
    serving: Serving | None = None
    watching: Watching = Watching()

    @property
    def folder(self) -> Path:
        """Where all of it is."""
        return self.of.path

    @property
    def log(self) -> str:
        """URL of the event log."""
        return self.of.log

    @property
    def spec(self) -> str:
        """The feature spec's name or file."""
        return self.of.spec


def announce(stream: Stream, redis_url: str, show: Callable[[str, str], None]) -> None:
    """Say what runs, and what to do next."""
    simulated = stream.spec in ("sim", "market")
    market = "'sim:abrupt?events=200000&max_click_delay_ms=600000'"
    source = market if simulated else "FILE"
    where = shlex.quote(str(stream.folder))
    show("", f"event log {stream.log}, spec {stream.spec}, all in {stream.folder}/")
    show("", f"feature store {public_url(redis_url)}")
    show("", f"messages of each process also in {stream.folder / 'logs'}/")
    show("", "next, in another terminal:")
    show("", f"  clicktide replay {source} --dir {where} --shift ends-now")
    show("", f"  clicktide status --watch --dir {where}")
    if stream.serving is not None:
        _announce_serving(stream.spec, stream.serving, show)


def _announce_serving(spec: str, serving: Serving, show: Callable[[str, str], None]) -> None:
    """Commands that work when pasted."""
    read = load_spec(spec)
    simulated = spec in ("sim", "market")
    fields = EXAMPLE if simulated else {field.names[0]: "..." for field in read.fields[:3]}
    body = json.dumps({"fields": fields})
    show("", f"predictions at {serving.url}/, from what is learned at that moment:")
    show("", f"  curl {serving.url}/v1/predict -d {shlex.quote(body)}")
    show("", f"  curl {serving.url}/v1/model")
