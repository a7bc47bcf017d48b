"""``clicktide replay SOURCE --to LOG``: a log published as impressions and clicks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from clicktide.logs import RejectSink, estimated_rows, open_log
from clicktide.options import print_json
from clicktide.show import progress_bar
from features.errors import ClicktideError
from features.public_url import public_text
from features.spec import Spec
from market import PREFIX, parse_sim, stream_uri
from streaming.joiner import JoinerSettings
from streaming.log import EventLog
from streaming.log import open_log as open_event_log
from streaming.log.settings import SqliteSettings, log_settings
from streaming.publish import (
    ClickDelay,
    Lockstep,
    Pacer,
    Patience,
    Publisher,
    PublishState,
    RowReader,
    longest_wait_ms,
    publish_group,
)
from streaming.settings import StreamSettings, load_stream_settings
from streaming.signals import Stopped, stop_request
from streaming.status import look_at
from streaming.time_text import now_ms, stamp

if TYPE_CHECKING:
    from clicktide.through import Through

__all__ = [
    "PATIENCE_S",
    "ClickDelayOption",
    "IdPrefixOption",
    "NoEndOption",
    "Publication",
    "Published",
    "ShiftOption",
    "SpeedOption",
    "ThroughOption",
    "ToOption",
    "publish",
    "publish_source",
]

PATIENCE_S = 300.0
"""A stream's processes are given up when none of them has made any progress for so long."""
_SLICES_A_WINDOW = 5  # counters and labels of a join window change little in a fifth of it
_PANEL = "Publishing (--to)"
_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"(?P<ends>ends-)?now(-(?P<number>\d+(\.\d+)?)(?P<unit>[smhd]))?")
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


@dataclass
class Publication:
    """One call of the command: what it was asked."""

    source: str
    spec: Spec
    to: str
    speed: str | None = None
    shift: str | None = None
    id_prefix: str | None = None
    click_delay_s: float | None = None
    no_end: bool = False
    through: str | None = None
    settings: Path | None = None
    set_stream: list[str] | None = None
    events: int | None = None
    resume: bool = False
    rejects: Path | None = None
    strict: bool = False
    as_json: bool = False
    lockstep: Lockstep | None = None

    def reader(self, stream: StreamSettings) -> RowReader:
        """What makes events of rows."""
        mean_s = 20.0 if self.click_delay_s is None else self.click_delay_s
        shift, ago_ms, _ = parse_shift(self.shift)
        return RowReader(
            self.spec,
            self.source,
            delay=ClickDelay(mean_s, stream.join.join_window_s),
            prefix=self.id_prefix or "",
            shift_ms=shift,
            begin_ms=now_ms() - ago_ms,
        )

    def group(self) -> str:
        """Where the position is kept: one for each source, wherever it is called from."""
        if self.source.startswith(PREFIX):
            name = stream_uri(parse_sim(self.source))
        else:
            name = self.source if self.source == "-" else str(Path(self.source).resolve())
        return publish_group(name, self.id_prefix or "")


def parse_speed(text: str | None) -> float | None:
    """Read ``--speed``; None: as fast as possible.

    Examples
    --------
    >>> parse_speed("60"), parse_speed("max")
    (60.0, None)
    """
    if text is None or text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ClicktideError(
            f"--speed {text}: neither a speed nor max. Fix: 1 is as it happened, 60 a minute in "
            "a second, max as fast as possible"
        )
    return speed


def parse_shift(text: str | None) -> tuple[int | None, int, bool]:
    """Read ``--shift`` as ms to add; None: so that the stream begins, or ends, so many ms ago.

    Examples
    --------
    >>> parse_shift("-3600000"), parse_shift(None), parse_shift("now-15h")
    ((-3600000, 0, False), (0, 0, False), (None, 54000000, False))
    >>> parse_shift("ends-now")
    (None, 0, True)
    """
    ago = _AGO.fullmatch(text or "")
    if ago is not None:
        number, unit = ago["number"], ago["unit"]
        return None, int(float(number) * _MS[unit]) if number else 0, bool(ago["ends"])
    try:
        return int(text or 0), 0, False
    except ValueError:
        raise ClicktideError(
            f"--shift {text}: neither now, nor now-15h, nor ends-now, nor whole ms. Fix: ends-now; "
            "a time ago such as now-30m, now-15h or now-2d; or such as 86400000 for a day later"
        ) from None


def _settle_end(asked: Publication, reader: RowReader, join: JoinerSettings) -> None:
    """Have the stream end as asked: all of it is read once before, for its last time."""
    shift, ago_ms, ends = parse_shift(asked.shift)
    if shift is not None or not ends:
        return
    if asked.source == "-":
        raise ClicktideError(
            "--shift ends-now: standard input cannot be read twice. Fix: publish from a file"
        )
    reader.shift_ms = 0
    last = _last_ms(asked, reader)
    after_ms = 0 if asked.no_end else longest_wait_ms(join)  # of the closing heartbeats
    reader.shift_ms = now_ms() - ago_ms - after_ms - last


def _last_ms(asked: Publication, reader: RowReader) -> int:
    """Time of the last event that will be published, clicks included; 0: there are none."""
    last, rows, left = 0, 0, asked.events
    with closing(open_log(asked.source, asked.spec, reader.columns, None)) as batches:
        for batch in batches:
            part = reader(batch, rows)
            shown, rows = part.shown[:left], rows + part.units
            last = max([last, *(max(one.time, one.click or 0) for one in shown)])
            left = None if left is None else left - len(shown)
            if left == 0:
                break
    return last


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


@dataclass(frozen=True)
class Published:
    """What a run published: the states before and after it, and what ended it early.

    Parameters
    ----------
    served
        Impressions with and without a prediction; ``None``: none was asked for.
    too_late
        Impressions that come so late that the joiner will reject them.
    error
        An error after some events, or :class:`Stopped`.
    """

    before: PublishState
    state: PublishState
    served: tuple[int, int] | None
    too_late: int
    error: ClicktideError | Stopped | None


def publish_source(
    asked: Publication,
    *,
    on_commit: Callable[[int], None],
    check: Callable[[], None],
    say: Callable[[str], None],
) -> Published:
    """Publish a source.

    Parameters
    ----------
    asked
        What, and where to.
    on_commit
        Told after every transaction how many impressions this run has published.
    check
        Called again and again, while waiting too; may raise :class:`Stopped`.
    say
        Takes lines for people.
    """
    pacer = Pacer(parse_speed(asked.speed), clock=time.monotonic, sleep=time.sleep)
    stream = load_stream_settings(asked.settings, asked.set_stream or [])
    reader = asked.reader(stream)
    with _event_log(asked.to, stream) as log:
        lockstep = asked.lockstep
        if lockstep is None and asked.through is not None and pacer.speed is None:
            lockstep = _lockstep(log, stream, check)
        with _through(asked, say, lockstep) as serve:
            publisher = Publisher(
                log, asked.group(), reader, stream, pacer=pacer, serve=serve, lockstep=lockstep
            )
            publisher.restore(resume=asked.resume)
            if not publisher.resumed:
                _settle_end(asked, reader, stream.join)
            before = publisher.state

            def committed() -> None:
                on_commit(publisher.state.impressions - before.impressions)
                check()

            error = _run(asked, publisher, committed, say)
        served = None if serve is None else (serve.served, serve.unserved)
        return Published(before, publisher.state, served, publisher.time_order.late, error)


def _lockstep(log: EventLog, stream: StreamSettings, check: Callable[[], None]) -> Lockstep:
    """As fast as the stream's processes can follow; those that never ran are not waited for."""
    return Lockstep(
        lambda: look_at(log, now_ms(), newest=False),
        min(stream.join.join_window_s / _SLICES_A_WINDOW, stream.join.first_label_s),
        Patience(PATIENCE_S, time.monotonic),
        sleep=time.sleep,
        check=check,
    )


@contextmanager
def _through(
    asked: Publication, say: Callable[[str], None], lockstep: Lockstep | None
) -> Iterator[Through | None]:
    """What asks the API for predictions, if one is named."""
    if (url := asked.through) is None:
        yield None
        return
    import httpx  # a tenth of a second that other commands need not spend

    from clicktide.through import Through
    from serving.client import Client

    try:
        client = Client(url, retries=0)
    except httpx.InvalidURL as error:
        said = public_text(f"{url}: {error}")
        raise ClicktideError(f"--through {said}. Fix: http://127.0.0.1:8000") from None
    with client:
        yield Through(client, say, lockstep)


@contextmanager
def _event_log(url: str, stream: StreamSettings) -> Iterator[EventLog]:
    settings = log_settings(url, os.environ)
    if isinstance(settings, SqliteSettings):
        Path(settings.path).parent.mkdir(parents=True, exist_ok=True)
    with open_event_log(url) as log:
        log.create_topics(stream.topics())
        yield log


def _run(
    asked: Publication,
    publisher: Publisher,
    on_commit: Callable[[], None],
    say: Callable[[str], None],
) -> ClicktideError | Stopped | None:
    """Publish; give what ended it after some events."""
    if publisher.state.ended:
        say(f"{asked.source} is published to its end; nothing is left to do.")
        return None
    before = publisher.state
    batches = open_log(asked.source, asked.spec, publisher.columns, publisher.start)
    with RejectSink(asked.rejects, strict=asked.strict, append=asked.resume) as sink:
        try:
            publisher.run(
                batches,
                events=asked.events,
                end=not asked.no_end,
                on_reject=sink,
                on_commit=on_commit,
            )
        except Stopped as stopped:
            return stopped
        except ClicktideError as error:
            if publisher.state == before:
                raise
            return error
    return None


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
