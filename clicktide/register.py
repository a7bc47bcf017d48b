"""The command ``clicktide register``: model versions from the trainer's snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from clicktide.interrupts import stop_request
from clicktide.options import LogOption, NiceOption, give_way, say
from clicktide.report_out import write_report
from clicktide.report_stream import report_stream
from features.errors import ClicktideError
from monitoring.registry import Register, Registry, RegistrySettings, load_registry_settings
from monitoring.registry.client import registry_urls
from monitoring.registry.follow import Follower
from streaming.log import open_log

__all__ = ["ChangesOption", "MlflowOption", "SettingsOption", "register"]

MlflowOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        envvar="MLFLOW_TRACKING_URI",
        metavar="URL",
        help="MLflow: http://HOST:PORT or sqlite:///FILE [default: RUN/mlflow.db]",
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option("--registry-settings", help="TOML file of the registry's settings"),
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set-registry",
        metavar="KEY=VALUE",
        help="Change one of them, e.g. version_every_s=60, gate.min_clicks=50; may be repeated",
    ),
]


def register(
    log: LogOption = "run/log.db",
    run: Annotated[
        Path, typer.Option("--run", help="Folder of the stream: registry and versions lie there")
    ] = Path("run"),
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The trainer's --dir [default: RUN/model]"),
    ] = None,
    served: Annotated[
        Path | None,
        typer.Option(
            "--served",
            help="Where versions for servers on this machine are put [default: RUN/served]",
        ),
    ] = None,
    mlflow: MlflowOption = None,
    attach: Annotated[
        list[Path] | None,
        typer.Option(
            "--attach", help="Keep this file with every version, beside the monitor's drift report"
        ),
    ] = None,
    alarms: Annotated[
        Path | None,
        typer.Option(
            "--alarms",
            help="The monitor's alarms, for gate.roll_back_on_alarm "
            "[default: RUN/monitor/alarms.jsonl]",
        ),
    ] = None,
    settings: SettingsOption = None,
    changes: ChangesOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Register what is there now, judge, and stop")
    ] = False,
    nice: NiceOption = 10,
) -> None:
    """Register the trainer's snapshots as model versions, and let the gate choose the champion.

    Every five minutes the newest snapshot becomes a version in MLflow, with its figures, its place
    in the log and the drift report of that moment. A version is judged, beside the champion, on the
    examples that came after it; if it passes it becomes the champion. Old versions are deleted,
    files too. With MLflow away versions wait on disk.

    clicktide register --log run/log.db --run run

    clicktide register --mlflow http://mlflow:5000 --set-registry version_every_s=60

    python -c 'import mlflow; print(mlflow.pyfunc.load_model("models:/clicktide@champion"))'
    """
    give_way(nice)
    known = load_registry_settings(settings, changes or ())
    if once:
        known = _at_once(known)
    url, artifacts = registry_urls(mlflow, run)
    run.mkdir(parents=True, exist_ok=True)
    drift = run / "registry" / "drift_report.html"
    process = Register(
        model or run / "model",
        run / "registry",
        Registry(url, known.model, artifacts),
        lambda: open_log(log),
        known,
        now=time.time,
        report=say,
        attach=(*(attach or ()), drift, drift.with_suffix(".json")),
        prepare=partial(_write_drift, drift, run, url),
        alarms=alarms or run / "monitor" / "alarms.jsonl",
    )
    follower = Follower(
        Registry(url, known.model, artifacts), served or run / "served", now=time.time, report=say
    )
    say(f"register: versions of {process.model} go to {url}")
    with stop_request() as request:
        process.step()
        if once:
            follower.step()
            return
        with _following(follower, known.poll_s):
            while not request.asked:
                time.sleep(known.poll_s)
                process.step()
        process.finish()


def _at_once(settings: RegistrySettings) -> RegistrySettings:
    return msgspec.structs.replace(settings, version_every_s=1e-9, metrics_every_s=1e-9)


def _write_drift(out: Path, run: Path, mlflow: str) -> None:
    """Write the drift report for the next version, where a monitor watches the stream."""
    if not (run / "monitor" / "now.json").exists():
        return
    try:
        write_report(report_stream(run, int(time.time() * 1000), mlflow), out)
    except ClicktideError as error:
        say(f"register: a version without a new drift report: {error}")


@contextmanager
def _following(follower: Follower, every_s: float) -> Iterator[None]:
    """Follow the aliases in a thread: a large version must not hold up a rollback."""
    over = threading.Event()

    def run() -> None:
        follower.run(stopping=over.is_set, every_s=every_s, pause=over.wait)

    thread = threading.Thread(target=run, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30.0)
