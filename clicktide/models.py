"""The commands ``clicktide models``: versions, the champion, and the way back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from clicktide.options import (
    DirOption,
    JsonOption,
    MlflowOption,
    SetOption,
    SettingsOption,
    print_json,
)
from clicktide.process_log import begin_log
from clicktide.stream_opening import open_stream
from features.errors import ClicktideError
from monitoring.registry.actions import pin, promote, roll_back, unpin
from monitoring.registry.client import Registry, open_registry
from monitoring.registry.follow import Follower
from monitoring.registry.versions import Version
from streaming.signals import stop_request
from streaming.time_text import now_ms, stamp

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
NumberArgument = Annotated[int, typer.Argument(metavar="V", min=1, help="Number of the version")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the registered model")]
WhyOption = Annotated[str, typer.Option("--why", help="Kept with the version, for others to read")]


@app.command("list")
def list_(
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    name: NameOption = "clicktide",
    as_json: JsonOption = False,
) -> None:
    """List the versions, newest first: who is champion, who passed the gate, how good they were.

    clicktide models list

    clicktide models list --mlflow http://mlflow:5000 --json
    """
    registry = _open(folder, mlflow, name)
    versions = registry.versions()[::-1]
    if as_json:
        print_json({"model": name, "url": registry.where, "versions": versions})
    elif not versions:
        typer.echo(f"No versions of {name} at {registry.where}. `clicktide register` makes them.")
    else:
        Console().print(_table(versions))


@app.command()
def show(
    number: NumberArgument,
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    name: NameOption = "clicktide",
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of a version: figures, place in the log, what the gate said.

    clicktide models show 7
    """
    version = _open(folder, mlflow, name).version(number)
    if as_json:
        print_json(version)
    else:
        Console().print(_details(version))


@app.command("promote")
def promote_(
    number: NumberArgument,
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    name: NameOption = "clicktide",
    why: WhyOption = "promoted by hand",
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion, whatever the gate says.

    clicktide models promote 7 --why "checked by hand"
    """
    promote(_open(folder, mlflow, name), number, now_ms(), why)
    _print_outcome(as_json, f"version {number} is champion", champion=number)


@app.command()
def rollback(
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="V", min=1, help="Which version [default: the last champion]"),
    ] = None,
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    name: NameOption = "clicktide",
    why: WhyOption = "rolled back by hand",
    as_json: JsonOption = False,
) -> None:
    """Go back to an earlier version, and serve it until `models unpin`.

    Servers follow within seconds, also those that serve live weights. The gate promotes nothing
    until `models unpin`.

    clicktide models rollback

    clicktide models rollback --to 5 --why "bots since noon"
    """
    left, reached = roll_back(_open(folder, mlflow, name), to, now_ms(), why)
    message = f"from version {left} back to {reached}; it is served until `clicktide models unpin`"
    _print_outcome(as_json, message, left=left, champion=reached, serve=reached)


@app.command("pin")
def pin_(
    number: NumberArgument,
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    name: NameOption = "clicktide",
    as_json: JsonOption = False,
) -> None:
    """Serve this version, and keep it, until `models unpin`; the champion stays what it is.

    clicktide models pin 5
    """
    pin(_open(folder, mlflow, name), number)
    _print_outcome(
        as_json, f"version {number} is served until `clicktide models unpin`", serve=number
    )


@app.command("unpin")
def unpin_(
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    name: NameOption = "clicktide",
    as_json: JsonOption = False,
) -> None:
    """Serve what the serving policy says again (live weights, or the champion).

    clicktide models unpin
    """
    unpin(_open(folder, mlflow, name))
    _print_outcome(as_json, "nothing is pinned; the gate promotes again", serve=None)


@app.command()
def follow(
    folder: DirOption = None,
    mlflow: MlflowOption = None,
    settings: SettingsOption = None,
    changes: SetOption = None,
) -> None:
    """Keep DIR/served in step with the champion and the pinned version, until Ctrl-C.

    `clicktide register` does so on its machine; this is for others that serve.

    clicktide models follow --mlflow http://mlflow:5000
    """
    stream = open_stream(
        folder,
        settings=settings,
        changes=changes,
        reads=["registry"],
        needs_spec=False,
        begin=False,
    )
    known = stream.registry_settings()
    registry = open_registry(mlflow, stream.path, known.model)
    follower = Follower(registry, stream.served, now=time.time, report=begin_log("follow"))
    with stop_request() as request:
        follower.run(stopping=lambda: request.asked, every_s=known.poll_s)


def _open(folder: Path | None, mlflow: str | None, name: str) -> Registry:
    """The registry, if it is there: a look must not make one."""
    run = open_stream(folder, needs_spec=False, begin=False).path
    if mlflow is None and not (run / "mlflow.db").exists():
        raise ClicktideError(
            f"{run / 'mlflow.db'}: no registry here. Fix: name the stream's folder with --dir, or "
            "a server with --mlflow; `clicktide register` makes one"
        )
    return open_registry(mlflow, run, name)


def _table(versions: list[Version]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("version", "made, UTC", "alias", "gate"):
        table.add_column(title, no_wrap=True)
    for title in ("events", "calibration", "NE"):
        table.add_column(title, justify="right")
    for v in versions:
        kept = (v.figures.get(k) for k in ("calibration_ratio", "normalised_entropy"))
        table.add_row(
            str(v.number), _time(v.created_ms)[5:-3], ", ".join(v.aliases), v.gate, f"{v.events:,}",
            *map(_number, kept),
        )  # fmt: skip
    return table


def _details(version: Version) -> Table:
    table = Table(show_header=False)
    rows: dict[str, Any] = {
        "version": version.number,
        "made": _time(version.created_ms),
        "aliases": ", ".join(version.aliases) or "none",
        "gate": version.gate,
        "reasons": "\n".join(version.reasons) or "none yet",
        "spec": f"{version.spec} {version.identity[:12]}",
        "program": version.code,
        "events learned": f"{version.events:,}",
        "up to event time": _time(version.event_time),
        "next offsets": ", ".join(map(str, version.offsets)),
        "files": version.source,
    }
    for who, figures in (("", version.figures), *version.judged.items()):
        for key in ("events", "calibration_ratio", "normalised_entropy", "log_loss", "auc"):
            rows[f"{who or 'progressive'}: {key.replace('_', ' ')}"] = _number(figures.get(key))
    for row in rows.items():
        table.add_row(*map(str, row))
    return table


def _time(ms: int) -> str:
    return stamp(ms) if ms else ""


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.5f}"


def _print_outcome(as_json: bool, message: str, **about: Any) -> None:
    if as_json:
        print_json(about)
    else:
        typer.echo(message)
