"""The command ``clicktide simulate``: a simulated ad market, written to files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from clicktide.options import ForceOption, JsonOption, print_json
from clicktide.run_summary import progress_bar
from clicktide.table_file import COMPRESSED, FORMATS, Write, table_writer
from features.errors import ClicktideError
from features.whole_file import refuse_existing
from market.columns import COLUMNS, json_lines, numbered
from market.effects import MarketSettings
from market.scenarios import SCENARIOS
from market.simulation import PREFIX, Simulation, parse_sim

__all__ = ["simulate"]

_DEFAULT_EVENTS = 1_000_000
_SERVED = [name for name in COLUMNS if name not in ("click", "click_delay_ms", "p_true")]
_CLICK = ["impression_id", "timestamp"]
_TRUTH = ["impression_id", "p_true", "click"]
_EXAMPLE = [*_SERVED, "click", "p_true"]


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
    _check_files(out, examples, force)
    try:
        console = Console(stderr=True)
        with progress_bar(console, simulation.events, simulation.scenario.name) as show:
            done = 0

            def advance(events: int) -> None:
                nonlocal done
                done += events
                show(done, str)

            written = _write(simulation, out, examples, advance)
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


def _check_files(out: Path | None, examples: Path | None, force: bool) -> None:
    """Refuse files that cannot or must not be written, before any work is done for them."""
    if examples is not None:
        text = Path(examples.stem) if examples.suffix in COMPRESSED else examples
        if text.suffix not in FORMATS or (text.suffix == ".parquet" and text != examples):
            raise ClicktideError(
                f"{examples}: examples cannot be written in this format. Fix: end the name in "
                ".jsonl, .csv, .parquet, the text formats also with .gz or .zst after it"
            )
    files = _files(out, examples)
    if not files:
        raise ClicktideError(
            "simulate: nowhere to write to. Fix: give --out DIR, --examples FILE, or both"
        )
    for path in () if force else files:
        refuse_existing(path)


def _files(out: Path | None, examples: Path | None) -> dict[Path, list[str]]:
    """The columns of each file."""
    files = {} if examples is None else {examples: _EXAMPLE}
    if out is None:
        return files
    stream = {"impressions.jsonl": _SERVED, "clicks.jsonl": _CLICK, "truth.jsonl": _TRUTH}
    return {out / name: columns for name, columns in stream.items()} | files


class Written(msgspec.Struct, frozen=True):
    """What was written.

    Parameters
    ----------
    events, clicks
        How many.
    click_rate, mean_p_true
        Share of clicks, and the mean of the probabilities they were drawn with.
    files
        Paths of the files.
    """

    events: int
    clicks: int
    click_rate: float
    mean_p_true: float
    files: list[str]


def _write(
    simulation: Simulation, out: Path | None, examples: Path | None, advance: Callable[[int], None]
) -> Written:
    """Write all files: they appear at the end, complete, or none does."""
    files, order = _files(out, examples), _ClickOrder()
    events, clicks, p_true = 0, 0, 0.0
    with ExitStack() as opened:
        writers = [  # examples last: what may fail at its end comes to it before all others
            (names, opened.enter_context(table_writer(path, names, {"interests": " "}, json_lines)))
            for path, names in files.items()
        ]
        for batch in simulation.batches():
            events += batch.num_rows
            clicks += order.add(batch)
            p_true += pc.sum(batch["p_true"]).as_py()
            due = order.take(batch["timestamp"][-1].as_py())
            for names, write in writers:
                _write_some(write, due if names == _CLICK else batch.select(names))
            advance(batch.num_rows)
        rest = order.take()
        for _, write in filter(lambda writer: writer[0] == _CLICK, writers):
            _write_some(write, rest)
    return Written(events, clicks, clicks / events, p_true / events, list(map(str, files)))


def _write_some(write: Write, rows: pa.RecordBatch) -> None:
    if rows.num_rows:
        write(rows)


class _ClickOrder:
    """Clicks in the order of their own times.

    A click waits until impressions are as late as it: none of theirs can come before it. Since
    delays are bounded, so is the number of clicks that wait.
    """

    def __init__(self) -> None:
        self._waiting = np.empty((2, 0), dtype=np.int64)  # time of the click, number of the event

    def add(self, batch: pa.RecordBatch) -> int:
        """Take the clicks of a batch; how many there are."""
        clicks = batch.filter(pc.equal(batch["click"], 1))
        time = pc.add(clicks["timestamp"], clicks["click_delay_ms"]).to_numpy()
        event = pc.utf8_slice_codeunits(clicks["impression_id"], 4).cast(pa.int64()).to_numpy()
        self._waiting = np.concatenate([self._waiting, [time, event]], axis=1)
        return len(time)

    def take(self, until_ms: float = np.inf) -> pa.RecordBatch:
        """Give those up to a time."""
        due = self._waiting[0] <= until_ms
        time, event = self._waiting[:, due]
        self._waiting = self._waiting[:, ~due]
        order = np.lexsort((event, time))
        columns = [numbered("imp-", event[order], 3), pa.array(time[order])]
        return pa.RecordBatch.from_arrays(columns, names=_CLICK)


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
