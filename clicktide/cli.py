"""The ``clicktide`` command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperGroup

import clicktide
from clicktide.process_log import write_error
from clicktide.process_resources import collect_seldom, do_without_probed, keep_freed_memory
from features.errors import ClicktideError
from features.public_url import public_text

__all__ = ["COMMANDS", "LazyCommand", "app", "main"]


class LazyCommand(NamedTuple):
    """Where a command is, and its line in ``clicktide --help``.

    Parameters
    ----------
    panel
        Heading that it stands under.
    place
        ``module:name`` of a function, or of a ``Typer`` with commands of its own.
    purpose
        What it is for.
    """

    panel: str
    place: str
    purpose: str

    def load(self, name: str) -> Any:
        """Import the command."""
        module, _, attribute = self.place.partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if isinstance(loaded, typer.Typer):
            group = typer.main.get_command(loaded)
            group.name = name
            return group
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(name)(loaded)
        return typer.main.get_command(app)


_LEARN, _STREAM, _SERVE, _WATCH = "Learn", "Stream", "Serve", "Watch"
_MODELS, _TOOLS = "Models", "Tools"

COMMANDS = {
    name: LazyCommand(panel, f"clicktide.{place}", purpose)
    for name, panel, place, purpose in (
        ("demo", _LEARN, "demo:demo", "Show the whole loop on a simulated market"),
        ("spec", _LEARN, "spec_commands:app", "Write, check and list feature specs"),
        ("replay", _LEARN, "replay:replay", "Learn a click log; or publish it (--to)"),
        ("predict", _LEARN, "predict:predict", "Score a log with a saved model"),
        ("evaluate", _LEARN, "evaluate:evaluate", "Learn part of a log, score the rest"),
        ("explain", _LEARN, "explain:explain", "Show what a prediction is made of"),
        ("up", _STREAM, "up:up", "Run all processes of a stream and keep them running"),
        ("join", _STREAM, "stream_processes:join", "Label impressions with their clicks"),
        ("count", _STREAM, "stream_processes:count", "Keep counters of views and clicks in Redis"),
        ("train", _STREAM, "stream_processes:train", "Learn labelled examples as they come"),
        ("settings", _STREAM, "settings:settings", "Show what is in effect, and its origin"),
        ("status", _STREAM, "status:status", "Show how far each process is"),
        ("backup", _STREAM, "backup:backup", "Write a whole stream into one file"),
        ("restore", _STREAM, "backup:restore", "Make a stream's folder of such a file"),
        ("doctor", _STREAM, "doctor:doctor", "Look for what is wrong with host, log and store"),
        ("events", _STREAM, "events:events", "Show the events of a topic"),
        ("serve", _SERVE, "serve:serve", "Answer requests for click probabilities"),
        ("monitor", _WATCH, "stream_processes:monitor", "Watch calibration and raise alarms"),
        ("alarms", _WATCH, "alarms:app", "List alarms, acknowledge or silence them"),
        ("report", _WATCH, "report:report", "Write the drift report of a stream or log"),
        ("register", _MODELS, "register:register", "Make model versions in MLflow"),
        ("models", _MODELS, "models:app", "List, promote, pin and roll back versions"),
        ("challenge", _MODELS, "challenge:challenge", "Try another model in shadow"),
        ("simulate", _TOOLS, "simulate:simulate", "Write a simulated market to files"),
    )
}


class _LazyCommands(Mapping[str, Any]):
    """All commands by name; each is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return COMMANDS[name].load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _LazyGroup(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, _LazyCommands())

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write plain text: drawing it with rich takes longer than all the rest."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each panel's commands."""
        panels: dict[str, list[tuple[str, str]]] = {}
        widest = max(map(len, COMMANDS))
        for name, command in COMMANDS.items():
            panels.setdefault(command.panel, []).append((name.ljust(widest), command.purpose))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


# MLflow, which these may need, needs pandas and SciPy.
_MLFLOW_COMMANDS = {"register", "models", "challenge", "report", "evaluate"}

app = typer.Typer(
    name="clicktide",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clicktide {clicktide.__version__}")
        raise typer.Exit


@app.callback()
def _clicktide(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version"),
    ] = False,
) -> None:
    """Learn ad clicks as they come: replay a log, simulate a market, predict, explain."""


def main() -> None:
    """Run the command line; an error of the input is one message and exit code 2."""
    collect_seldom()
    keep_freed_memory()
    if not _MLFLOW_COMMANDS & set(sys.argv[1:2]):
        do_without_probed()
    try:
        app(prog_name="clicktide")
    except ClicktideError as error:
        _print_error(str(error))
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _print_error(message: str) -> None:
    if write_error(message):
        return
    from rich.console import Console  # a tenth of a second, which --help does without
    from rich.markup import escape

    text = f"[bold red]error:[/] {escape(public_text(message))}"
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)
