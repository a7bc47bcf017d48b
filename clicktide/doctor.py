"""The command ``clicktide doctor``: what is wrong with the host, log, store, disk and clock."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal, cast

import httpx
import msgspec
import redis
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clicktide.child_processes import local_processes
from clicktide.options import (
    DirOption,
    JsonOption,
    LogOption,
    MlflowOption,
    RedisOption,
    print_json,
)
from clicktide.settings import given_changes
from clicktide.stream_folder import StreamFolder
from clicktide.stream_opening import open_existing, open_stream
from features.counters.redis_clients import StoreClient, store_client
from features.errors import ClicktideError
from features.kernel_folder import kernel_folder
from features.public_url import public_text, public_url
from streaming.freshness import clock_note, freshness, stale
from streaming.settings_file import SECTIONS
from streaming.status import look_at
from streaming.time_text import now_ms

__all__ = ["Finding", "doctor"]

State = Literal["ok", "warning", "fault"]
_LITTLE_DISK, _NO_DISK = 5 << 30, 200 << 20
_LITTLE_MEMORY = 1 << 30
_FEW_FILES = 1_024
_CLOCK_S = 2.0
_ROUND_TRIPS = 21
_SHARED = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"}
_STYLE = {"ok": "green", "warning": "yellow", "fault": "bold red"}


class Finding(msgspec.Struct, frozen=True):
    """Something that was looked at.

    Parameters
    ----------
    about
        What.
    state
        ``ok``; ``warning``: it works, and will not always; ``fault``: it does not work.
    text
        What was found and, unless it is well, what to do.
    """

    about: str
    state: State
    text: str


def doctor(
    folder: DirOption = None,
    log: LogOption = None,
    redis_url: RedisOption = None,
    mlflow: MlflowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong: host, disk, settings, log, store, clock, registry, processes.

    It only reads, and shows neither secrets nor data. Each fault says what to do; with one the exit
    code is 1.

    clicktide doctor

    clicktide doctor --dir ads --json
    """
    stream = open_stream(
        folder, log=log, needs_spec=False, begin=False, reads=tuple(SECTIONS),
        changes=given_changes("stream", redis=redis_url),
    )  # fmt: skip
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "host": _host,
        "disk": lambda: _disk(stream),
        "settings": lambda: _settings(stream),
        "log": lambda: _log(stream),
        "store": lambda: _store(stream),
        "registry": lambda: _registry(stream, mlflow),
        "processes": lambda: _processes(stream),
    }
    findings = [one for about, check in checks.items() for one in _told(about, check)]
    if as_json:
        print_json({"findings": findings})
    else:
        Console().print(_table(findings))
    if any(one.state == "fault" for one in findings):
        raise typer.Exit(1)


def _told(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds, the error that ends it among that."""
    try:
        yield from check()
    except ClicktideError as error:
        yield Finding(about, "fault", public_text(str(error)))


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in findings:
        table.add_row(one.about, Text(one.state, style=_STYLE[one.state]), Text(one.text))
    return table


def _host() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("host", "ok", f"{cores} cores")
    if (free := _free_memory()) is not None:
        short = free < _LITTLE_MEMORY
        fix = ". Fix: a stream takes 1 to 2 GB; end something, or lower hash.cross_bits" * short
        yield Finding("memory", "warning" if short else "ok", f"{_size(free)} free{fix}")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = files < _FEW_FILES
    fix = f". Fix: ulimit -n {_FEW_FILES} or more, before clicktide starts" * few
    yield Finding("open files", "warning" if few else "ok", f"{files:,} allowed{fix}")
    kernels = kernel_folder()
    yield Finding("kernels", "ok", f"compiled ones are kept in {kernels}")


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    free = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * int(kilobytes) for kilobytes in free), None)


def _size(of: float) -> str:
    return f"{of / (1 << 30):,.1f} GiB" if of >= 1 << 30 else f"{of / (1 << 20):,.0f} MiB"


def _disk(stream: StreamFolder) -> Iterator[Finding]:
    place = stream.path
    if not place.is_dir():
        fix = "clicktide up makes it, or name another with --dir"
        yield Finding("folder", "warning", f"{place}: there is none. Fix: {fix}")
        return
    if not os.access(place, os.W_OK):
        yield Finding("folder", "fault", f"{place}: cannot be written. Fix: chown or chmod it")
    free = shutil.disk_usage(place).free
    state: State = "fault" if free < _NO_DISK else "warning" if free < _LITTLE_DISK else "ok"
    fix = ". Fix: make room, or a shorter stream.retention_h" * (state != "ok")
    yield Finding("disk", state, f"{_size(free)} free at {place}{fix}")
    if stream.embedded_log is not None and (kind := _file_system(place)) in _SHARED:
        text = f"{place} is on {kind}: an embedded log needs a disk of this machine"
        yield Finding("disk", "fault", f"{text}. Fix: --dir on such a disk, or --log kafka://...")


def _file_system(place: Path) -> str | None:
    """The kind of file system that a folder is on, where Linux tells."""
    try:
        lines = Path("/proc/mounts").read_text("utf-8").splitlines()
    except OSError:
        return None
    here, mounts = place.resolve(), [line.split()[1:3] for line in lines]
    over = [(len(at), kind) for at, kind in mounts if here.is_relative_to(at)]
    return max(over)[1] if over else None


def _settings(stream: StreamFolder) -> Iterator[Finding]:
    changed = [one for one in stream.effective() if one.origin != "default"]
    yield Finding("settings", "ok", f"{len(changed)} are not the default (clicktide settings)")
    if stream.spec:
        yield Finding(
            "spec", "ok", f"{stream.spec}: {len(stream.load_spec().fields)} groups of fields"
        )


def _log(stream: StreamFolder) -> Iterator[Finding]:
    with open_existing(stream.log) as log:
        topics, look = log.topics(), look_at(log, now_ms())
    where = public_url(stream.log)
    yield Finding("log", "ok", f"{where} answers, {len(look.topics)} topics")
    for topic in stream.stream_settings().topics():
        there = topics.get(topic.name)
        if there is None:
            text = f"{topic.name} is missing. Fix: any process of the stream makes it"
            yield Finding("topics", "warning", text)
        elif there != topic.partitions:
            text = f"{topic.name} has {there} partitions, the settings say {topic.partitions}"
            yield Finding("topics", "fault", f"{text}. Fix: stream.partitions as it was")
    fresh = freshness(look)
    for sentence in (*stale(fresh, look.at_ms), clock_note(fresh, look.at_ms)):
        if sentence:
            yield Finding("stream", "warning", sentence)
    for group in look.groups:
        yield Finding("lag", "ok", f"{group}: {look.lag(group):,} records to read")
    for what, count in look.rejected().items():
        fix = "clicktide events dead_letters shows them, each with its reason"
        yield Finding("rejected", "warning", f"{what}: {count:,}. Fix: {fix}")


def _store(stream: StreamFolder) -> Iterator[Finding]:
    url = stream.store_url()
    own = not stream.stream_settings().redis
    if url is None or (own and _running(stream) is None):
        yield Finding("store", "ok", "none now: clicktide up starts one where counters need it")
        return
    where = public_url(url)
    try:
        with closing(store_client(url, socket_timeout=5.0, socket_connect_timeout=5.0)) as client:
            yield from _asked_store(client, where, stream.serve_settings().store_budget_ms)
    except (redis.RedisError, OSError) as error:
        fix = "start it, or name another with --redis"
        yield Finding(
            "store", "fault", f"{where}: {public_text(str(error)).rstrip('.')}. Fix: {fix}"
        )


def _asked_store(client: StoreClient, where: str, budget_ms: float) -> Iterator[Finding]:
    took = []
    for _ in range(_ROUND_TRIPS):
        start = time.perf_counter()
        pipeline = client.pipeline(transaction=False)
        pipeline.get("clicktide")
        pipeline.execute()
        took.append(1000 * (time.perf_counter() - start))
    middle = statistics.median(took)
    slow = middle > budget_ms / 2
    fix = f". Fix: a nearer store, or serve.store_budget_ms above {budget_ms:g}" * slow
    yield Finding("store", "warning" if slow else "ok", f"{where} answers in {middle:.2f} ms{fix}")
    if isinstance(client, redis.Redis):  # of a cluster, each node has its own
        seconds, micros = client.time()
        yield _clock(seconds + micros / 1e6 - time.time(), "the store's")
        yield from _store_settings(client)


def _clock(ahead_s: float, whose: str) -> Finding:
    if abs(ahead_s) <= _CLOCK_S:
        return Finding("clock", "ok", f"as {whose}, to {_CLOCK_S:g} s")
    text = f"{whose} is {abs(ahead_s):,.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    return Finding("clock", "warning", f"{text}. Fix: NTP on both machines")


def _store_settings(client: redis.Redis) -> Iterator[Finding]:
    """What a store must be set to, for counters to be exact; managed ones may not tell."""
    for name, due, why in (
        ("maxmemory-policy", "noeviction", "counters would vanish when memory is short"),
        ("appendonly", "yes", "counters of the last seconds would be lost with it"),
    ):
        with suppress(redis.ResponseError):  # forbidden there
            answer = cast(dict[Any, Any], client.config_get(name))
            value = next(
                (
                    value.decode() if isinstance(value, bytes) else str(value)
                    for value in answer.values()
                ),
                due,
            )
            if value != due:
                fix = f"CONFIG SET {name} {due}, and in its file"
                yield Finding("store", "warning", f"{name} is {value}: {why}. Fix: {fix}")


def _registry(stream: StreamFolder, mlflow: str | None) -> Iterator[Finding]:
    """Ask a server for its health: MLflow's client would take seconds to import."""
    if mlflow is None or not mlflow.startswith("http"):
        there = (stream.path / "mlflow.db").exists()
        yield Finding(
            "registry", "ok", "in the folder" if there else "none yet (clicktide register)"
        )
        return
    where = public_url(mlflow)
    try:
        status = httpx.get(f"{mlflow.rstrip('/')}/health", timeout=10.0).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"{where}: {public_text(str(error))}"
        fix = "start it; versions wait on disk meanwhile"
        yield Finding("registry", "fault", f"{text}. Fix: {fix}")
        return
    well = status == 200
    fix = "" if well else f" with {status}. Fix: see its log"
    yield Finding("registry", "ok" if well else "warning", f"{where} answers{fix}")


def _running(stream: StreamFolder) -> dict[str, Any] | None:
    """What ``clicktide up`` runs in the folder, if it runs."""
    processes = local_processes(stream.path)
    return processes if processes is not None and processes["runs"] else None


def _processes(stream: StreamFolder) -> Iterator[Finding]:
    processes = _running(stream)
    if processes is None:
        yield Finding("processes", "ok", "clicktide up does not run in this folder")
        return
    for name, at in processes["children"].items():
        log = stream.path / "logs" / f"{name}.log"
        state: State = "ok" if at["runs"] else "fault"
        text = f"{name} runs" if at["runs"] else f"{name} does not run. Fix: {log} says why"
        if at["runs"] and at["starts"] > 1:
            state, text = "warning", f"{text}, after {at['starts']} starts. Fix: {log} says why"
        yield Finding("processes", state, text)
