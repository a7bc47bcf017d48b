"""The command ``clicktide register``: model versions from the trainer's snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from clicktide import options
from clicktide.health_server import Steps, health_server
from clicktide.process_log import begin_log
from clicktide.process_resources import give_way
from clicktide.report import report_stream
from clicktide.stream_folder import StreamFolder
from clicktide.stream_opening import open_stream
from features.errors import ClicktideError
from monitoring.registry.client import open_registry
from monitoring.registry.follow import Follower
from monitoring.registry.guard import Guard
from monitoring.registry.process import Register
from monitoring.registry.settings import RegistrySettings
from monitoring.registry.snapshots import SnapshotCache
from monitoring.report.page import write_report
from streaming.log import open_log
from streaming.signals import stop_request
from streaming.time_text import now_ms

__all__ = ["register"]

AttachOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--attach", help="Keep this file with every version, beside the monitor's drift report"
    ),
]
_LONGEST_STEP_S = 3_600.0  # of a large version, a report and a slow MLflow together
OnceOption = Annotated[
    bool, typer.Option("--once", help="Register what is there now, judge, and stop")
]


def register(
    folder: options.DirOption = None,
    log: options.LogOption = None,
    mlflow: options.MlflowOption = None,
    attach: AttachOption = None,
    settings: options.SettingsOption = None,
    changes: options.SetOption = None,
    once: OnceOption = False,
    nice: options.NiceOption = 10,
    health: options.HealthOption = None,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Register the trainer's snapshots as model versions, and let the gate choose the champion.

    Every five minutes the newest snapshot becomes a version in MLflow, with its figures, its place
    in the log and the drift report of that moment. A version is judged, beside the champion, on the
    examples that came after it; if it passes it becomes the champion. Old versions are deleted,
    files too. With MLflow away versions wait on disk.

    clicktide register

    clicktide register --mlflow http://mlflow:5000 --set registry.version_every_s=60

    python -c 'import mlflow; print(mlflow.pyfunc.load_model("models:/clicktide@champion"))'
    """
    say = begin_log("register")
    stream = open_stream(
        folder, log=log, settings=settings, changes=changes, reads=["registry"], needs_spec=False
    )
    known = stream.registry_settings()
    if once:
        known = msgspec.structs.replace(known, version_every_s=1e-9, metrics_every_s=1e-9)
    guard = _guard(stream, known, mlflow, say)
    process = _process(stream, known, mlflow, attach or (), say, guard)
    registry = open_registry(mlflow, stream.path, known.model)  # of another thread
    follower = Follower(registry, stream.served, now=time.time, report=say)
    say(f"register: versions of {process.model} go to {registry.where}")
    with stop_request() as request:
        steps = Steps(lambda: request.asked)
        if once:
            process.step()
            follower.step()
            return
        following = partial(follower.run, every_s=known.poll_s)
        with (
            health_server(health, "register", steps, still_s=_LONGEST_STEP_S),
            _beside("follow", following),
            _beside("guard", partial(guard.run, now=time.time)),
        ):
            give_way(nice)  # this thread alone: a rollback goes before versions and reports
            process.step()
            while not steps.stopping():
                time.sleep(known.poll_s)
                process.step()
        process.finish()


def _process(
    stream: StreamFolder,
    settings: RegistrySettings,
    mlflow: str | None,
    attach: Sequence[Path],
    say: Callable[[str], None],
    guard: Guard,
) -> Register:
    """The register process of a stream, with its drift report beside each version."""
    run = stream.path
    registry = open_registry(mlflow, run, settings.model)
    drift = run / "registry" / "drift_report.html"
    return Register(
        stream.model,
        run / "registry",
        registry,
        lambda: open_log(stream.log),
        settings,
        now=time.time,
        report=say,
        attach=(*attach, drift, drift.with_suffix(".json")),
        prepare=partial(_write_drift, drift, run, registry.url, say),
        alarms=stream.monitor / "alarms.jsonl",
        guard=guard,
    )


def _guard(
    stream: StreamFolder, settings: RegistrySettings, mlflow: str | None, say: Callable[[str], None]
) -> Guard:
    """The guard of a stream's live weights, with a registry of its own."""
    registry = open_registry(mlflow, stream.path, settings.model)
    folder = stream.path / "registry"
    return Guard(
        registry,
        SnapshotCache(registry, folder / "versions"),
        lambda: open_log(stream.log),
        stream.stream_settings().learned_topic,
        settings.gate,
        folder,
        say,
    )


def _write_drift(out: Path, run: Path, mlflow: str, say: Callable[[str], None]) -> None:
    """Write the drift report for the next version, where a monitor watches the stream."""
    if not (run / "monitor" / "now.json").exists():
        return
    try:
        write_report(report_stream(run, now_ms(), mlflow), out)
    except ClicktideError as error:
        say(f"register: a version without a new drift report: {error}")


@contextmanager
def _beside(name: str, run: Callable[..., None]) -> Iterator[None]:
    """Run something in a thread: a large version, or a report, must not hold up a rollback."""
    over = threading.Event()

    def until_over() -> None:
        run(stopping=over.is_set, pause=over.wait)

    thread = threading.Thread(target=until_over, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30.0)
