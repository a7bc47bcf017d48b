"""``clicktide replay SOURCE --to LOG``: a log published as impressions and clicks; its options."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from clicktide.click_log import estimated_rows
from clicktide.options import print_json
from clicktide.publication import Publication, Published, publish_source
from clicktide.run_summary import progress_bar
from features.errors import ClicktideError
from streaming.signals import Stopped, stop_request
from streaming.time_text import stamp

__all__ = [
    "ClickDelayOption",
    "IdPrefixOption",
    "NoEndOption",
    "ShiftOption",
    "SpeedOption",
    "ThroughOption",
    "ToOption",
    "publish",
]

_PANEL = "Publishing (--to)"
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="LOG",
        help="Learn nothing; publish the rows as impressions and clicks into this event log: "
        "run/log.db or kafka://host:port (its stream's settings are read from --dir, or from the "
        "folder that it is in)",
        rich_help_panel=_PANEL,
    ),
]
SpeedOption = Annotated[
    str | None,
    typer.Option(
        "--speed",
        metavar="X|max",
        help="Event time to wall time: 1 as it happened, 60 a minute in a second [default: max]",
        rich_help_panel=_PANEL,
    ),
]
ShiftOption = Annotated[
    str | None,
    typer.Option(
        "--shift",
        metavar="[ends-]now[-15h]|MS",
        help="Move event times so that the stream begins (or ends, read twice) now, or so long ago "
        "(s, m, h, d), or by so many ms; the fields stay as the log has them",
        rich_help_panel=_PANEL,
    ),
]
IdPrefixOption = Annotated[
    str | None,
    typer.Option(
        "--id-prefix",
        metavar="NAME",
        help="Put before every id: publishes a source once more, as other impressions",
        rich_help_panel=_PANEL,
    ),
]
ClickDelayOption = Annotated[
    float | None,
    typer.Option(
        "--click-delay-s",
        min=0.0,
        help="Mean time to the click, where the log does not say [default: 20]",
        rich_help_panel=_PANEL,
    ),
]
ThroughOption = Annotated[
    str | None,
    typer.Option(
        "--through",
        metavar="URL",
        help="Ask this API (clicktide serve) for every impression's probability, and publish "
        "what it served: http://127.0.0.1:8000. Without --speed, as fast as the stream can follow",
        rich_help_panel=_PANEL,
    ),
]
NoEndOption = Annotated[
    bool,
    typer.Option(
        "--no-end",
        help="Send no closing heartbeats: more will follow (examples whose windows are open wait)",
        rich_help_panel=_PANEL,
    ),
]


def publish(asked: Publication) -> None:
    """Publish a source; print what was published; exit code 130 if it was stopped."""
    if asked.resume and asked.source == "-":
        raise ClicktideError(
            "--resume: standard input cannot be read again. Fix: publish from a file"
        )
    console = Console(stderr=True)
    begun = time.perf_counter()
    total = asked.events or estimated_rows(asked.source)
    with stop_request() as request, progress_bar(console, total, "publishing") as show:

        def on_commit(impressions: int) -> None:
            rate = impressions / max(time.perf_counter() - begun, 1e-9)
            show(impressions, lambda: f"{rate:,.0f} impressions/s")

        say = partial(console.print, highlight=False, markup=False)
        done = publish_source(asked, on_commit=on_commit, check=request.check, say=say)
    _show(_summary(asked, done, time.perf_counter() - begun), asked, console)
    if isinstance(done.error, ClicktideError):
        raise done.error
    if done.error is not None:
        console.print("Stopped; --resume goes on from here.", highlight=False)
        raise typer.Exit(130)


def _summary(asked: Publication, done: Published, seconds: float) -> dict[str, Any]:
    """What this run published, and the whole stream's times."""
    before, state = done.before, done.state
    impressions, clicks = state.impressions - before.impressions, state.clicks - before.clicks
    by_reason = {
        reason: count - before.rejected.get(reason, 0)
        for reason, count in sorted(state.rejected.items())
        if count > before.rejected.get(reason, 0)
    }
    summary = {
        "source": asked.source,
        "to": asked.to,
        "impressions": impressions,
        "clicks": clicks,
        "rejected": sum(by_reason.values()),
        "rejected_by_reason": by_reason,
        "seconds": round(seconds, 4),
        "events_per_second": round((impressions + clicks) / max(seconds, 1e-9), 1),
        "first_event_ms": state.first_ms,
        "last_event_ms": state.last_ms,
        "shift_ms": state.shift_ms or 0,
        "rows_done": state.rows,
        "ended": state.ended,
        "stopped": isinstance(done.error, Stopped),
        "error": str(done.error) if isinstance(done.error, ClicktideError) else None,
    }
    if done.served is not None:
        summary |= dict(zip(("served", "unserved"), done.served, strict=True))
    if done.too_late:
        summary["too_late"] = done.too_late
    return summary


def _show(summary: dict[str, Any], asked: Publication, console: Console) -> None:
    if asked.as_json:
        print_json(summary)
        return
    table = Table(title=f"{asked.source} → {asked.to}", title_justify="left", show_header=False)
    for name in ("impressions", "served", "unserved", "too_late", "clicks", "rejected"):
        if name in summary:
            table.add_row(name.replace("_", " "), f"{summary[name]:,}")
    for name in ("first_event_ms", "last_event_ms"):
        at = summary[name]
        shown = "-" if at is None else f"{stamp(at)} UTC"
        table.add_row(name.replace("_ms", "").replace("_", " "), shown)
    table.add_row("events/s", f"{summary['events_per_second']:,.0f}")
    Console().print(table)
    if not asked.spec.source.timestamp:
        console.print(
            "The spec names no column of times: rows were dated a second apart from 2025-01-06."
        )
