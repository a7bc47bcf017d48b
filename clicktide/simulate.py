"""The command ``clicktide simulate``: a simulated ad market, written to files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clicktide.options import ForceOption, JsonOption, print_json
from clicktide.run_summary import progress_bar
from features.errors import ClicktideError
from market.effects import MarketSettings
from market.files import SinkMaker, Written, example_sink, stream_sinks, write_simulation
from market.scenarios import SCENARIOS
from market.simulation import PREFIX, Simulation, parse_sim

__all__ = ["simulate"]

_DEFAULT_EVENTS = 1_000_000


ScenarioArgument = Annotated[
    str,
    typer.Argument(help="A name of --list, with parameters if wanted: 'abrupt?change_at=5000'"),
]
EventsOption = Annotated[
    int | None,
    typer.Option("--events", min=1, help=f"Impressions to write [default: {_DEFAULT_EVENTS}]"),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Another seed is another market [default: 0]"),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for impressions.jsonl, clicks.jsonl and truth.jsonl"),
]
ExamplesOption = Annotated[
    Path | None,
    typer.Option(
        "--examples",
        help="File for labelled rows: .jsonl or .csv (also .gz, .zst after it) or .parquet",
    ),
]
ListScenariosOption = Annotated[
    bool, typer.Option("--list", help="Show the scenarios and their parameters")
]


def simulate(
    scenario: ScenarioArgument = "",
    events: EventsOption = None,
    seed: SeedOption = None,
    out: OutOption = None,
    examples: ExamplesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    list_scenarios: ListScenariosOption = False,
) -> None:
    """Simulate an ad market and write its impressions, its clicks and the truth about them."""
    if list_scenarios:
        _print_scenarios(as_json)
        return
    simulation = _simulation(scenario, events, seed)
    sinks = _sinks(out, examples)
    try:
        console = Console(stderr=True)
        with progress_bar(console, simulation.events, simulation.scenario.name) as show:
            done = 0

            def advance(events: int) -> None:
                nonlocal done
                done += events
                show(done, str)

            written = write_simulation(simulation, sinks, overwrite=force, progress=advance)
    except KeyboardInterrupt:
        typer.echo("Stopped; no file was written.", err=True)
        raise typer.Exit(130) from None
    _print_summary(written, as_json)


def _simulation(scenario: str, events: int | None, seed: int | None) -> Simulation:
    if not scenario:
        raise ClicktideError(
            f"simulate: no scenario given. Fix: one of {', '.join(SCENARIOS)} (--list tells more)"
        )
    name, _, query = scenario.removeprefix(PREFIX).partition("?")
    given = {
        key: str(value) for key, value in (("events", events), ("seed", seed)) if value is not None
    }
    pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in given]
    if "events" not in given and not any(pair.startswith("events=") for pair in pairs):
        given["events"] = str(_DEFAULT_EVENTS)
    pairs += [f"{key}={value}" for key, value in given.items()]
    return parse_sim(f"{PREFIX}{name}?{'&'.join(pairs)}")


def _sinks(out: Path | None, examples: Path | None) -> dict[Path, SinkMaker]:
    sinks = (stream_sinks(out) if out else {}) | (example_sink(examples) if examples else {})
    if not sinks:
        raise ClicktideError(
            "simulate: nowhere to write to. Fix: give --out DIR, --examples FILE, or both"
        )
    return sinks


def _print_summary(written: Written, as_json: bool) -> None:
    if as_json:
        print_json(written)
        return
    table = Table(show_header=False, box=None)
    table.add_row("impressions", f"{written.events:,}")
    table.add_row("clicks", f"{written.clicks:,}")
    table.add_row("click rate", f"{written.click_rate:.5f}")
    table.add_row("mean true probability", f"{written.mean_p_true:.5f}")
    for index, file in enumerate(written.files):
        table.add_row("" if index else "files", file)
    Console().print(table)


def _print_scenarios(as_json: bool) -> None:
    if as_json:
        summaries = {name: kind.summary for name, kind in SCENARIOS.items()}
        print_json(summaries)
        return
    for name, kind in SCENARIOS.items():
        keys = ", ".join(kind.__struct_fields__)
        typer.echo(f"{name:11} {kind.summary}{f' ({keys})' if keys else ''}")
    typer.echo(f"\nevery one   {', '.join(MarketSettings.__struct_fields__)}")
