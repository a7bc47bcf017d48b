"""How `clicktide status` shows a stream: tables for people, one object for programs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streaming.status import JoinerState, Look, TrainerState

__all__ = ["status_json", "status_view"]


def status_json(
    look: Look, log: str, rates: dict[str, float], processes: dict[str, Any] | None
) -> dict[str, Any]:
    """Everything ``--json`` prints."""
    wall_s, event_time_s = look.freshness_s()
    return {
        "log": log,
        **msgspec.to_builtins(look),
        "lag": {group: look.lag(group) for group in look.groups},
        "rates_per_s": rates,
        "freshness": {"wall_s": wall_s, "event_time_s": event_time_s},
        "processes": processes,
    }


def status_view(
    look: Look, log: str, rates: dict[str, float], processes: dict[str, Any] | None
) -> RenderableType:
    """Tables."""
    parts: list[RenderableType] = [Text(f"{log}  {_when(look.at_ms)}", style="bold")]
    if not look.topics:
        parts.append(Text("no topics yet. Fix: clicktide up, or clicktide replay SOURCE --to LOG"))
        return Group(*parts)
    parts += [_topics(look, rates), _groups(look)]
    if look.joiner is not None:
        parts.append(_joiner(look.joiner))
    if look.trainer is not None:
        parts.append(_trainer(look, look.trainer, rates))
    if processes is not None:
        parts.append(_processes(processes))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
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


def _joiner(joiner: JoinerState) -> Table:
    rejected = [
        (f"rejected {topic}: {reason}", f"{count:,}")
        for topic, reasons in joiner.rejected.items()
        for reason, count in sorted(reasons.items())
    ]
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
            *rejected,
            ("labelled to", _when(joiner.labelled_to_ms or None)),
            *([("state", stalled)] if joiner.stalled else []),
        ],
    )


def _trainer(look: Look, trainer: TrainerState, rates: dict[str, float]) -> Table:
    wall_s, event_time_s = look.freshness_s()
    return _pairs(
        "\ntrainer",
        [
            ("learned", f"{trainer.learned:,} ({rates.get('learned', 0):,.0f} per s)"),
            ("corrections", f"{trainer.corrections:,}"),
            ("rejected", f"{trainer.rejected:,}"),
            ("log loss", _number(trainer.log_loss)),
            ("calibration", _number(trainer.calibration)),
            ("last commit", "-" if wall_s is None else f"{_span(wall_s)} ago"),
            (
                "behind newest impression",
                "-" if event_time_s is None else f"{_span(event_time_s)} of event time",
            ),
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


def _when(ms: int | None) -> str:
    """Show a time.

    Examples
    --------
    >>> _when(1_736_121_600_000), _when(None)
    ('2025-01-06 00:00:00', '-')
    """
    return (
        "-"
        if ms is None or ms < 0
        else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    )


def _span(seconds: float) -> str:
    """Show a length of time.

    Examples
    --------
    >>> _span(3), _span(300), _span(7200), _span(300_000)
    ('3 s', '5 min', '2.0 h', '3.5 d')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"
