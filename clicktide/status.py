"""The command ``clicktide status``: how a stream stands, told from its event log alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clicktide.child_processes import local_processes
from clicktide.options import DirOption, JsonOption, LogOption
from clicktide.stream_folder import log_file
from clicktide.stream_opening import open_existing, open_stream
from monitoring.watch.alarm_actions import ActionReader, rolled_back
from streaming.freshness import ages, clock_note, freshness, stale
from streaming.joiner_state import JoinerState
from streaming.log import EventLog
from streaming.signals import stop_request
from streaming.status import Look, TrainerState, look_at, too_full
from streaming.time_text import now_ms, span, stamp

__all__ = ["status", "status_json", "status_view"]


def status(
    folder: DirOption = None,
    log: LogOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again until Ctrl-C")] = (
        False
    ),
    every: Annotated[
        float,
        typer.Option("--every", min=0.1, help="Seconds between two looks; rates are over these"),
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Tell how a stream stands: lags, what was joined and learned, freshness.

    It only reads, and needs nothing but the log: run it wherever that
    can be reached.

    clicktide status

    clicktide status --watch

    clicktide status --log kafka://localhost:9092 --json
    """
    stream = open_stream(folder, needs_spec=False, begin=False)
    url = log or stream.log
    file = log_file(url)
    home = folder or ((file and file.parent) if log else stream.path)
    with open_existing(url) as opened, stop_request() as request:
        view = _View(opened, url, home, every, lambda: request.asked)
        if watch and not as_json:
            view.watch()
        else:
            view.once(as_json)


@dataclass
class _View:
    """One call of the command."""

    opened: EventLog
    log: str
    folder: Path | None
    every: float
    asked: Callable[[], bool]

    def look(self) -> Look:
        return look_at(self.opened, now_ms())

    def shown(self, look: Look, before: Look) -> tuple[Look, str, dict[str, float], Any, str]:
        processes = None if self.folder is None else local_processes(self.folder)
        actions = ActionReader(self.opened)
        actions.read()
        return look, self.log, look.rates(before), processes, rolled_back(actions.actions)

    def once(self, as_json: bool) -> None:
        """Two looks, for the rates."""
        before = self.look()
        self.pause()
        shown = self.shown(self.look(), before)
        if as_json:
            print(msgspec.json.format(msgspec.json.encode(status_json(*shown))).decode())
        else:
            Console().print(status_view(*shown))

    def watch(self) -> None:
        """Draw until asked to stop."""
        before = self.look()
        with Live(status_view(*self.shown(before, before)), auto_refresh=False) as live:
            while not self.asked():
                self.pause()
                now = self.look()
                live.update(status_view(*self.shown(now, before)), refresh=True)
                before = now

    def pause(self) -> None:
        until = time.monotonic() + self.every
        while not self.asked() and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.1, left))


def status_json(
    look: Look,
    log: str,
    rates: dict[str, float],
    processes: dict[str, Any] | None,
    rollback: str = "",
) -> dict[str, Any]:
    """Everything ``--json`` prints."""
    fresh = freshness(look)
    return {
        "log": log,
        "warnings": _warnings(look, rollback),
        **msgspec.to_builtins(look),
        "lag": {group: look.lag(group) for group in look.groups},
        "rates_per_s": rates,
        "rejected": look.rejected(),
        "freshness": {**msgspec.to_builtins(fresh), "ages_s": ages(fresh)},
        "processes": processes,
    }


def status_view(
    look: Look,
    log: str,
    rates: dict[str, float],
    processes: dict[str, Any] | None,
    rollback: str = "",
) -> RenderableType:
    """Tables."""
    parts: list[RenderableType] = [Text(f"{log}  {_when(look.at_ms)}", style="bold")]
    if not look.topics:
        parts.append(Text("no topics yet. Fix: clicktide up, or clicktide replay SOURCE --to LOG"))
        return Group(*parts)
    parts += [Text(f"! {message}", style="bold yellow") for message in _warnings(look, rollback)]
    parts += [_topics(look, rates), _groups(look)]
    if look.joiner is not None:
        parts.append(_joiner(look, look.joiner, rates))
    if look.trainer is not None:
        parts.append(_trainer(look, look.trainer, rates))
    if processes is not None:
        parts.append(_processes(processes))
    return Group(*parts)


def _warnings(look: Look, rollback: str) -> list[str]:
    """What is not as it should be, the worst first."""
    fresh = freshness(look)
    found = [rollback, *stale(fresh, look.at_ms), clock_note(fresh, look.at_ms)]
    held = 0 if look.joiner is None else look.joiner.held
    if held:
        found.append(f"{held:,} records are held behind one far ahead of its partition's time")
    return [message for message in found if message]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left")
    return table


def _topics(look: Look, rates: dict[str, float]) -> Table:
    table = _table("\ntopics", "topic", "partitions", "records", "per s", "newest")
    for name, topic in look.topics.items():
        rate = f"{rates[name]:,.0f}" if name in rates else "-"
        table.add_row(
            name, str(topic.partitions), f"{topic.records:,}", rate, _when(topic.newest_ms)
        )
    return table


def _groups(look: Look) -> Table:
    table = _table("\ngroups", "group", "topic", "partition", "read to", "end", "lag")
    for group, parts in look.groups.items():
        for part in parts:
            lag = Text(f"{part.lag:,}", style="yellow" if part.lag else "green")
            table.add_row(
                group,
                part.topic,
                str(part.partition),
                f"{part.read_to:,}",
                f"{part.end:,}",
                lag,
            )
    if not look.groups:
        table.add_row("none has read anything yet", *[""] * 5)
    return table


def _pairs(title: str, pairs: Iterable[tuple[str, str | Text]]) -> Table:
    table = _table(title, "", "")
    table.show_header = False
    for name, value in pairs:
        table.add_row(name, value)
    return table


def _joiner(look: Look, joiner: JoinerState, rates: dict[str, float]) -> Table:
    rejected = [(f"rejected {what}", f"{count:,}") for what, count in look.rejected().items()]
    if rejected:
        rejected.append(("rejected now", f"{rates.get('rejected', 0):,.1f} per s"))
    stalled = Text("STALLED: clicks have stopped, labels wait", style="bold red")
    return _pairs(
        "\njoiner",
        [
            ("impressions", f"{joiner.impressions:,}"),
            ("= examples", f"{joiner.examples:,} ({joiner.examples_clicked:,} clicked)"),
            ("+ pending", f"{joiner.pending:,}"),
            ("+ rejected", f"{sum(joiner.rejected.get('impressions', {}).values()):,}"),
            ("clicks", f"{joiner.clicks:,}"),
            ("corrections", f"{joiner.corrections:,}"),
            ("early examples", f"{joiner.early_examples:,}"),
            ("clicks after these", f"{joiner.early_corrections:,}"),
            *rejected,
            ("labelled to", _when(joiner.labelled_to_ms or None)),
            *([("state", stalled)] if joiner.stalled else []),
        ],
    )


def _tables(shares: dict[str, float]) -> str:
    full = too_full(shares)
    advice = {name: f" (one bit more is better: {key})" for name, key in full.items()}
    return ", ".join(f"{name} {share:.0%}{advice.get(name, '')}" for name, share in shares.items())


def _trainer(look: Look, trainer: TrainerState, rates: dict[str, float]) -> Table:
    fresh = freshness(look).trainer
    assert fresh is not None
    return _pairs(
        "\ntrainer",
        [
            ("learned", f"{trainer.learned:,} ({rates.get('learned', 0):,.0f} per s)"),
            ("corrections", f"{trainer.corrections:,}"),
            ("rejected", f"{trainer.rejected:,}"),
            ("log loss", _number(trainer.log_loss)),
            ("calibration", _number(trainer.calibration)),
            ("tables in use", _tables(trainer.occupancy)),
            (
                "last commit",
                "-"
                if fresh.at_ms is None
                else f"{span(max(0.0, look.at_ms - fresh.at_ms) / 1000)} ago",
            ),
            ("behind newest example", f"{span(fresh.behind_s)} of event time"),
        ],
    )


def _processes(processes: dict[str, Any]) -> Table:
    table = _table("\nprocesses", "name", "pid", "starts", "state")
    for name, at in processes["children"].items():
        state = Text("runs", style="green") if at["runs"] else Text("not running", style="red")
        table.add_row(name, str(at["pid"] or "-"), str(at["starts"]), state)
    up = Text("runs", style="green") if processes["runs"] else Text("not running", style="red")
    table.add_row("up", str(processes["pid"]), "", up)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _when(ms: float | None) -> str:
    return "-" if ms is None else stamp(ms)
