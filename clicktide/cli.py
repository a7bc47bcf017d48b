"""The ``clicktide`` command."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from clicktide.count import count
from clicktide.events import events
from clicktide.explain import explain
from clicktide.join import join
from clicktide.memory import keep_freed_memory
from clicktide.monitor import monitor
from clicktide.predict import predict
from clicktide.replay import replay
from clicktide.simulate import simulate
from clicktide.spec_commands import app as spec_app
from clicktide.status import status
from clicktide.train import train
from clicktide.up import up
from features.errors import ClicktideError

__all__ = ["app", "main"]

app = typer.Typer(
    name="clicktide",
    help="Learn ad clicks as they come: replay a log, simulate a market, predict, explain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(replay)
app.command()(simulate)
app.command()(predict)
app.command()(explain)
app.command()(count)
app.command()(join)
app.command()(monitor)
app.command()(events)
app.command()(up)
app.command()(status)
app.command()(train)
app.add_typer(spec_app, name="spec", help="Check a feature spec, or write a first one for a log.")


def main() -> None:
    """Run the command line; an error of the input is one message and exit code 2."""
    keep_freed_memory()
    try:
        app()
    except ClicktideError as error:
        Console(stderr=True, highlight=False).print(
            f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True
        )
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _escape(text: str) -> str:
    """Keep rich from reading field[2] as markup."""
    return text.replace("[", r"\[")
