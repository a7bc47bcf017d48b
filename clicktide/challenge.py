"""The command ``clicktide challenge``: another model learns the same stream in shadow."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from clicktide import options
from clicktide.process_log import begin_log
from clicktide.process_resources import give_way
from clicktide.settings import SPEC
from clicktide.stream_opening import open_stream, running_stream
from features.errors import ClicktideError
from features.spec_file import load_spec
from monitoring.registry.challenge import Challenge, river_classifier
from monitoring.registry.client import open_registry
from monitoring.watch.monitor_files import read_monitor
from monitoring.watch.window import ClosedWindow

__all__ = ["challenge"]

_SERIES = ("log_loss", "normalised_entropy", "calibration_ratio", "auc")


NameArgument = Annotated[str, typer.Argument(help="What it is called: letters, digits, - and _")]
SpecOption = Annotated[
    str | None,
    typer.Option("--spec", help="Its feature spec [default: the stream's, with --set]"),
]
RiverOption = Annotated[
    str | None,
    typer.Option(
        "--river",
        metavar="CLASS",
        help="A classifier of River instead of ours, on the spec's fields, such as "
        "linear_model.AdPredictor",
    ),
]
ParamsOption = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="A setting of River's classifier"),
]
ToMlflowOption = Annotated[
    bool, typer.Option("--to-mlflow/--no-mlflow", help="Also keep its figures in MLflow")
]
WindowSOption = Annotated[
    float,
    typer.Option(
        "--window",
        min=0.0,
        metavar="SECONDS",
        help="Of event time; 0: a minute, doubled until it has 100 clicks, as the monitor's",
    ),
]
FromEndOption = Annotated[
    bool, typer.Option("--from-end", help="Begin with what comes now, not the oldest example")
]


def challenge(
    name: NameArgument,
    folder: options.DirOption = None,
    log: options.LogOption = None,
    spec: SpecOption = None,
    changes: options.SetOption = None,
    river: RiverOption = None,
    params: ParamsOption = None,
    mlflow: options.MlflowOption = None,
    to_mlflow: ToMlflowOption = True,
    window_s: WindowSOption = 0.0,
    from_end: FromEndOption = False,
    until_idle: options.UntilIdleOption = None,
    as_json: options.JsonOption = False,
    nice: options.NiceOption = 10,
    log_format: options.LogFormatOption = None,
    log_level: options.LogLevelOption = None,
) -> None:
    """Let another model learn the same joined stream in shadow, and keep its progressive figures.

    It serves nobody. It sees every example, so that its figures compare with the champion's row by
    row. A model of ours goes on where it stopped; one of River begins the log anew.

    clicktide challenge wide --set hash.cross_bits=24

    clicktide challenge adpredictor --river linear_model.AdPredictor --param beta=0.05
    """
    say = begin_log("challenge")
    give_way(nice)
    _check_name(name)
    reads = [SPEC, "join", "monitor"]
    stream = open_stream(folder, log=log, changes=changes, reads=reads, begin=False)
    own = stream.load_spec() if spec is None else load_spec(spec, stream.spec_changes)
    home = stream.path / "challengers" / name
    classifier = None if river is None else river_classifier(river, dict(map(_param, params or ())))
    with (
        running_stream(stream) as at,
        Challenge(
            at.log, own, home,
            classifier=classifier, window_s=window_s, from_end=from_end, stream=at.settings,
            lateness_s=stream.monitor_settings().windows.lateness_s,
            publish=_publisher(name, stream.path, mlflow) if to_mlflow else None,
            now=time.time, report=say, pause=time.sleep,
        ) as process,
    ):  # fmt: skip
        process.run(stopping=at.stopping, until_idle_s=until_idle)
    say(f"challenge: {name} learned {process.watch.seen:,} examples")
    if as_json:
        windows = read_monitor(home).windows
        options.print_json({"challenger": name, "learned": process.watch.seen, "windows": windows})


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ClicktideError(f"{name!r}: no name for a challenger. Fix: letters, digits, - and _")


def _param(text: str) -> tuple[str, float | int | bool | str]:
    """Read a setting of a classifier.

    Examples
    --------
    >>> _param("beta=0.05"), _param("loss=hinge"), _param("seed=7")
    (('beta', 0.05), ('loss', 'hinge'), ('seed', 7))
    """
    key, found, value = text.partition("=")
    if not found:
        raise ClicktideError(f"--param {text!r}. Fix: KEY=VALUE, such as beta=0.05")
    try:
        return key, msgspec.json.decode(value, type=bool | int | float | str)
    except msgspec.DecodeError:
        return key, value


def _publisher(name: str, run: Path, mlflow: str | None) -> Callable[[list[ClosedWindow]], None]:
    """Sends closed windows as points of a run of their own."""
    registry = open_registry(mlflow, run)
    started: list[str] = []

    def publish(windows: list[ClosedWindow]) -> None:
        if not started:
            started.append(registry.begin_run(f"challenger {name}", {"challenger": name}, {}))
        points = []
        for window in windows:
            for key in _SERIES:
                value = getattr(window.overall, key)
                if value is not None:
                    points.append((key, float(value), window.end_ms, window.end_ms // 1000))
        registry.log_points(started[0], points)

    return publish
